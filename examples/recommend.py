"""Recommender: asking a user's history about each candidate, against one mean of it for all candidates.

There are 200 items in 20 genres. Nobody tells the model the genres: it must find them in clicks. A user has 1, 2, 4 or
8 interests and has clicked on 24 items, each interest equally often. Will she click on the candidate?

    history: chess 7, jazz 3, jazz 8, chess 0, ...     candidate jazz 5: clicked     candidate opera 2: not

With attention the candidate is the query and the history gives keys and values, so each candidate reads its own summary
of the history. With mean pooling all candidates read the same summary. Both then go through the same small network to
click or no click. You will see AUC and NDCG@10 about users it has not met, and what candidates attend to.

AUC: of all pairs of a clicked and an unclicked candidate, how many have the clicked one score higher? (Ties count a
half.) NDCG@10: among the ten best scores a click at rank r counts 1/log2(r + 1), and the sum is divided by that of the
best order. Both are taken user by user, over 50 candidates, and averaged; users who clicked on nothing have neither.

Controls: one interest, where a mean loses nothing; vectors of 32 numbers instead of 8, in which a mean has room for all
20 genres; no history, which leaves how well liked an item is; hardmax; weights that are not normalized, as in the
paper (here the sigmoid of each score); a table of items that starts at standard deviation 1 instead of 0.3, so that
softmax is sure before it has learned; and the true click probability, which no model can beat on average.

Word vectors, too: that "similar words get similar coordinates" can be measured. Every item begins as a random vector;
after training, is its nearest neighbour, by cosine, of its own genre? And relevance is not similarity as such but q·k:
the same two items are compared after two projections, which are learned, and which way round matters.

After Zhou et al. 2018 (Deep Interest Network), whose scores come from a small network instead of a dot product.
Takes about 2 minutes on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import minigrad as mg
import pictures
from minigrad import nn, optim

GENRES = [
    "jazz", "opera", "rock", "folk", "chess", "football", "sailing", "cooking", "gardening", "knitting", "biology",
    "physics", "poetry", "crime", "fantasy", "romance", "travel", "painting", "cinema", "theatre",
]  # fmt: skip
EACH, HISTORY, INTERESTS = 10, 24, (1, 2, 4, 8)
ITEMS = EACH * len(GENRES)  # item i is of genre i // EACH
LIKED = np.random.default_rng(0).normal(0, 0.7, ITEMS)  # some items are clicked on more, by everyone


@dataclass(frozen=True)
class Settings:
    weights: Any = mg.softmax  # of scores; or None: no history
    d: int = 8
    scale: float = 0.3  # standard deviation of the items' table at the start
    steps: int = 2000


ROWS = {
    "attention": Settings(),
    "attention, not normalized": Settings(weights=mg.sigmoid),
    "mean pooling": Settings(weights=mg.uniform),
    "hardmax": Settings(weights=mg.hardmax),
    "no history": Settings(weights=None),
    "attention, table at scale 1": Settings(scale=1.0),
    "attention, d = 32": Settings(d=32),
    "mean pooling, d = 32": Settings(weights=mg.uniform, d=32),
}


def make_users(interests: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Histories (B, HISTORY), n candidates each (B, n), one in five of the user's genres, and their click probability.

    `interests` (B,) says how many interests each user has.
    """
    rows, k = np.arange(len(interests))[:, None], interests[:, None]
    genres = rng.permuted(np.tile(np.arange(len(GENRES)), (len(k), 1)), axis=1)  # the first k are the interests
    turns = rng.permuted(np.tile(np.arange(HISTORY), (len(k), 1)), axis=1) % k  # each interest equally often
    history = genres[rows, turns] * EACH + rng.integers(0, EACH, turns.shape)
    mine, r = rng.random((len(k), n)) < 0.2, rng.random((len(k), n))
    among = np.where(mine, r * k, k + r * (len(GENRES) - k)).astype(int)
    candidates = genres[rows, among] * EACH + rng.integers(0, EACH, mine.shape)
    return history, candidates, 1 / (1 + np.exp(3 - 4 * mine - LIKED[candidates]))


class Recommender(nn.Module):
    def __init__(self, s: Settings, rng: np.random.Generator) -> None:
        d, self.weights = s.d, s.weights
        self.item = nn.Embedding(ITEMS, d, rng=rng)
        self.item.weight.data = s.scale * self.item.weight.data
        self.query, self.key = nn.Linear(d, d, rng=rng), nn.Linear(d, d, rng=rng)
        self.head = nn.Sequential(nn.Linear(3 * d, 32, rng=rng), mg.relu, nn.Linear(32, 2, rng=rng))

    def forward(self, history: np.ndarray, candidates: np.ndarray) -> mg.Tensor:
        """The logits of no click and click, for each candidate."""
        item, past = self.item(candidates), self.item(history)  # (B, n, d), (B, HISTORY, d)
        q, k = self.query(item), self.key(past)
        if self.weights is None:
            read = 0 * item
        elif self.weights is mg.softmax:
            read = mg.attention(q, k, past)  #                    (B, n, d): one summary for each candidate
        else:
            read = self.weights(q @ k.mT / math.sqrt(q.shape[-1])) @ past
        return self.head(mg.concat([item, read, item * read], axis=-1))


def train(s: Settings, seed: int) -> dict[str, Any]:
    model, data = Recommender(s, np.random.default_rng([seed, 0])), np.random.default_rng([seed, 1])
    before = vectors(model)
    optimizer = optim.Adam(model.parameters())
    for step in range(s.steps):
        history, candidates, p = make_users(data.choice(INTERESTS, 64), 10, data)  # new ones in every batch
        loss = mg.cross_entropy(model(history, candidates), (data.random(p.shape) < p).astype(int))
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = optim.cosine_schedule(step, lr=0.03, warmup=0, steps=s.steps)
        optimizer.step()
    return evaluate(model, np.random.default_rng([seed, 2])) | {"vectors": {"before": before, "after": vectors(model)}}


@mg.no_grad()
def evaluate(model: Recommender, rng: np.random.Generator) -> dict[str, Any]:
    """AUC and NDCG × 100 by number of interests, of the model and of the true click probability ("best")."""
    interests = np.repeat(INTERESTS, 300)
    history, candidates, p = make_users(interests, 50, rng)
    clicks = rng.random(p.shape) < p
    logits = model(history, candidates).numpy()
    found: dict[str, Any] = {}
    for name, scores in (("", logits[..., 1] - logits[..., 0]), ("best_", p)):
        for measure in (auc, ndcg):
            by_user = np.array([measure(s, c) for s, c in zip(scores, clicks, strict=True)])
            for k in INTERESTS:
                found[f"{name}{measure.__name__}{k}"] = 100 * float(np.nanmean(by_user[interests == k]))
    return found | (looks(model, interests, history, candidates) if model.weights is mg.softmax else {})


@mg.no_grad()
def vectors(model: Recommender) -> dict[str, float]:
    """Whose nearest neighbour is of the same genre, in percent; mean cosines and scores of pairs of items."""
    table = model.item(np.arange(ITEMS))
    length = np.linalg.norm(table.numpy(), axis=1)
    cosine = table.numpy() @ table.numpy().T / np.outer(length, length)
    score = (model.query(table) @ model.key(table).mT).numpy() / math.sqrt(table.shape[1])
    genre, others = np.arange(ITEMS) // EACH, ~np.eye(ITEMS, dtype=bool)
    same = (genre[:, None] == genre) & others
    nearest = np.where(others, cosine, -2).argmax(1)
    found = {"nearest": 100 * float(np.mean(genre[nearest] == genre))}
    for name, pairs in (("same genre", same), ("other genres", others & ~same)):
        found |= {f"cosine, {name}": float(cosine[pairs].mean()), f"score, {name}": float(score[pairs].mean())}
    turned = np.abs(score - score.T)[same].mean() / np.abs(score[same]).mean()
    return {name: round(figure, 3) for name, figure in (found | {"turned round": float(turned)}).items()}


def looks(model: Recommender, interests: np.ndarray, history: np.ndarray, candidates: np.ndarray) -> dict[str, Any]:
    """How much of a candidate's attention goes to its own genre, in percent; and the weights of one user, to show."""
    weights = mg.attention_weights(model.query(model.item(candidates)), model.key(model.item(history))).numpy()
    same_genre = history[:, None] // EACH == candidates[..., None] // EACH  # (B, n, HISTORY)
    of_interest = same_genre.any(-1)
    on_genre, found = (weights * same_genre).sum(-1), {}
    for k in INTERESTS:
        found[f"on_genre{k}"] = 100 * float(on_genre[of_interest & (interests == k)[:, None]].mean())
    user = np.flatnonzero(interests == 4)[0]
    shown, order = np.flatnonzero(of_interest[user]), np.argsort(history[user])
    shown = shown[np.argsort(candidates[user, shown])]
    return found | {
        "history": [named(i) for i in history[user][order]],
        "candidates": [named(i) for i in candidates[user, shown]],
        "weights": np.round(weights[user, shown][:, order], 3).tolist(),
    }


def named(item: int) -> str:
    return f"{GENRES[item // EACH]} {item % EACH}"


def auc(scores: np.ndarray, clicks: np.ndarray) -> float:
    """How often a clicked candidate scores above one not clicked; nan where there are not both."""
    above = scores[clicks][:, None] - scores[~clicks]
    return float(np.mean((above > 0) + 0.5 * (above == 0))) if above.size else math.nan


def ndcg(scores: np.ndarray, clicks: np.ndarray, n: int = 10) -> float:
    """Clicks among the n best scores, discounted by rank, as a share of what is possible; nan without a click."""
    counts, best = 1 / np.log2(np.arange(2, len(clicks) + 2))[:n], np.argsort(-scores, kind="stable")[:n]
    return float(counts @ clicks[best] / counts[: clicks.sum()].sum()) if clicks.any() else math.nan


# --- what was seen ---------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, steps="training steps"), argv)
    steps = args.steps or (500 if args.quick else Settings.steps)
    rows = {name: replace(s, steps=steps) for name, s in ROWS.items()}
    results = {"steps": steps, "rows": story.compare(train, rows, args, "recommender")}
    return story.finish("recommend", args, results, in_words, report, draw)


def report(results: dict[str, Any]) -> None:
    seeds, steps = len(results["rows"]["attention"]), results["steps"]
    for measure, title in {"auc": "AUC", "ndcg": "NDCG@10"}.items():
        lines = [
            [name, *(story.spread_of(runs, f"{measure}{k}") for k in INTERESTS)]
            for name, runs in results["rows"].items()
        ]
        best = [story.spread_of(results["rows"]["attention"], f"best_{measure}{k}") for k in INTERESTS]
        lines.append(["(computed) true click probability", *best])
        what = f"{title} × 100 by number of interests: median (range) of {seeds} seeds, {steps} steps"
        story.table(what, ["", *map(str, INTERESTS)], lines)
    report_vectors(results["rows"], seeds)


def report_vectors(rows: dict[str, Any], seeds: int) -> None:
    lines = []
    for name in ("attention", "mean pooling", "no history"):
        for when in ("before", "after"):
            found = [run["vectors"][when] for run in rows[name]]
            forms = [story.spread_of(found, key, "{:.2f}") for key in found[0] if key != "nearest"]
            lines.append([f"{name}, {when}", story.spread_of(found, "nearest", "{:.0f}"), *forms])
    head = ["nearest of the genre, %", *(key for key in rows["attention"][0]["vectors"]["after"] if key != "nearest")]
    story.table(f"Item vectors before and after training: median (range) of {seeds} seeds", ["", *head], lines)
    story.say("(Score: q·k/√d. Turned round: how much it differs from k·q of the same pair, as a part of its size.)")


def in_words(results: dict[str, Any]) -> list[str]:
    rows = results["rows"]

    def pair(key: str, d: str = "") -> str:
        of_each = (f"{name} {story.median(rows[name + d], key):.1f}" for name in ("attention", "mean pooling"))
        return ", ".join(of_each)

    return [
        f"AUC × 100 for users with 8 interests: {pair('auc8')}.",
        f"With vectors of 32 numbers instead of 8: {pair('auc8', ', d = 32')}. For users with one interest: "
        f"{pair('auc1')}.",
    ]


@pictures.picture(1, 2, size=(11.5, 4.8), dark=True, width_ratios=[1, 0.95])
def draw(results: dict[str, Any], ranking: Any, weights: Any) -> None:
    ends = {}
    for i, name in enumerate(["attention", "mean pooling", "mean pooling, d = 32", "hardmax", "no history"]):
        curves = [[run[f"auc{k}"] for k in INTERESTS] for run in results["rows"][name]]
        color = pictures.band(ranking, INTERESTS, curves, f"C{i}", marker="os^Dv"[i], markersize=4)
        ends[name] = (float(np.median(curves, 0)[-1]), color)
    best = [story.median(results["rows"]["attention"], f"best_auc{k}") for k in INTERESTS]
    color = ranking.plot(INTERESTS, best, "--", color="C6", linewidth=1)[0].get_color()
    ends["true click probability"] = (best[-1], color)
    ranking.set(xlabel="interests of the user", ylabel="AUC × 100 about new users", xscale="log", ylim=(40, 92))
    ranking.set_title("One mean for all blurs many interests")
    ranking.set_xticks(INTERESTS, [str(k) for k in INTERESTS])
    ranking.set_xlim(INTERESTS[0], INTERESTS[-1])
    ranking.minorticks_off()
    pictures.labels(ranking, ends)

    told = results["rows"]["attention"][0]
    shown = weights.imshow(told["weights"], cmap="Blues", vmin=0, vmax=0.5, aspect="auto")
    weights.set(xlabel="history", ylabel="candidates of the user's genres")
    weights.set_title("Candidates look at their own genre")
    weights.set_xticks(range(HISTORY), told["history"], rotation=90, fontsize=7)
    weights.set_yticks(range(len(told["candidates"])), told["candidates"], fontsize=8)
    weights.grid(visible=False)
    weights.figure.colorbar(shown, ax=weights, label="weight", fraction=0.04)


if __name__ == "__main__":
    story.tell(main)
