"""Memory network: two looks at a story answer what one look cannot, where one fact leads to another.

In a story people move about and carry things along. Half of the questions need one fact, half need two:

    john took the football       where is mary?          kitchen   her latest move
    mary went to the garden      where is the football?  office    who took it, and that person's latest move
    john went to the office
    mary went to the kitchen

The question becomes a vector u. One look, called a hop, gives each sentence the weight softmax(u·key/√d) and adds the
weighted sum of the values to u. All hops share their parameters. Training knows only the answers: nobody tells the
model which sentences matter. You will see the accuracy by number of hops, and where each hop looks in one story.
Controls: uniform weights, which choose nothing; hardmax, which cannot learn to choose; straight-through, an estimator
for hardmax; and embedding tables that start 30 times as large, so that softmax is saturated.

After Sukhbaatar et al. 2015 (End-To-End Memory Networks), on stories like those of bAbI (Weston et al. 2015).
Takes about 1 minute on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn, optim

PEOPLE, THINGS = ["mary", "john", "sandra", "daniel"], ["football", "apple", "milk"]
PLACES = ["kitchen", "garden", "office", "hallway", "bedroom", "bathroom"]
WORDS = [*PEOPLE, *PLACES, *THINGS, "went to", "took"]
PLACE, THING, WENT, TOOK = (WORDS.index(word) for word in ("kitchen", "football", "went to", "took"))
N = 10  # sentences in a story: each thing is taken once, all other sentences are moves
COLUMNS = {"one": "one fact", "two": "two facts", "first": "hop 1 looks at who took it", "last": "last hop at the move"}


@dataclass(frozen=True)
class Settings:
    hops: int = 2
    normalizer: Any = mg.softmax  # from scores to weights
    scale: float = 0.1  # standard deviation of the tables at the start
    d: int = 32
    steps: int = 1500


ROWS = {
    "1 hop": Settings(hops=1),
    "2 hops": Settings(),
    "3 hops": Settings(hops=3),
    "2 hops, tables at scale 3": Settings(scale=3.0),
    "2 hops, straight-through": Settings(normalizer=mg.straight_through),
    "2 hops, hardmax": Settings(normalizer=mg.hardmax),
    "2 hops, uniform": Settings(normalizer=mg.uniform),
}


def make_stories(batch: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Sentences (B, N, 3) of who, verb, what, as ids in WORDS; the word asked for; the answer, a number in PLACES.

    For scoring only: the sentence that tells who took the thing, -1 if a person is asked for; and the latest move.
    """
    rows = np.arange(batch)
    who = rng.integers(0, len(PEOPLE), (batch, N))
    what = PLACE + rng.integers(0, len(PLACES), (batch, N))
    verb = np.full((batch, N), WENT)
    taken_in = rng.permuted(np.tile(np.arange(N), (batch, 1)), axis=1)[:, : len(THINGS)]  # a sentence for each thing
    verb[rows[:, None], taken_in] = TOOK
    what[rows[:, None], taken_in] = THING + np.arange(len(THINGS))

    thing, about_thing = rng.integers(0, len(THINGS), batch), rng.random(batch) < 0.5
    took = np.where(about_thing, taken_in[rows, thing], -1)
    person = np.where(about_thing, who[rows, took], rng.integers(0, len(PEOPLE), batch))
    asked = np.where(about_thing, THING + thing, person)
    moves = (who == person[:, None]) & (verb == WENT)
    latest = np.where(moves, np.arange(N), -1).max(1)
    answer = what[rows, latest] - PLACE
    has_moved = latest >= 0  # a question about somebody who never moved has no answer: leave it out
    return tuple(a[has_moved] for a in (np.stack([who, verb, what], -1), asked, answer, took, latest))


class MemoryNetwork(nn.Module):
    def __init__(self, s: Settings, rng: np.random.Generator) -> None:
        self.hops, self.normalizer = s.hops, s.normalizer
        self.ask, self.key, self.value = (nn.Embedding(len(WORDS), s.d, rng=rng) for _ in range(3))
        self.age = nn.Embedding(N, s.d, rng=rng)
        for table in (self.ask, self.key, self.value, self.age):
            table.weight.data = s.scale * table.weight.data
        self.carry = nn.Linear(s.d, s.d, bias=False, rng=rng)
        self.out = nn.Linear(s.d, len(PLACES), rng=rng)

    def forward(self, sentences: np.ndarray, asked: np.ndarray) -> tuple[mg.Tensor, list[np.ndarray]]:
        """The logits of the places, and the weights of each hop."""
        age = self.age(np.arange(N)[::-1])  #                 (N, d): how long ago, because the latest move counts
        keys = self.key(sentences).sum(axis=2) + age  #       (B, N, d): the sum over a sentence's three words
        values = self.value(sentences).sum(axis=2)  #         (B, N, d)
        u, seen = self.ask(asked)[:, None], []  #             (B, 1, d)
        for _ in range(self.hops):
            scores = u @ keys.mT / math.sqrt(u.shape[-1])  #  (B, 1, N)
            weights = self.normalizer(scores)
            u = self.carry(u) + weights @ values  # what was read is part of the next question
            seen.append(weights.numpy()[:, 0])
        return self.out(u[:, 0]), seen


def train(s: Settings, seed: int) -> dict[str, Any]:
    return evaluate(trained(s, seed), seed)


def trained(s: Settings, seed: int) -> MemoryNetwork:
    model, data = MemoryNetwork(s, np.random.default_rng([seed, 0])), np.random.default_rng([seed, 1])
    optimizer = optim.Adam(model.parameters())
    for step in range(s.steps):
        sentences, asked, answer, *_ = make_stories(64, data)  # new ones in every batch
        loss = mg.cross_entropy(model(sentences, asked)[0], answer)
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = optim.cosine_schedule(step, lr=0.02, warmup=0, steps=s.steps)
        optimizer.step()
    return model


@mg.no_grad()
def evaluate(model: MemoryNetwork, seed: int) -> dict[str, Any]:
    """Right answers, and how often a hop looks at the right sentence, in percent; and one story to show."""
    sentences, asked, answer, took, latest = make_stories(3000, np.random.default_rng([seed, 2]))
    logits, weights = model(sentences, asked)
    said, two = logits.numpy().argmax(-1), took >= 0  # two: the questions that need two facts
    right, first, last = said == answer, weights[0].argmax(-1) == took, weights[-1].argmax(-1) == latest
    shares = {"one": right[~two], "two": right[two], "first": first[two], "last": last[two]}
    found: dict[str, Any] = {name: 100 * float(share.mean()) for name, share in shares.items()}
    i = np.flatnonzero((took > 1) & (latest > took + 1) & (latest < N - 1))[0]  # a story whose last sentence misleads
    found["sentences"] = [f"{WORDS[who]} {WORDS[verb]} the {WORDS[what]}" for who, verb, what in sentences[i]]
    found["question"] = f"where is the {WORDS[asked[i]]}?"
    found["answer"], found["said"] = PLACES[answer[i]], PLACES[said[i]]
    found["weights"] = [np.round(w[i], 3).tolist() for w in weights]
    return found


# --- what was seen ---------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, steps="training steps"), argv)
    steps = args.steps or (500 if args.quick else Settings.steps)
    rows = {name: replace(s, steps=steps) for name, s in ROWS.items()}
    results = {"steps": steps, "rows": story.compare(train, rows, args, "memory network")}
    return story.finish("memory_network", args, results, in_words, report, draw)


def report(results: dict[str, Any]) -> None:
    lines = [[name, *(story.spread_of(runs, key) for key in COLUMNS)] for name, runs in results["rows"].items()]
    lines[-1][3:] = ["", ""]  # uniform weights have no largest
    lines.append(["(computed) guessing a place", *[f"{100 / len(PLACES):.1f}"] * 2, "", ""])
    seeds, steps = len(results["rows"]["2 hops"]), results["steps"]
    title = f"Right answers and right looks, %: median (range) of {seeds} seeds, {steps} steps"
    story.table(title, ["", *COLUMNS.values()], lines)


def in_words(results: dict[str, Any]) -> list[str]:
    one, two = ([story.median(results["rows"][name], key) for key in ("two", "one")] for name in ("1 hop", "2 hops"))
    return [
        f"Questions that need two facts: one hop answers {one[0]:.1f} %, two hops {two[0]:.1f} %.",
        f"Of those that need one fact, one hop answers {one[1]:.1f} %, two hops {two[1]:.1f} %.",
    ]


def draw(results: dict[str, Any], path: Path) -> None:
    plt = story.pyplot()
    figure, (accuracy, weights) = plt.subplots(1, 2, figsize=(12, 5), width_ratios=[1, 0.8])
    for key, color, label in (("one", "#6b7683", "one fact"), ("two", "#1f6fb4", "two facts")):
        curves = [[run[key] for run in results["rows"][name]] for name in ("1 hop", "2 hops", "3 hops")]
        story.band(accuracy, [1, 2, 3], np.transpose(curves), color, f"questions that need {label}")
    accuracy.axhline(100 / len(PLACES), color="#3b4652", linestyle="--", linewidth=1, label="guessing a place")
    accuracy.set(title="Right answers about new stories, %", xlabel="hops", xticks=[1, 2, 3], ylim=(0, 103))
    accuracy.legend(loc="center right")

    told = results["rows"]["2 hops"][0]
    weights.imshow(np.transpose(told["weights"]), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (hop, i), w in np.ndenumerate(told["weights"]):
        weights.text(hop, i, f"{w:.2f}", ha="center", va="center", color="white" if w > 0.5 else "#3b4652")
    weights.set(title=f"Weights: {told['question']}  {told['said']}", xticks=[0, 1], xticklabels=["hop 1", "hop 2"])
    weights.set_yticks(range(N), told["sentences"])
    weights.grid(visible=False)
    story.save_picture(figure, path)
    plt.close(figure)


if __name__ == "__main__":
    story.tell(main)
