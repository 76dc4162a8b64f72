"""Attention over longer inputs than in training: panels 3 and 4 of temperature.py, which runs them.

Panel 3.  A model learns to name the kind of the largest of 2 to 16 numbers, and is then asked about up to 4,096:

    numbers  0.31 0.87 0.55      kinds  c a f      answer  a

At test time the weights are those of softmax, as in training; or adaptive, softmax(β scores), where β ≥ 1 is the
published polynomial of the entropy (Veličković et al. 2024); or entropy-matched, where bisection finds the β that
lowers each row's entropy to the typical one of 16 items. A second model is trained with scalable softmax, of
scores · s ln n with s learned (Nakanishi 2025). There are two controls: hardmax at test time, which is right as often
as the scores rank the right number first, and guessing one of the 8 kinds.

Panel 4.  One score leads n − 1 equal ones by a gap. Its weight is 1/(1 + (n − 1) e^−gap), about 1/n; where scores are
scaled by s ln n, it is 1/(1 + (n − 1) n^(−s·gap)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
import pictures
import story
from minigrad import nn, optim

LENGTHS, N_KINDS, GAP = [16, 64, 256, 1024, 4096], 8, 4.0
MANY = [int(n) for n in np.logspace(1, 6, 11).round()]
PUBLISHED = [-0.037, 0.481, -2.3, 4.917, -1.791]  # of the entropy in nats, highest power first; used above 0.5 nats
PLAIN, POLYNOMIAL, MATCHED, HARD = "softmax", "adaptive, polynomial", "adaptive, entropy-matched", "hardmax at test"
SCALABLE, SCALABLE_HARD = "scalable softmax", "scalable, hardmax at test"
COLORS = {PLAIN: "C0", POLYNOMIAL: "C2", MATCHED: "C3", HARD: "C1", SCALABLE: "C4", SCALABLE_HARD: "C6"}


@dataclass(frozen=True)
class Pick:
    scalable: bool = False
    steps: int = 4000
    test_sets: int = 512  # at each length
    d: int = 32
    lr: float = 0.01


class Picker(nn.Module):
    """A learned query looks at all items; what it reads from their values is the answer."""

    def __init__(self, row: Pick, rng: np.random.Generator) -> None:
        self.kind, self.number = nn.Embedding(N_KINDS, row.d, rng=rng), nn.Linear(1, row.d, rng=rng)
        self.key, self.value = nn.Linear(row.d, row.d, rng=rng), nn.Linear(row.d, row.d, rng=rng)
        self.query = nn.Parameter(rng.standard_normal((row.d, 1)), dtype=np.float32)
        self.out = nn.Linear(row.d, N_KINDS, rng=rng)
        self.s = nn.Parameter([1 / math.log(16)]) if row.scalable else None  # at 16 items it starts as softmax does

    def forward(self, numbers: np.ndarray, kinds: np.ndarray) -> tuple[mg.Tensor, mg.Tensor]:
        x = mg.gelu(self.kind(kinds) + self.number(numbers[:, :, None]))  # (B, n, d)
        scores = (self.key(x) @ self.query)[:, :, 0] / math.sqrt(x.shape[-1])  # (B, n)
        if self.s is not None:
            scores = scores * self.s * math.log(scores.shape[-1])
        return scores, self.value(x)

    def answer(self, weights: mg.Tensor, values: mg.Tensor) -> mg.Tensor:
        return self.out((weights[:, None] @ values)[:, 0])  # (B, N_KINDS)


def items(n: int, sets: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, kinds, and the kind of each set's largest number."""
    numbers, kinds = rng.random((sets, n), np.float32), rng.integers(0, N_KINDS, (sets, n))
    return numbers, kinds, kinds[np.arange(sets), numbers.argmax(-1)]


def entropy(scores: np.ndarray) -> np.ndarray:
    return -(mg.softmax(scores).data * mg.log_softmax(scores).data).sum(-1)


def solve(falling: Callable[[np.ndarray], np.ndarray], targets: np.ndarray) -> np.ndarray:
    """For each target, the β at which a function that falls with β comes down to it: bisection of ln β."""
    low, high = np.full(targets.shape, -7.0), np.full(targets.shape, 12.0)
    for _ in range(40):
        middle = (low + high) / 2
        above = falling(np.exp(middle)) > targets
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.exp((low + high) / 2)


def weigh(rule: str, scores: np.ndarray, typical: float) -> mg.Tensor:
    """The weights at test time; `typical` is the entropy of 16 items."""
    if "hardmax" in rule:
        return mg.hardmax(scores)
    beta = np.ones(len(scores))
    if rule == POLYNOMIAL:
        h = entropy(scores)
        beta = np.where(h > 0.5, np.polyval(PUBLISHED, h), 1)
    if rule == MATCHED:
        beta = solve(lambda beta: entropy(beta[:, None] * scores), np.full(len(scores), typical))
    return mg.softmax(np.maximum(beta, 1)[:, None] * scores)


def pick_largest(row: Pick, seed: int) -> dict[str, dict[str, list[float]]]:
    """Panel 3. {rule: {length: [accuracy, median of the largest weight]}} of one trained model."""
    rng, model = np.random.default_rng([seed, 1]), Picker(row, np.random.default_rng([seed, 0]))
    optimizer = optim.Adam(model.parameters(), lr=row.lr)
    for step in range(row.steps):
        numbers, kinds, largest = items(int(rng.integers(2, 17)), 128, rng)
        scores, values = model(numbers, kinds)
        loss = mg.cross_entropy(model.answer(mg.softmax(scores), values), largest)
        optimizer.lr = optim.cosine_schedule(step, lr=row.lr, warmup=0, steps=row.steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with mg.no_grad():
        return examine(model, row, rng)


def examine(model: Picker, row: Pick, rng: np.random.Generator) -> dict[str, dict[str, list[float]]]:
    """Every rule on the same sets of items."""
    rules = [SCALABLE, SCALABLE_HARD] if row.scalable else [PLAIN, POLYNOMIAL, MATCHED, HARD]
    found: dict[str, dict[str, list[float]]] = {rule: {} for rule in rules}
    numbers, kinds, _ = items(16, 512, rng)
    typical = float(np.median(entropy(model(numbers, kinds)[0].data)))
    for n in LENGTHS:
        right: dict[str, list[bool]] = {rule: [] for rule in rules}
        top: dict[str, list[float]] = {rule: [] for rule in rules}
        for _ in range(row.test_sets // 16):  # 16 at a time: more of 4,096 items would not fit the cache
            numbers, kinds, largest = items(n, 16, rng)
            scores, values = model(numbers, kinds)
            for rule in rules:
                weights = weigh(rule, scores.data, typical)
                right[rule].extend(model.answer(weights, values).data.argmax(-1) == largest)
                top[rule].extend(weights.data.max(-1))
        for rule in rules:
            found[rule][str(n)] = [float(100 * np.mean(right[rule])), float(f"{np.median(top[rule]):.3g}")]
    return found


def compare(args: Any) -> dict[str, list[dict[str, list[float]]]]:
    """{rule: what `examine` found, for every seed}."""
    steps, sets = args.steps or (700 if args.quick else 4000), 128 if args.quick else 512
    rows = {"softmax": Pick(False, steps, sets), "scalable": Pick(True, steps, sets)}
    models = story.compare(pick_largest, rows, args, "longer inputs")
    return {rule: [run[rule] for run in runs] for runs in models.values() for rule in runs[0]}


def dispersion() -> dict[str, list[float]]:
    """Panel 4. {scaling: the leader's weight among each number of items}."""
    found: dict[str, list[float]] = {"no scaling": [], "s·gap = 0.5": [], "s·gap = 1": [], "s·gap = 1.5": []}
    for n in MANY:
        for name, gap in zip(found, (GAP, *(power * math.log(n) for power in (0.5, 1, 1.5))), strict=True):
            found[name].append(float(mg.softmax(gap * np.eye(1, n)).data.max()))
    return found


def report(results: dict[str, Any]) -> None:
    seeds = f"median (range) of {len(results['learned'])} seeds"
    for i, what, form in ((0, "Accuracy, %", "{:.1f}"), (1, "Median of the largest weight", "{:.2f}")):
        lines = []
        for rule, runs in results["lengths"].items():
            lines.append([rule, *(story.spread([run[str(n)][i] for run in runs], form) for n in LENGTHS)])
        story.table(f"3. {what}: {seeds}", ["", *(f"n = {n}" for n in LENGTHS)], lines)


@pictures.picture(1, 2, size=(11.5, 4.4), dark=True)
def draw(results: dict[str, Any], lengths: Any, leader: Any) -> None:
    ends = {}
    for rule, color in COLORS.items():
        curves = [[run[str(n)][0] for n in LENGTHS] for run in results["lengths"][rule]]
        line = ":" if "hardmax" in rule else "-"
        color = pictures.band(lengths, LENGTHS, curves, color, linestyle=line)
        ends[rule] = (float(np.median(curves, 0)[-1]), color)
    ends["guessing"] = pictures.level(lengths, 100 / N_KINDS, "--")
    lengths.set(xlabel="n", ylabel="accuracy, %", xscale="log", xlim=(LENGTHS[0], LENGTHS[-1]), ylim=(0, 102))
    lengths.set_title("The largest of n: trained on 2 to 16, it fades beyond")
    lengths.set_xticks(LENGTHS, [str(n) for n in LENGTHS])
    lengths.minorticks_off()
    pictures.labels(lengths, ends)
    ends = {}
    for i, (name, weights) in enumerate(results["dispersion"].items()):
        color = leader.plot(MANY, weights, "o-", color=f"C{i}", markersize=4)[0].get_color()
        ends[name] = (weights[-1], color)
    leader.set(xlabel="n", ylabel=f"weight of one score that leads by {GAP:g}", xscale="log", yscale="log")
    leader.set(xlim=(MANY[0], MANY[-1]), title="Only s·gap of at least 1 keeps the leader in sight")
    pictures.labels(leader, ends)
