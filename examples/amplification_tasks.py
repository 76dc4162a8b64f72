"""The trained half of amplification.py, which runs it: normalizers without an exponential, votes, permuted weights.

A majority needs several items: the query key stands at three of eight places, and at least two of its three values
agree. Who reads one of the three is right in (2/3)(7/8) + 1/8 = 70.8 %:

    keys   f  a  f  d  f  b        query  f        answer  7, by two of three
    values 7  5  7  2  1  3
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import learning_rates
import memory_network
import minigrad as mg
import story
from memory_network import MemoryNetwork, Settings, make_stories
from retrieval import Retrieve, random_route, train_retrieval

ONE_OF_THREE = 100 * (2 / 3 * 7 / 8 + 1 / 8)


def square(x: mg.Tensor) -> mg.Tensor:
    return mg.sum_normalize(x * x + 0.001)


def softplus(x: mg.Tensor) -> mg.Tensor:
    return mg.sum_normalize(mg.relu(x) + mg.log(1 + mg.exp(-mg.abs(x))))  # ln(1 + exp(x)), without overflow


def above_min(x: mg.Tensor) -> mg.Tensor:
    return mg.sum_normalize(x - mg.min(x, axis=-1, keepdims=True) + 0.01)


def relu(x: mg.Tensor) -> mg.Tensor:
    return mg.sum_normalize(mg.relu(x) + 0.01)


POSITIVE = {"x² + 0.001": square, "softplus(x)": softplus, "x − min + 0.01": above_min, "relu(x) + 0.01": relu}
NORMALIZED = {"softmax": Retrieve(), "simple normalization": Retrieve("sum_normalize")}
NORMALIZED |= {name: Retrieve(weights) for name, weights in POSITIVE.items()}
NORMALIZED |= {
    "sigmoid, no sum of 1": Retrieve(mg.sigmoid, "learned bias"),
    "control: uniform": Retrieve("uniform"),
}
VOTES = {
    name: Retrieve(weights, task="three")
    for name, weights in {
        "softmax": "softmax", "x² + 0.001": square, "1.5-entmax": "entmax15", "sparsemax": "sparsemax",
        "top-4": "top_k_softmax", "straight-through": "straight_through", "hardmax (argmax)": "hardmax",
        "control: uniform": "uniform",
    }.items()
}  # fmt: skip
VOTES["sparsemax, tables at scale 0.3"] = replace(VOTES["sparsemax"], scale=0.3)
GROUPS = {f"retrieval among {n}": {name: replace(row, n=n) for name, row in NORMALIZED.items()} for n in (8, 32)}
GROUPS["majority of three"] = VOTES
FIELDS = {"true weights": "right", "permuted": "permuted", "the same for all": "uniform"}


def permuted(steps: int, seed: int) -> dict[str, float]:
    """A memory network's accuracy, in percent, when its weights are true, permuted, or made equal, after training."""
    s = Settings(steps=steps)
    data, rng = np.random.default_rng([seed, 2]), np.random.default_rng([seed, 3])
    model = memory_network.trained(s, seed)
    sentences, asked, answer, *_ = make_stories(3000, data)

    def shuffle(scores: mg.Tensor) -> mg.Tensor:
        return mg.Tensor(rng.permuted(mg.softmax(scores).numpy(), axis=-1))

    return {
        name: accuracy(model, weights, sentences, asked, answer)
        for name, weights in (("right", mg.softmax), ("permuted", shuffle), ("uniform", mg.uniform))
    }


@mg.no_grad()
def accuracy(model: MemoryNetwork, weights: Any, sentences: Any, asked: Any, answer: Any) -> float:
    model.normalizer = weights
    return 100 * float(np.mean(model(sentences, asked)[0].numpy().argmax(-1) == answer))


def run(args: Any) -> dict[str, Any]:
    """Train everything: {"retrieval among 8": {row: runs}, ..., "permuted": runs}."""
    groups = {name: GROUPS[name] for name in list(GROUPS)[:: 2 if args.quick else 1]}
    if args.tune:
        for group, rows in groups.items():
            learning_rates.tune(group, rows, train_retrieval, args.processes)
    steps = args.steps or (300 if args.quick else Retrieve.steps)
    jobs = {
        (group, name): replace(row, steps=steps)
        for group, rows in groups.items()
        for name, row in learning_rates.tuned(group, rows).items()
    }
    runs = story.compare(train_retrieval, jobs, args, "amplification")
    found: dict[str, Any] = {group: {name: runs[group, name] for name in rows} for group, rows in groups.items()}
    found["permuted"] = story.compare(permuted, {"": steps}, args, "permuted weights")[""]
    return found


def report(trained: dict[str, Any]) -> None:
    seeds = len(trained["permuted"])
    for group, rows in trained.items():
        if group == "permuted":
            continue
        lines = [
            [name, story.spread_of(runs, "accuracy"), story.spread_of(runs, "read_hard"), step_to_90(runs)]
            for name, runs in rows.items()
        ]
        if group in ("retrieval among 8", "retrieval among 32"):
            lines.append(["(computed) a random route", f"{random_route(int(group.split()[-1])):.1f}", "", ""])
        else:
            lines.append(["(computed) reading one of the three", f"{ONE_OF_THREE:.1f}", "", ""])
        title = f"{group.capitalize()}: median (range) of {seeds} seeds"
        story.table(title, ["weights", "accuracy %", "read with argmax %", "step to 90 %"], lines)
    lines = [[name, story.spread_of(trained["permuted"], key)] for name, key in FIELDS.items()]
    story.table("Memory network, read with other weights than its own", ["weights", "accuracy %"], lines)


def step_to_90(runs: list[dict[str, Any]]) -> str:
    passed = [run["step_90"] for run in runs if run["step_90"]]
    return story.spread(passed, "{:.0f}") if len(passed) == len(runs) else f"{len(passed)} of {len(runs)} seeds"
