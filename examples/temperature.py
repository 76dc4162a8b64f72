"""Temperature: what τ in softmax(scores / τ) does to gradients, to learning, and to attention over long inputs.

You will see four panels:

  1  The gradient that reaches the scores, (diag y − y yᵀ) u / τ with a random unit vector u, for 16 standard normal
     scores at every τ; and the one that reaches q from 16 scores q·k of d normal features, with 1/√d and without it,
     which is much as τ = 1/√d.
  2  A learned temperature. A classifier's logits z are twice too sure, as its labels are drawn from softmax(z / 2);
     Adam on ln τ finds that from far too cold and far too hot (temperature scaling, Guo et al. 2017).
  3  Longer inputs. Trained to name the kind of the largest of 2 to 16 numbers, then asked about up to 4,096:

         numbers  0.31 0.87 0.55      kinds  c a f      answer  a

     as trained; adaptive, softmax(β scores), where β >= 1 is the published polynomial of the entropy (Veličković et al.
     2024), or entropy-matched: by bisection, the β that lowers each row's entropy to the typical one of 16 items; and
     scalable softmax, trained so, of scores · s ln n with s learned (Nakanishi 2025). Controls: hardmax at test time,
     right as often as the scores rank the right number first, and guessing one of the 8 kinds.
  4  Dispersion. One score leads n − 1 equal ones by a gap. Its weight is 1/(1 + (n − 1) e^−gap), about 1/n; or, where
     scores are scaled by s ln n, 1/(1 + (n − 1) n^(−s·gap)).

Takes about 2 minutes on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import minigrad as mg
import story
from minigrad import nn, optim

TAUS, DIMENSIONS, LENGTHS = np.logspace(-3, 3, 61), [4, 16, 64, 256, 1024], [16, 64, 256, 1024, 4096]
ROWS, TRUE_TAU, STARTS, N_KINDS, GAP = 500, 2.0, [0.02, 0.3, 10.0, 100.0], 8, 4.0
MANY = [int(n) for n in np.logspace(1, 6, 11).round()]
PUBLISHED = [-0.037, 0.481, -2.3, 4.917, -1.791]  # of the entropy in nats, highest power first; used above 0.5 nats
PLAIN, POLYNOMIAL, MATCHED, HARD = "softmax", "adaptive, polynomial", "adaptive, entropy-matched", "hardmax at test"
SCALABLE, SCALABLE_HARD = "scalable softmax", "scalable, hardmax at test"
COLORS = {PLAIN: "#1f6fb4", POLYNOMIAL: "#c98a1b", MATCHED: "#2e9d8f", HARD: "#c0392b", SCALABLE: "#8f63b8",
          SCALABLE_HARD: "#6b7683"}  # fmt: skip


def gradients() -> dict[str, Any]:
    """Panel 1. The size of the gradient by temperature, and by d with and without 1/√d."""
    rng = np.random.default_rng(0)
    scores, u = rng.standard_normal((2, ROWS, 16))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    found: dict[str, Any] = {"by τ": [], "without": [], "with": []}
    for tau in TAUS:
        x = mg.Tensor(scores, requires_grad=True)
        mg.softmax(x / tau).backward(u)
        found["by τ"].append(sizes(x.grad))
    for d in DIMENSIONS:
        query, keys = rng.standard_normal((ROWS, 1, d)), rng.standard_normal((ROWS, 16, d))
        for name, scale in (("without", 1.0), ("with", math.sqrt(d))):
            q = mg.Tensor(query, requires_grad=True)
            mg.softmax(q @ keys.mT / scale).backward(u[:, None])
            found[name].append(sizes(q.grad[:, 0]))
    return found


def sizes(gradients: np.ndarray) -> dict[str, float]:
    """Of the rows' gradients: median and mean, and the range of nine rows in ten."""
    norms = np.linalg.norm(gradients, axis=1)
    low, median, high = np.quantile(norms, [0.05, 0.5, 0.95])
    figures = {"median": median, "mean": norms.mean(), "low": low, "high": high}
    return {name: float(f"{figure:.3g}") for name, figure in figures.items()}


def solve(falling: Callable[[np.ndarray], np.ndarray], targets: np.ndarray) -> np.ndarray:
    """For each target, the β at which a function that falls with β comes down to it: bisection of ln β."""
    low, high = np.full(targets.shape, -7.0), np.full(targets.shape, 12.0)
    for _ in range(40):
        middle = (low + high) / 2
        above = falling(np.exp(middle)) > targets
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.exp((low + high) / 2)


def learn_temperature(steps: int, seed: int) -> dict[str, Any]:
    """Panel 2. All starts side by side; and the likeliest temperature, which they should find."""
    rng = np.random.default_rng([seed, 1])
    z = rng.normal(0, 3, (2000, 10))
    labels = (z / TRUE_TAU + rng.gumbel(size=z.shape)).argmax(-1)  # Gumbel-max: draws from softmax(z / τ)
    log_tau = nn.Parameter(np.log(STARTS)[:, None, None])
    optimizer = optim.Adam([log_tau], lr=0.05, betas=(0.9, 0.95))  # 0.999 would long remember the cold start's gradient
    curve, first = [], np.empty(0)
    for step in range(steps):
        logits = z * mg.exp(-log_tau)  # (starts, 2000, 10)
        loss = len(STARTS) * mg.cross_entropy(logits, np.tile(labels, (len(STARTS), 1)))  # the sum of each start's mean
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            first = np.abs(log_tau.grad.ravel())
        if step % 5 == 0:
            curve.append(np.exp(log_tau.data.ravel()).round(4).tolist())
        optimizer.step()
    # The likelihood is greatest where the logit that softmax(β z) expects is, on average, the logit of the label.
    of_labels = z[np.arange(len(z)), labels].mean()
    beta = solve(lambda beta: -(mg.softmax(beta * z).data * z).sum(-1).mean(), -of_labels)
    final = np.exp(log_tau.data.ravel())
    return {"curve": curve, "likeliest": float(1 / beta), "final": final.tolist(), "first": first.tolist()}


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


def dispersion() -> dict[str, list[float]]:
    """Panel 4. {scaling: the leader's weight among each number of items}."""
    found: dict[str, list[float]] = {"no scaling": [], "s·gap = 0.5": [], "s·gap = 1": [], "s·gap = 1.5": []}
    for n in MANY:
        for name, gap in zip(found, (GAP, *(power * math.log(n) for power in (0.5, 1, 1.5))), strict=True):
            found[name].append(float(mg.softmax(gap * np.eye(1, n)).data.max()))
    return found


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, steps="training steps"), argv)
    steps, sets = args.steps or (700 if args.quick else 4000), 128 if args.quick else 512
    rows = {"softmax": Pick(False, steps, sets), "scalable": Pick(True, steps, sets)}
    results: dict[str, Any] = {"gradients": gradients(), "dispersion": dispersion()}
    results["learned"] = story.compare(learn_temperature, {"": args.steps or 400}, args, "learned temperature")[""]
    models = story.compare(pick_largest, rows, args, "longer inputs")
    results["lengths"] = {rule: [run[rule] for run in runs] for runs in models.values() for rule in runs[0]}
    report(results)
    draw(results, args.out / "temperature.png")
    return story.finish(args, results, in_words(results))


def report(results: dict[str, Any]) -> None:
    g, seeds = results["gradients"], f"median (range) of {len(results['learned'])} seeds"
    found = [(f"at the scores, τ = {TAUS[i]:g}", g["by τ"][i]) for i in range(10, 60, 10)]
    found += [(f"at q, {how} 1/√d, d = {DIMENSIONS[i]}", g[how][i]) for how in ("without", "with") for i in (0, 2, 4)]
    lines = [[name, f"{size['median']:.1e}", f"{size['mean']:.1e}"] for name, size in found]
    story.table(f"1. Size of the gradient, {ROWS} rows", ["", "median", "mean"], lines)
    lines = []
    for i, start in enumerate(STARTS):
        first, final = ([run[key][i] for run in results["learned"]] for key in ("first", "final"))
        lines.append([f"{start:g}", story.spread(first, "{:.3g}"), story.spread(final, "{:.3g}")])
    lines.append(["(computed) likeliest", "", story.spread_of(results["learned"], "likeliest", "{:.3g}")])
    story.table(f"2. Learned τ, truth {TRUE_TAU:g}: {seeds}", ["from τ =", "first |gradient|", "to τ ="], lines)
    for i, what, form in ((0, "Accuracy, %", "{:.1f}"), (1, "Median of the largest weight", "{:.2f}")):
        lines = []
        for rule, runs in results["lengths"].items():
            lines.append([rule, *(story.spread([run[str(n)][i] for run in runs], form) for n in LENGTHS)])
        story.table(f"3. {what}: {seeds}", ["", *(f"n = {n}" for n in LENGTHS)], lines)


def in_words(results: dict[str, Any]) -> list[str]:
    """What was seen, from the numbers."""
    g, learned, last = results["gradients"], results["learned"], LENGTHS[-1]
    best = max(range(len(TAUS)), key=lambda i: g["by τ"][i]["median"])
    cold, peak, hot = (g["by τ"][i] for i in (10, best, 50))
    vanishes = max(cold["median"], hot["median"]) < 0.1 * peak["median"]
    rare = cold["mean"] > 100 * cold["median"]
    without, scaled = g["without"][-1], g["with"][-1]
    far = max(abs(tau / run["likeliest"] - 1) for run in learned for tau in run["final"])
    first, last_start = (statistics.median(run["first"][i] for run in learned) for i in (0, -1))

    def at(rule: str, n: int, figure: int) -> float:
        return statistics.median(run[str(n)][figure] for run in results["lengths"][rule])

    right, top = (partial(at, figure=figure) for figure in (0, 1))
    bound = -3 < right(MATCHED, last) - right(HARD, last) <= 0.5
    return [
        f"The median gradient at the scores {'vanishes' if vanishes else 'DOES NOT VANISH'} at both ends: "
        f"{cold['median']:.0e} at τ = 0.01, {peak['median']:.2f} at {TAUS[best]:.1g}, {hot['median']:.0e} at 100. "
        f"Trained on 2 to 16 items, of 256 softmax knows the largest in {right(PLAIN, 256):.0f} %, adaptive (published "
        f"polynomial) {right(POLYNOMIAL, 256):.0f} %, entropy-matched {right(MATCHED, 256):.0f} %, scalable "
        f"{right(SCALABLE, 256):.0f} %.",
        f"The mean gradient at τ = 0.01 is {cold['mean']:.2f}{': cold, it is rare more than small' if rare else ''}. "
        f"At q, d = {DIMENSIONS[-1]}, without 1/√d: median {without['median']:.0e}, mean {without['mean']:.2f}; "
        f"with it {scaled['median']:.2f} and {scaled['mean']:.2f}.",
        f"From τ = {STARTS[0]:g} to {STARTS[-1]:g} {'all' if far < 0.01 else 'NOT ALL'} starts find the likeliest τ, "
        f"off by up to {100 * far:.2g} %: {story.spread_of(learned, 'likeliest', '{:.2f}')}, the truth {TRUE_TAU:g}. "
        f"The first gradient of the loss is {first:.2g} at the coldest start, {last_start:.2g} at the hottest"
        + (": cross-entropy's is large where softmax is sure and wrong." if first > last_start else "."),
        f"From 16 to {last} items softmax's largest weight goes from {top(PLAIN, 16):.2f} to {top(PLAIN, last):.2f}, "
        f"entropy-matched from {top(MATCHED, 16):.2f} to {top(MATCHED, last):.2f}; of {last} they are right in "
        f"{right(PLAIN, last):.0f} and {right(MATCHED, last):.0f} %, hardmax in {right(HARD, last):.0f} %"
        + (": a sharper weight is as good as the ranking of the scores, no better." if bound else "."),
        f"A leader's weight among {MANY[0]} and among {MANY[-1]:,}: "
        + "; ".join(f"{name}: {row[0]:.2f} and {row[-1]:.2g}" for name, row in results["dispersion"].items()) + ".",
    ]  # fmt: skip


def draw(results: dict[str, Any], path: Any) -> None:
    plt = story.pyplot()
    if plt is None:
        return
    figure, ((size, learned), (lengths, one)) = plt.subplots(2, 2, figsize=(13, 9.5))
    g, colors = results["gradients"], ["#1f6fb4", "#c0392b", "#c98a1b", "#2e9d8f"]
    by_tau = {name: [row[name] for row in g["by τ"]] for name in g["by τ"][0]}
    size.fill_between(TAUS, by_tau["low"], by_tau["high"], color="#1f6fb4", alpha=0.15, linewidth=0)
    size.plot(TAUS, by_tau["median"], color="#1f6fb4", label="median, and nine rows in ten")
    size.plot(TAUS, by_tau["mean"], "--", color="#6b7683", label="mean")
    for name, at, color in (("without", 1 / np.sqrt(DIMENSIONS), "#c0392b"), ("with", np.ones(5), "#2e9d8f")):
        size.plot(at, [row["median"] for row in g[name]], "o", color=color, label=f"at q, {name} 1/√d: median")
    for d, row in list(zip(DIMENSIONS, g["without"], strict=True))[2:]:  # the others lie too close together
        style = {"textcoords": "offset points", "ha": "right", "fontsize": 9, "color": "#c0392b"}
        size.annotate(f"d = {d}", (1 / math.sqrt(d), row["median"]), (-8, -3), **style)
    size.set(title="1  Size of the gradient", xlabel="temperature τ", xscale="log", yscale="log", ylim=(1e-7, 50))
    runs = np.array([run["curve"] for run in results["learned"]])  # (seeds, points, starts)
    for i, color in enumerate(colors):
        story.band(learned, 5 * np.arange(runs.shape[1]), runs[:, :, i], color, f"from τ = {STARTS[i]:g}")
    learned.axhline(TRUE_TAU, color="#3b4652", linestyle=":", label="truth")
    learned.set(title="2  A learned temperature", xlabel="step of Adam", ylabel="τ", yscale="log")
    for rule, color in COLORS.items():
        found = [[run[str(n)][0] for n in LENGTHS] for run in results["lengths"][rule]]
        if "hardmax" in rule:
            lengths.plot(LENGTHS, np.median(found, 0), ":", color=color, label=rule)
        else:
            story.band(lengths, LENGTHS, found, color, rule)
    lengths.axhline(100 / N_KINDS, color="#3b4652", linestyle="--", linewidth=1)
    lengths.annotate("guessing", (16, 100 / N_KINDS), (0, 4), textcoords="offset points", fontsize=9, color="#3b4652")
    lengths.set(title="3  The largest of n: trained on 2 to 16", xlabel="n", ylabel="accuracy, %", xscale="log")
    lengths.set(xticks=LENGTHS, xticklabels=LENGTHS, ylim=(0, 102))
    lengths.minorticks_off()
    for (name, row), color in zip(results["dispersion"].items(), colors, strict=True):
        one.plot(MANY, row, "o-", color=color, label=name, markersize=4)
    one.set(title=f"4  Weight of one score that leads by {GAP:g}", xlabel="n", xscale="log", yscale="log")
    for axis in (size, learned, one):
        axis.legend(fontsize=9, loc="lower left" if axis is one else "upper right")
    lengths.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0, 0.18))
    story.save_picture(figure, path)
    plt.close(figure)


if __name__ == "__main__":
    main()
