"""Estimators under a microscope: bias and variance of REINFORCE, straight-through and Gumbel-softmax.

You will see what soft_vs_hard trains with, on one choice small enough to know the truth. Scores choose one of N values
with probability p = softmax(scores); an output layer turns the value into logits, and cross-entropy gives the loss ℓ:

    scores  0.1 -0.5 1.3      p  0.21 0.11 0.68      ℓ  0.4 5.1 2.2      expected loss  p·ℓ = 2.2

The gradient g of the expected loss is an exact sum over the N choices; an estimate ĝ knows one draw. All gradients come
from minigrad's backward. Of each estimator you will see

    bias       ‖E ĝ − g‖ / ‖g‖         the error that no averaging over draws removes
    deviation  √E‖ĝ − E ĝ‖² / ‖g‖      how far one draw is from the mean of all
    cosine     of E ĝ and g            is the bias one of direction, or of length?
    one draw   mean cosine of ĝ and g

For REINFORCE (whose baseline, p·ℓ, comes from an oracle) and straight-through, all draws are enumerated, so E is exact.
Gumbel-softmax is sampled. Chance puts the mean of M draws off by noise = deviation/√M, so bias² is taken as
‖mean − g‖²/‖g‖² − noise², and a bias below the noise may as well be 0. There are three controls: a loss linear in the
weights, on which straight-through should be exact; soft attention, whose gradient is that of another loss, the loss of
the mean value; and the limit of Gumbel straight-through as τ → 0, which takes the difference of two choices' losses by
the trapezoid rule, from the slopes at both. ReinMax (Liu et al. 2023) has that very mean at τ = 1 and from one draw
D: with π = (D + p)/2, its weights move as 2 softmax at π − ½ softmax at p. Each seed is another problem.
After Williams 1992, Bengio et al. 2013, Jang et al. and Maddison et al. 2017.

Takes about 1.5 minutes on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
import pictures

SIZES, TABLES, TAUS = [4, 8, 16, 32, 64, 128], [8, 32], [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
PLAIN, BASELINE, DRAWN = "REINFORCE, no baseline", "REINFORCE, baseline p·ℓ", "straight-through, drawn choice"
ARGMAX, HARD, RELAXED = "straight-through, argmax", "Gumbel straight-through", "Gumbel relaxed"
REINMAX = "ReinMax"
LINEAR, SOFT, LIMIT = "control: linear loss", "control: soft attention", "control: trapezoid rule"


@dataclass(frozen=True)
class Choice:
    n: int
    samples: int  # of each Gumbel row
    d: int = 16
    n_classes: int = 8
    spread: float = 3.0  # standard deviation of the logits: an output layer that has learned to be sure


def measure(choice: Choice, seed: int) -> dict[str, dict[str, float]]:
    """One problem: every estimator against the exact gradient."""
    rng, noise, n = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1]), choice.n
    scores, values = rng.standard_normal(n), rng.standard_normal((n, choice.d))
    out = rng.normal(0, choice.spread / choice.d**0.5, (choice.d, choice.n_classes))

    def loss(weights: mg.Tensor) -> mg.Tensor:
        logits = weights @ values @ out  # (rows, n) -> (rows, n_classes)
        return mg.cross_entropy(logits, np.zeros(len(weights), int), reduction="none")

    def gradients(f: Callable[[mg.Tensor], mg.Tensor], rows: int = 1, at: Any = scores) -> np.ndarray:
        """(rows, n): each row has scores of its own, so that its gradient is one estimate."""
        leaf = mg.Tensor(np.broadcast_to(at, (rows, n)), requires_grad=True)
        f(leaf).sum().backward()
        return leaf.grad

    def gumbel(hard: bool, tau: float) -> Iterable[np.ndarray]:
        for start in range(0, choice.samples, 2**17 // n):  # in parts that stay in cache
            rows = min(2**17 // n, choice.samples - start)
            yield gradients(lambda x: loss(mg.gumbel_softmax(x, rng=noise, tau=tau, hard=hard)), rows)

    p, one_hot, every = mg.softmax(scores).data, np.eye(n), np.arange(n)
    each = loss(mg.Tensor(one_hot)).data  # ℓ
    exact = gradients(lambda x: (mg.softmax(x) * each).sum(axis=-1))[0]
    slopes = gradients(loss, n, at=one_hot)
    slopes = slopes - np.diagonal(slopes)[:, None]  # [i, j]: at choice i, on the way to choice j

    def reinforce(x: mg.Tensor, baseline: float) -> mg.Tensor:
        log_p = mg.log_softmax(x)[every, every]  # row i has drawn i
        return n * mg.reinforce(log_p, -each, -baseline)  # times n: mg.reinforce takes the mean over rows

    halfway = np.log((one_hot + p) / 2) - scores  # softmax of scores plus this is π

    def reinmax(x: mg.Tensor) -> mg.Tensor:
        moves = 2 * mg.softmax(x + halfway) - mg.softmax(x) / 2
        return loss(moves + (one_hot - moves.data))  # one-hot forward

    found = {  # where there is a row for each choice, row i is the estimate that drawing i gives
        PLAIN: gradients(lambda x: reinforce(x, 0.0), n),
        BASELINE: gradients(lambda x: reinforce(x, p @ each), n),
        DRAWN: gradients(lambda x: loss(mg.softmax(x) + (one_hot - p)), n),  # one-hot forward, softmax backward
        REINMAX: gradients(reinmax, n),
        ARGMAX: gradients(lambda x: loss(mg.straight_through(x))),
        LINEAR: gradients(lambda x: (mg.straight_through(x) * each).sum(axis=-1)),
        SOFT: gradients(lambda x: loss(mg.softmax(x))),
        LIMIT: (p * (p @ (slopes - slopes.T) / 2))[None],
    }
    judged = {name: judge(exact, [rows], p if len(rows) > 1 else np.ones(1)) for name, rows in found.items()}
    for tau in TAUS if n in TABLES else [1.0]:
        for name, hard in ((HARD, True), (RELAXED, False)):
            judged[f"{name}, τ = {tau:g}"] = judge(exact, gumbel(hard, tau))
    return judged


def judge(exact: np.ndarray, parts: Iterable[np.ndarray], p: np.ndarray | None = None) -> dict[str, float]:
    """Compare estimates with the exact gradient: all there are, with their probabilities p, or a sample in parts."""
    size, total = np.linalg.norm(exact), 0.0
    error, square, cosine = np.zeros(len(exact)), 0.0, 0.0  # sums over the estimates, in the end means
    for estimates in parts:
        shares = np.ones(len(estimates)) if p is None else p
        errors = (estimates - exact) / size
        norms = np.maximum(np.linalg.norm(estimates, axis=1), 1e-150)  # an estimate of 0 has no direction
        error = error + shares @ errors
        square += shares @ (errors**2).sum(axis=1)
        cosine += shares @ (estimates @ exact / norms) / size
        total += shares.sum()
    error, square, cosine = error / total, square / total, cosine / total
    mean = exact + error * size
    deviation = max(0.0, square - (error**2).sum()) ** 0.5
    noise = deviation / total**0.5 if p is None else 0.0
    bias = max(0.0, (error**2).sum() - noise**2) ** 0.5
    found = {"bias": bias, "noise": noise, "deviation": deviation,
               "cosine": mean @ exact / np.linalg.norm(mean) / size, "one draw": cosine}  # fmt: skip
    return {name: float(f"{figure:.3g}") for name, figure in found.items()}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, seeds=10, steps="draws of each Gumbel row"), argv, quick_seeds=4)
    samples = args.steps or (20_000 if args.quick else 200_000)
    rows = {str(n): Choice(n, samples) for n in SIZES}
    results = {"samples": samples, "problems": story.compare(measure, rows, args, "problems")}
    return story.finish("estimator_bias", args, results, in_words, report, draw)


def figures(results: dict[str, Any], n: int, name: str, key: str) -> list[float]:
    """One figure of one estimator for every problem; rounding errors, below 1e-12, count as 0."""
    found = [run[name][key] for run in results["problems"][str(n)]]
    return found if max(map(abs, found)) > 1e-12 else [0.0] * len(found)


def in_words(results: dict[str, Any]) -> list[str]:
    def of_each(key: str) -> str:
        rows = {"REINFORCE": BASELINE, "straight-through": ARGMAX, "Gumbel": f"{HARD}, τ = 1"}
        return ", ".join(
            f"{name} {statistics.median(figures(results, 32, row, key)):.2g}" for name, row in rows.items()
        )

    return [
        f"Bias among 32 choices: {of_each('bias')}.",
        f"Deviation of one draw: {of_each('deviation')}. Both in units of the gradient's size. "
        f"REINFORCE has its baseline, Gumbel is straight-through at τ = 1.",
    ]


def report(results: dict[str, Any]) -> None:
    gumbel = [f"{name}, τ = {tau:g}" for name in (HARD, RELAXED) for tau in (0.1, 1, 5)]
    keys = ["bias", "noise", "deviation", "cosine", "one draw"]
    for n in TABLES:
        lines = []
        for name in (PLAIN, BASELINE, ARGMAX, DRAWN, REINMAX, *gumbel, LINEAR, SOFT, LIMIT):
            columns = [figures(results, n, name, key) for key in keys]
            lines.append([name, *(story.spread(column, "{:.2f}") if any(column) else "0" for column in columns)])
        problems, samples = len(results["problems"][str(n)]), results["samples"]
        title = f"N = {n}: median (range) of {problems} problems; Gumbel from {samples:,} draws; 0: below 1e-12"
        story.table(title, ["estimate", *keys], lines)


@pictures.picture(1, 2, size=(11, 4.6), dark=True, width_ratios=[1.15, 1])
def draw(results: dict[str, Any], bars: Any, by_tau: Any) -> None:
    rows = [PLAIN, BASELINE, REINMAX, *(f"{name}, τ = {tau:g}" for name in (HARD, RELAXED) for tau in (0.1, 1)), DRAWN]
    rows += [ARGMAX, SOFT]
    for at, name in enumerate(reversed(rows)):
        for i, key in enumerate(("deviation", "bias")):
            each = figures(results, 32, name, key)
            y = at - 0.2 + 0.4 * i
            label = key if at == 0 else None
            bars.barh(y, statistics.median(each), 0.38, color=("C5", "C1")[i], label=label)
            bars.plot([min(each), max(each)], [y, y], color="C6", linewidth=1.2)
            if not any(each):
                bars.annotate("0", (0, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8)
    bars.set_yticks(range(len(rows)), reversed(rows))
    bars.set(xlabel="in units of the gradient's size: median and range", xscale="symlog")
    bars.set_xticks([0, 1, 2, 5, 10, 20], ["0", "1", "2", "5", "10", "20"])
    bars.set_title("Among 32: no bias, or little deviation")
    bars.grid(axis="y", visible=False)
    bars.legend(loc="lower right")
    ends: dict[str, tuple[float, str]] = {}
    for name, color in ((HARD, "C2"), (RELAXED, "C0")):
        for key, dashes in (("bias", "-"), ("deviation", "--"), ("noise", ":")):
            curve = [statistics.median(figures(results, 32, f"{name}, τ = {tau:g}", key)) for tau in TAUS]
            drawn = by_tau.plot(TAUS, curve, dashes, color=color, linewidth=1 + (key == "bias"))[0]
            ends[f"{'hard' if name == HARD else 'relaxed'}: {key}"] = (curve[-1], drawn.get_color())
    by_tau.set(xlabel="τ", xscale="log", yscale="log", xlim=(TAUS[0], TAUS[-1]))
    ends["trapezoid rule: bias"] = pictures.level(by_tau, statistics.median(figures(results, 32, LIMIT, "bias")), "-.")
    by_tau.set_title("A small τ: less bias, more deviation")
    pictures.labels(by_tau, ends)


if __name__ == "__main__":
    story.tell(main)
