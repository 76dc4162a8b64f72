"""Recommender: asking a user's history about each candidate, against one mean of it for all candidates.

200 items in 20 genres; nobody tells the model the genres, it must find them in clicks. A user has 1, 2, 4 or 8
interests and has clicked on 24 items, each interest equally often. Will she click on the candidate?

    history: chess 7, jazz 3, jazz 8, chess 0, ...     candidate jazz 5: clicked     candidate opera 2: not

Attention: the candidate is the query, the history keys and values; each candidate reads its own summary of the history.
Mean pooling: one summary for all candidates. Both then go through the same small network to click or no click. You will
see AUC and NDCG@10 about users it has not met, by number of interests, and what candidates attend to.

AUC: a candidate that was clicked, one that was not; how often does the clicked one score higher (ties count a half)?
NDCG@10: the ten best scores; a click at rank r counts 1/log2(r + 1); divided by what the best order would count.
Both are taken user by user, over 50 candidates, and averaged; users who clicked on nothing have neither.

Controls: one interest, where a mean loses nothing; vectors of 32 numbers rather than 8, more than there are genres, so
that a mean has room for all interests; no history, which leaves how well liked an item is; hardmax; weights not
normalized, as in the paper (here each a sigmoid of its score); a table of items that starts at standard deviation 1
rather than 0.3, so that softmax is sure before it has learned; the true click probability, which on average no model
can beat.

After Zhou et al. 2018 (Deep Interest Network), whose scores come from a small network instead of a dot product.
Takes about 2 minutes on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
import story
from minigrad import nn, optim

GENRES = [
    "jazz", "opera", "rock", "folk", "chess", "football", "sailing", "cooking", "gardening", "knitting", "biology",
    "physics", "poetry", "crime", "fantasy", "romance", "travel", "painting", "cinema", "theatre",
]  # fmt: skip
EACH, HISTORY, INTERESTS = 10, 24, (1, 2, 4, 8)
ITEMS = EACH * len(GENRES)  # item i is of genre i // EACH
LIKED = np.random.default_rng(0).normal(0, 0.7, ITEMS)  # some items are clicked on more, by everyone


@dataclass(frozen=True)
class Row:
    weights: str = "softmax"  # a function of minigrad's; or "none": no history
    d: int = 8
    scale: float = 0.3  # standard deviation of the items' table at the start
    steps: int = 2000


ROWS = {
    "attention": Row(), "attention, not normalized": Row("sigmoid"), "mean pooling": Row("uniform"),
    "hardmax": Row("hardmax"), "no history": Row("none"), "attention, table at scale 1": Row(scale=1.0),
    "attention, d = 32": Row(d=32), "mean pooling, d = 32": Row("uniform", d=32),
}  # fmt: skip


def make_users(interests: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Histories (B, HISTORY); n candidates each (B, n), one in five of the user's genres; their click probability."""
    rows, k = np.arange(len(interests))[:, None], interests[:, None]
    genres = rng.permuted(np.tile(np.arange(len(GENRES)), (len(k), 1)), axis=1)  # the first k are the interests
    turns = rng.permuted(np.tile(np.arange(HISTORY), (len(k), 1)), axis=1) % k  # each interest equally often
    history = genres[rows, turns] * EACH + rng.integers(0, EACH, turns.shape)
    mine, r = rng.random((len(k), n)) < 0.2, rng.random((len(k), n))
    among = np.where(mine, r * k, k + r * (len(GENRES) - k)).astype(int)
    candidates = genres[rows, among] * EACH + rng.integers(0, EACH, mine.shape)
    return history, candidates, 1 / (1 + np.exp(3 - 4 * mine - LIKED[candidates]))


def auc(scores: np.ndarray, clicks: np.ndarray) -> float:
    """How often a clicked candidate scores above one not clicked; nan where there are not both."""
    above = scores[clicks][:, None] - scores[~clicks]
    return float(np.mean((above > 0) + 0.5 * (above == 0))) if above.size else math.nan


def ndcg(scores: np.ndarray, clicks: np.ndarray, n: int = 10) -> float:
    """Clicks among the n best scores, discounted by rank, as a share of what is possible; nan without a click."""
    counts, best = 1 / np.log2(np.arange(2, len(clicks) + 2))[:n], np.argsort(-scores, kind="stable")[:n]
    return float(counts @ clicks[best] / counts[: clicks.sum()].sum()) if clicks.any() else math.nan


class Recommender(nn.Module):
    def __init__(self, row: Row, rng: np.random.Generator) -> None:
        self.row, d = row, row.d
        self.item = nn.Embedding(ITEMS, d, rng=rng)
        self.item.weight.data = row.scale * self.item.weight.data
        self.query, self.key = nn.Linear(d, d, rng=rng), nn.Linear(d, d, rng=rng)
        self.head = nn.Sequential(nn.Linear(3 * d, 32, rng=rng), mg.relu, nn.Linear(32, 2, rng=rng))

    def forward(self, history: np.ndarray, candidates: np.ndarray) -> mg.Tensor:
        """The logits of no click and click, for each candidate."""
        item, past = self.item(candidates), self.item(history)  # (B, n, d), (B, HISTORY, d)
        q, k = self.query(item), self.key(past)
        if self.row.weights == "none":
            read = 0 * item
        elif self.row.weights == "softmax":
            read = mg.attention(q, k, past)  # (B, n, d): one summary for each candidate
        else:
            read = getattr(mg, self.row.weights)(q @ k.mT / math.sqrt(self.row.d)) @ past
        return self.head(mg.concat([item, read, item * read], axis=-1))


def train(row: Row, seed: int) -> dict[str, Any]:
    """Train on users that are new in every batch; then rank the candidates of other users."""
    model, data = Recommender(row, np.random.default_rng([seed, 0])), np.random.default_rng([seed, 1])
    optimizer = optim.Adam(model.parameters())
    for step in range(row.steps):
        history, candidates, p = make_users(data.choice(INTERESTS, 64), 10, data)
        loss = mg.cross_entropy(model(history, candidates), (data.random(p.shape) < p).astype(int))
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = optim.cosine_schedule(step, lr=0.03, warmup=0, steps=row.steps)
        optimizer.step()
    held_out = np.random.default_rng([seed, 2])  # the same users for all rows
    interests = np.repeat(INTERESTS, 300)
    history, candidates, p = make_users(interests, 50, held_out)
    clicks = held_out.random(p.shape) < p
    with mg.no_grad():
        logits = model(history, candidates).numpy()
        weights = mg.attention_weights(model.query(model.item(candidates)), model.key(model.item(history))).numpy()
    found: dict[str, Any] = {}
    for name, scores in (("", logits[..., 1] - logits[..., 0]), ("best_", p)):
        for measure in (auc, ndcg):
            by_user = np.array([measure(s, c) for s, c in zip(scores, clicks, strict=True)])
            for k in INTERESTS:
                found[f"{name}{measure.__name__}{k}"] = 100 * float(np.nanmean(by_user[interests == k]))
    if row.weights != "softmax":
        return found
    same = history[:, None] // EACH == candidates[..., None] // EACH  # (B, n, HISTORY): of the candidate's genre
    for k in INTERESTS:
        of_interest = same.any(-1) & (interests == k)[:, None]
        found[f"on_genre{k}"] = 100 * float((weights * same).sum(-1)[of_interest].mean())
    user = np.flatnonzero(interests == 4)[0]  # one to show: the first with 4 interests, and all candidates of these
    shown = np.flatnonzero(same[user].any(-1))
    shown, order = shown[np.argsort(candidates[user, shown])], np.argsort(history[user])
    return found | {
        "history": [named(i) for i in history[user][order]],
        "candidates": [named(i) for i in candidates[user, shown]],
        "weights": np.round(weights[user, shown][:, order], 3).tolist(),
    }


def named(item: int) -> str:
    return f"{GENRES[item // EACH]} {item % EACH}"


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, steps="training steps"), argv)
    steps = args.steps or (500 if args.quick else Row.steps)
    rows = {name: replace(row, steps=steps) for name, row in ROWS.items()}
    results = {"steps": steps, "rows": story.compare(train, rows, args, "recommender")}
    for measure, title in {"auc": "AUC", "ndcg": "NDCG@10"}.items():
        lines = [
            [name, *(story.spread_of(runs, f"{measure}{k}") for k in INTERESTS)]
            for name, runs in results["rows"].items()
        ]
        best = [story.spread_of(results["rows"]["attention"], f"best_{measure}{k}") for k in INTERESTS]
        lines.append(["(computed) true click probability", *best])
        what = f"{title} × 100 by number of interests: median (range) of {args.seeds} seeds, {steps} steps"
        story.table(what, ["", *map(str, INTERESTS)], lines)
    told = results["rows"]["attention"][0]
    past = np.array([item.split()[0] for item in told["history"]])
    genres, whole = np.unique(past), np.array(told["weights"])
    sums = np.stack([whole[:, past == genre].sum(1) for genre in genres], axis=1)
    lines = [[item, *(f"{w:.2f}" for w in row)] for item, row in zip(told["candidates"], sums, strict=True)]
    story.table("Attention, seed 0, one user: where each candidate of her genres looks", ["", *genres], lines)
    draw(results, args.out / "recommend.png")
    return story.finish(args, results, in_words(results))


def in_words(results: dict[str, Any]) -> list[str]:
    """What was seen, from the numbers."""
    few, many = INTERESTS[0], INTERESTS[-1]

    def of(name: str, key: str) -> float:
        return story.median(results["rows"][name], key)

    def both(d: str, key: str) -> str:
        return f"{of('attention' + d, key):.1f} and {of('mean pooling' + d, key):.1f}"

    def gain(d: str, k: int) -> float:
        return of(f"attention{d}", f"auc{k}") - of(f"mean pooling{d}", f"auc{k}")

    verdict = ""
    if gain("", many) < 1:
        verdict = " ATTENTION DID NOT HELP."
    elif gain("", many) < gain("", few) + 1:
        verdict = " BUT THE GAIN DOES NOT GROW WITH THE INTERESTS."
    wide = gain(", d = 32", many)
    room = "the mean has room, and wins" if wide < -1 else "they are level" if wide < 1 else "attention is ahead, too"
    return [
        f"AUC × 100 of attention and of mean pooling for users with {many} interests: {both('', f'auc{many}')} (with "
        f"vectors of 32 numbers {both(', d = 32', f'auc{many}')}); with one interest {both('', f'auc{few}')}. "
        f"The true click probability has {of('attention', f'best_auc{many}'):.1f}." + verdict,
        f"NDCG@10 × 100 with {many} interests: {both('', f'ndcg{many}')}. With 32 numbers, more than the {len(GENRES)} "
        f"genres, {room}.",
        f"Where a user has {many} interests and the candidate is one of these, its genre gets "
        f"{of('attention', f'on_genre{many}'):.0f} % of its attention; of a mean, {100 / many:.1f} %. "
        f"Genres were never told.",
        f"With {many} interests, hardmax reaches {of('hardmax', f'auc{many}'):.1f}, no history "
        f"{of('no history', f'auc{many}'):.1f}, attention that is not normalized "
        f"{of('attention, not normalized', f'auc{many}'):.1f}, and attention over a table that starts at scale 1 "
        f"{of('attention, table at scale 1', f'auc{many}'):.1f}.",
    ]


LOOKS = {
    "attention": ("#1f6fb4", "-"), "attention, not normalized": ("#2e9d8f", "-"), "mean pooling": ("#c0392b", "-"),
    "hardmax": ("#8f63b8", "-"), "no history": ("#6b7683", "-"), "attention, d = 32": ("#1f6fb4", ":"),
    "mean pooling, d = 32": ("#c0392b", ":"), "attention, table at scale 1": ("#c98a1b", "-"),
}  # fmt: skip


def draw(results: dict[str, Any], path: Path) -> None:
    plt = story.pyplot()
    if plt is None:
        return
    figure, (ranking, weights) = plt.subplots(1, 2, figsize=(12, 5.2), width_ratios=[1, 0.75])
    for name, runs in results["rows"].items():
        color, dashes = LOOKS[name]
        curves = np.array([[run[f"auc{k}"] for k in INTERESTS] for run in runs])
        story.band(ranking, INTERESTS, curves, color, name)
        ranking.lines[-1].set(linestyle=dashes, marker="o", markersize=4, linewidth=2)
    best = [story.median(results["rows"]["attention"], f"best_auc{k}") for k in INTERESTS]
    ranking.plot(INTERESTS, best, "--", color="#3b4652", linewidth=1)
    ranking.axhline(50, color="#3b4652", linestyle="--", linewidth=1)
    ends = {name: (story.median(runs, f"auc{INTERESTS[-1]}"), LOOKS[name][0]) for name, runs in results["rows"].items()}
    y = 47.0
    for name, (end, color) in sorted(
        (ends | {"true click probability": (best[-1], "#3b4652")}).items(), key=lambda item: item[1]
    ):
        y = max(end, y + 2.1)  # names do not overlap
        ranking.text(8.4, y, name, color=color, va="center")
    ranking.text(1, 50.5, "guessing", color="#3b4652", va="bottom")
    ranking.set(title="AUC × 100 about new users", xlabel="interests of the user", xscale="log", ylim=(48, 103))
    ranking.set_xticks(INTERESTS, [str(k) for k in INTERESTS])
    ranking.minorticks_off()
    told = results["rows"]["attention"][0]
    weights.imshow(told["weights"], cmap="Blues", vmin=0, vmax=0.5, aspect="auto")
    weights.set(title="Attention weights over one history", xlabel="history", ylabel="candidates of her genres")
    weights.set_xticks(range(HISTORY), told["history"], rotation=90, fontsize=8)
    weights.set_yticks(range(len(told["candidates"])), told["candidates"], fontsize=8)
    for i, (before, item) in enumerate(pairwise(told["history"])):
        if before.split()[0] != item.split()[0]:
            weights.axvline(i + 0.5, color="#8793a0", linewidth=1)  # another genre begins
    weights.grid(visible=False)
    story.save_picture(figure, path)
    plt.close(figure)


if __name__ == "__main__":
    main()
