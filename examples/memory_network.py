"""Memory network: two looks at a story answer what one look cannot, where one fact leads to another.

A story is a few sentences, each a memory. Half of the questions need one fact, half need two:

    john took the football       where is mary          kitchen   her latest move
    mary went to the garden      where is the football  office    who took it, and the latest move of that person
    john went to the office
    mary went to the kitchen     (all go on moving, and things go with them)

The question becomes a vector u. A hop looks at all sentences, with weights softmax(u·keys/√d), and adds what it read to
u. All hops share their parameters: with one hop or three, it is the same model. It is trained on answers alone; nobody
tells it which sentences matter. You will see accuracy by number of hops, and where each hop looks in one story.
Controls: uniform weights, which choose nothing; hardmax, which cannot learn to choose; straight-through, its estimator;
tables that start 30 times as large, so that softmax is saturated.

After Sukhbaatar et al. 2015 (End-To-End Memory Networks), on stories in the manner of bAbI (Weston et al. 2015).
Takes about 1 minute on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import minigrad as mg
import story
from minigrad import nn, optim

PEOPLE, THINGS = ["mary", "john", "sandra", "daniel"], ["football", "apple", "milk"]
PLACES = ["kitchen", "garden", "office", "hallway", "bedroom", "bathroom"]
WORDS = [*PEOPLE, *PLACES, *THINGS, "went to", "took"]
PLACE, THING, WENT, TOOK = (WORDS.index(word) for word in ("kitchen", "football", "went to", "took"))
N = 10  # sentences: each thing is taken once, all others are moves
COLUMNS = {"one": "one fact", "two": "two facts", "first": "first hop: who took it", "last": "last hop: latest move"}


@dataclass(frozen=True)
class Row:
    hops: int = 2
    weights: str = "softmax"  # a map of minigrad's
    scale: float = 0.1  # standard deviation of the tables at the start
    steps: int = 1500
    d: int = 32


ROWS = {
    "1 hop": Row(1), "2 hops": Row(2), "3 hops": Row(3), "2 hops, tables at scale 3": Row(scale=3.0),
    "2 hops, straight-through": Row(weights="straight_through"), "2 hops, hardmax": Row(weights="hardmax"),
    "2 hops, uniform": Row(weights="uniform"),
}  # fmt: skip


def make_stories(batch: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Sentences (B, N, 3) of words who, verb, what; the word asked for; the place where it is. For scoring only: which
    sentence tells who took it (-1 in a question about a person), and which one where that person went last.
    """
    who, what = rng.integers(0, len(PEOPLE), (batch, N)), PLACE + rng.integers(0, len(PLACES), (batch, N))
    verb, rows, things = np.full((batch, N), WENT), np.arange(batch), np.arange(len(THINGS))
    takes = rng.permuted(np.tile(np.arange(N), (batch, 1)), axis=1)[:, : len(THINGS)]  # the sentence for each thing
    verb[rows[:, None], takes], what[rows[:, None], takes] = TOOK, THING + things
    thing, about_thing = rng.integers(0, len(THINGS), batch), rng.random(batch) < 0.5
    took = np.where(about_thing, takes[rows, thing], -1)
    person = np.where(about_thing, who[rows, took], rng.integers(0, len(PEOPLE), batch))
    move = np.where((who == person[:, None]) & (verb == WENT), np.arange(N), -1).max(1)
    asked, answer = np.where(about_thing, THING + thing, person), what[rows, move] - PLACE
    told = move >= 0  # who never moved is nowhere: no such questions
    return tuple(a[told] for a in (np.stack([who, verb, what], -1), asked, answer, took, move))


class MemoryNetwork(nn.Module):
    def __init__(self, row: Row, rng: np.random.Generator) -> None:
        self.row = row
        for name, n in {"ask": len(WORDS), "key": len(WORDS), "value": len(WORDS), "age": N}.items():
            table = nn.Embedding(n, row.d, rng=rng)
            table.weight.data = row.scale * table.weight.data
            setattr(self, name, table)
        self.carry = nn.Linear(row.d, row.d, bias=False, rng=rng)
        self.out = nn.Linear(row.d, len(PLACES), rng=rng)

    def forward(self, sentences: np.ndarray, asked: np.ndarray) -> tuple[mg.Tensor, list[np.ndarray]]:
        """The logits of the places; and each hop's weights, to look at."""
        age = self.age(np.arange(N)[::-1])  # (N, d): how long ago, for the latest move must win
        keys = self.key(sentences).sum(axis=2) + age  # (B, N, d): a bag of three words
        values = self.value(sentences).sum(axis=2)
        u, seen = self.ask(asked)[:, None], []  # (B, 1, d)
        for _ in range(self.row.hops):
            scores = u @ keys.mT / math.sqrt(self.row.d)  # (B, 1, N)
            weights = getattr(mg, self.row.weights)(scores)
            u = self.carry(u) + weights @ values  # what was read is part of what is asked next
            seen.append(weights.numpy()[:, 0])
        return self.out(u[:, 0]), seen


def train(row: Row, seed: int) -> dict[str, Any]:
    """Train on stories that are new in every batch; then count, on others, right answers and where the hops look."""
    model, data = MemoryNetwork(row, np.random.default_rng([seed, 0])), np.random.default_rng([seed, 1])
    optimizer = optim.Adam(model.parameters())
    for step in range(row.steps):
        sentences, asked, answer, *_ = make_stories(64, data)
        loss = mg.cross_entropy(model(sentences, asked)[0], answer)
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = optim.cosine_schedule(step, lr=0.02, warmup=0, steps=row.steps)
        optimizer.step()
    sentences, asked, answer, took, move = make_stories(3000, np.random.default_rng([seed, 2]))
    with mg.no_grad():
        logits, seen = model(sentences, asked)
    said, two = logits.numpy().argmax(-1), took >= 0
    first, last = seen[0].argmax(-1) == took, seen[-1].argmax(-1) == move
    counts = {"one": (said == answer)[~two], "two": (said == answer)[two], "first": first[two], "last": last[two]}
    i = np.flatnonzero((took > 1) & (move > took + 1) & (move < N - 1))[0]  # one to show: the last sentence misleads
    return {name: 100 * float(np.mean(count)) for name, count in counts.items()} | {
        "sentences": [" ".join([WORDS[a], WORDS[b], "the", WORDS[c]]) for a, b, c in sentences[i]],
        "question": f"where is the {WORDS[asked[i]]}?", "answer": PLACES[answer[i]], "said": PLACES[said[i]],
        "weights": [np.round(w[i], 3).tolist() for w in seen],
    }  # fmt: skip


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, steps="training steps"), argv)
    steps = args.steps or (500 if args.quick else Row.steps)
    rows = {name: replace(row, steps=steps) for name, row in ROWS.items()}
    results = {"steps": steps, "rows": story.compare(train, rows, args, "memory network")}
    lines = [[name, *(story.spread_of(runs, key) for key in COLUMNS)] for name, runs in results["rows"].items()]
    lines[-1][3:] = ["", ""]  # uniform weights have no largest
    lines.append(["(computed) guessing a place", *[f"{100 / len(PLACES):.1f}"] * 2, "", ""])
    title = f"Right answers, and where the largest weight is, %: median (range) of {args.seeds} seeds, {steps} steps"
    story.table(title, ["", *COLUMNS.values()], lines)
    told = results["rows"]["2 hops"][0]
    print(f"\nTwo hops, seed 0. {told['question']} It says {told['said']}; the answer is {told['answer']}.")
    for sentence, one, two in zip(told["sentences"], *told["weights"], strict=True):
        bars = f"hop 1 {one:.2f} {'█' * round(20 * one):<20}  hop 2 {two:.2f} {'█' * round(20 * two)}"
        print(f"   {sentence:<28} {bars}".rstrip())
    draw(results, args.out / "memory_network.png")
    return story.finish(args, results, in_words(results))


def in_words(results: dict[str, Any]) -> list[str]:
    """What was seen, from the numbers."""
    found = {name: {key: story.median(runs, key) for key in COLUMNS} for name, runs in results["rows"].items()}
    one, two = found["1 hop"], found["2 hops"]
    others = [f"{name.removeprefix('2 hops, ')} {row['two']:.1f} %" for name, row in found.items() if ", " in name]
    return [
        f"Where two facts are needed, one hop answers {one['two']:.1f} % and two hops {two['two']:.1f} %; where one, "
        f"{one['one']:.1f} and {two['one']:.1f} %." + (" NO GAIN FROM HOP TWO." if two["two"] < one["two"] + 5 else ""),
        f"Nobody told it where to look: hop 1's largest weight is on the sentence that tells who took it in "
        f"{two['first']:.1f} % of the stories, hop 2's on where that person went last in {two['last']:.1f} %.",
        f"Two facts, three hops: {found['3 hops']['two']:.1f} %. Two hops otherwise: {', '.join(others)}.",
    ]  # fmt: skip


def draw(results: dict[str, Any], path: Any) -> None:
    plt = story.pyplot()
    if plt is None:
        return
    figure, (accuracy, weights) = plt.subplots(1, 2, figsize=(12, 5), width_ratios=[1, 0.8])
    for key, color, size in (("one", "#6b7683", 10), ("two", "#1f6fb4", 5)):
        curves = np.array([[run[key] for run in results["rows"][name]] for name in ("1 hop", "2 hops", "3 hops")]).T
        story.band(accuracy, [1, 2, 3], curves, color, f"questions that need {key} fact{'s' * (key == 'two')}")
        accuracy.plot([1, 2, 3], curves.T, "o", color=color, markersize=size)
    uniform = story.median(results["rows"]["2 hops, uniform"], "two")
    for y, text in ((uniform, "two facts, uniform weights"), (100 / len(PLACES), "guessing a place")):
        accuracy.axhline(y, color="#3b4652", linestyle="--", linewidth=1)
        accuracy.text(3, y + 1, text, ha="right", va="bottom")
    accuracy.set(title="Right answers about new stories, %", xlabel="hops", xticks=[1, 2, 3], ylim=(0, 103))
    accuracy.legend(loc="center right")
    told = results["rows"]["2 hops"][0]
    weights.imshow(np.array(told["weights"]).T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (hop, i), w in np.ndenumerate(told["weights"]):
        weights.text(hop, i, f"{w:.2f}", ha="center", va="center", color="white" if w > 0.5 else "#3b4652")
    weights.set(title=f"Weights: {told['question']}  {told['said']}", xticks=[0, 1], xticklabels=["hop 1", "hop 2"])
    weights.set_yticks(range(N), told["sentences"])
    weights.grid(visible=False)
    story.save_picture(figure, path)
    plt.close(figure)


if __name__ == "__main__":
    main()
