"""Is it amplification? Softmax sees differences, simple normalization sees ratios; and which of it training needs.

"Softmax amplifies differences" is half true. You will see the same two rules sharpen and flatten:

    scores 4 2 1         softmax 0.84 0.11 0.04    simple normalization 0.57 0.29 0.14
    scores 0.4 0.2 0.1   softmax 0.39 0.32 0.29    simple normalization 0.57 0.29 0.14

Then, trained on retrieval (see soft_vs_hard.py), simple normalization made positive, with no exponential in it; sigmoid
weights that need not sum to 1 (Ramapuram et al. 2024); and a task that needs several items, where weights that choose
one fall short (see amplification_tasks.py). Is attention interpretable? Give a trained memory network its own weights
in another order, and see whether its answers change (Jain & Wallace 2019). Does choosing one work well computationally?
Time a read of one value against a mean of all. The end is what softmax still has, each property computed.

Every row has its own best learning rate (learning_rates.py). Takes about 4 minutes on two cores; --quick less than 20
seconds.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import amplification_tasks as tasks
import learning_rates
import minigrad as mg
import pictures

SCORES, STRETCH, LENGTHS = np.array([4.0, 2.0, 1.0]), np.logspace(-2, 1, 121), [64, 256, 1024, 4096, 16384]
CASES = {"c = 1": SCORES, "c = 0.1": SCORES / 10, "plus 10": SCORES + 10}
RULES: dict[str, Callable[..., mg.Tensor]] = {
    "softmax": mg.softmax,
    "simple normalization": mg.sum_normalize,
    "x² + 0.001": tasks.square,
    "sigmoid, normalized": mg.sigmoid_normalize,
    "sparsemax": mg.sparsemax,
    "hardmax (argmax)": mg.hardmax,
}


def numbers() -> dict[str, Any]:
    """Softmax and simple normalization of the same scores, stretched and moved; and where softmax begins to sharpen."""
    simple = mg.sum_normalize(SCORES).data
    sharpens = STRETCH[np.argmax(mg.softmax(STRETCH[:, None] * SCORES).data[:, 0] > simple[0])]
    found: dict[str, Any] = {"sharpens from": float(sharpens)}
    for name, scores in CASES.items():
        found[name] = {rule: RULES[rule](scores).data.tolist() for rule in ("softmax", "simple normalization")}
    found["sigmoid below 0"] = mg.sigmoid_normalize(SCORES - 10).data.tolist()
    return found


def report_numbers(found: dict[str, Any]) -> None:
    lines = [[f"{name}: {show(scores, 1)}", *map(show, found[name].values())] for name, scores in CASES.items()]
    story.table("The same scores, stretched and moved", ["scores", *found["c = 1"]], lines)
    story.say(
        f"(By softmax the weight of the largest of c · (4, 2, 1) depends on c, by simple normalization never. Softmax "
        f"is the sharper of the two from c = {found['sharpens from']:.2f} on, and the flatter one below. A normalized "
        f"sigmoid of (4, 2, 1) − 10 is {show(found['sigmoid below 0'], 4)}: almost softmax.)"
    )


def show(numbers: Any, digits: int = 2) -> str:
    return " ".join(f"{x:.{digits}f}" for x in np.atleast_1d(numbers))


def timed(repeats: int, d: int = 64) -> dict[str, list[float]]:
    """Milliseconds to read for 16 queries from n keys: scores, then a softmax mean, or the value of the largest."""
    rng, found = np.random.default_rng(0), {"soft": [], "hard": []}
    for n in LENGTHS:
        q, k, v = (rng.standard_normal((rows, d), np.float32) for rows in (16, n, n))
        ways = {
            "soft": lambda q=q, k=k, v=v: mg.softmax(q @ k.T / math.sqrt(d)).data @ v,
            "hard": lambda q=q, k=k, v=v: v[(q @ k.T / math.sqrt(d)).argmax(-1)],
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, way in ways.items():  # in turns, so that both meet the same machine
                start = time.perf_counter()
                way()
                times[name].append(1000 * (time.perf_counter() - start))
        for name, each in times.items():
            found[name].append(float(f"{statistics.median(each):.3g}"))
    return found


def properties(rows: int = 2000) -> dict[str, dict[str, float]]:
    """What each rule has of softmax's properties, over standard normal scores."""
    rng = np.random.default_rng(0)
    x, u = rng.standard_normal((2, rows, 8))
    found = {}
    for name, rule in RULES.items():
        y, moved = rule(x).data, rule(x + 10).data
        order = np.take_along_axis(y, np.argsort(x), -1)
        slopes = []
        for at in (x, x + 10):
            leaf = mg.Tensor(at, requires_grad=True)
            rule(leaf).backward(u)
            slopes.append(float(np.median(np.linalg.norm(leaf.grad, axis=-1))))
        cold, hot = (float(np.median(rule(x / tau).data.max(-1))) for tau in (0.05, 20))
        found[name] = {
            "weights from any scores, %": 100 * float(np.mean((y >= 0).all(-1) & (np.abs(y.sum(-1) - 1) < 1e-6))),
            "larger score, larger weight, %": 100 * float(np.mean((np.diff(order) > 0).all(-1))),
            "all + 10: largest change": float(np.abs(moved - y).max()),
            "largest weight at τ = 0.05": cold,
            "largest weight at τ = 20": hot,
            "gradient": slopes[0],
            "gradient, all + 10": slopes[1],
        }
    return found


def drawn_by_argmax(draws: int = 200_000) -> float:
    """Softmax as probabilities: how far its weights are from how often each score is the largest under Gumbel noise."""
    noise = np.random.default_rng(0).gumbel(size=(draws, len(SCORES)))
    shares = np.bincount((SCORES + noise).argmax(-1), minlength=len(SCORES)) / draws
    return float(np.abs(shares - mg.softmax(SCORES).data).max())


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = learning_rates.add_flag(story.flags(__doc__, steps="training steps"))
    args = story.parse(parser, argv)
    results: dict[str, Any] = {"numbers": numbers(), "milliseconds": timed(5 if args.quick else 31)}
    results |= {"properties": properties(), "error of draws": drawn_by_argmax()}
    results["trained"] = tasks.run(args)
    return story.finish("amplification", args, results, in_words, report, draw)


def in_words(results: dict[str, Any]) -> list[str]:
    rows, few = results["trained"]["retrieval among 8"], results["trained"]["majority of three"]
    simple, square = (story.median(rows[name], "accuracy") for name in ("simple normalization", "x² + 0.001"))
    soft, hard = (story.median(few[name], "accuracy") for name in ("softmax", "straight-through"))
    ratio = results["numbers"]["c = 1"]["simple normalization"][0]
    largest = [results["numbers"][c]["softmax"][0] for c in ("c = 1", "c = 0.1")]
    return [
        f"Softmax sharpens 4 2 1 ({largest[0]:.2f} for the 4) and flattens 0.4 0.2 0.1 ({largest[1]:.2f}).",
        f"Dividing by the sum gives {ratio:.2f} both times. Among 8 keys this reaches {simple:.1f} %, and dividing "
        f"x² + 0.001 by its sum {square:.1f} %: it was not for want of an exponential. Softmax answers {soft:.1f} % of "
        f"the majorities of three, a hard choice {hard:.1f} %.",
    ]


def report(results: dict[str, Any]) -> None:
    report_numbers(results["numbers"])
    tasks.report(results["trained"])
    soft, hard = results["milliseconds"].values()
    lines = [[f"{n:,}", f"{a:.3g}", f"{b:.3g}", f"{b / a:.2f}"] for n, a, b in zip(LENGTHS, soft, hard, strict=True)]
    story.table("One read for 16 queries, ms", ["keys", "softmax, mean", "argmax, gather", "ratio"], lines)
    found = results["properties"]
    lines = [[name, *(f"{figure:.3g}" for figure in row.values())] for name, row in found.items()]
    story.table("What softmax has, and what the others have of it", ["", *next(iter(found.values()))], lines)
    story.say(
        f"(Softmax's weights are how often each of {show(SCORES, 0)} plus Gumbel noise is the largest: to within "
        f"{results['error of draws']:.4f} over 200,000 draws.)"
    )


@pictures.picture(1, 2, size=(12, 4.6), dark=True, width_ratios=[1, 1.1])
def draw(results: dict[str, Any], numbers: Any, trained: Any) -> None:
    ends = {}
    for i, (name, rule) in enumerate(list(RULES.items())[:2]):
        curve = rule(STRETCH[:, None] * SCORES).data[:, 0]
        ends[name] = (float(curve[-1]), numbers.plot(STRETCH, curve, color=f"C{i}", linewidth=2)[0].get_color())
    numbers.set(xscale="log", xlabel="c", ylabel="weight of the largest of c · (4, 2, 1)", ylim=(0.3, 1.02))
    numbers.set(xlim=(STRETCH[0], STRETCH[-1]), title="Softmax sharpens large scores and flattens small ones")
    (soft, ratio), flat = ends.items(), {"va": "bottom", "ha": "right", "xytext": (-4, 4)}
    pictures.label(numbers, STRETCH[-1], 0.92, soft[0], soft[1][1], **flat)
    pictures.label(numbers, STRETCH[-1], ratio[1][0], ratio[0], ratio[1][1], **flat)
    groups = {name: rows for name, rows in results["trained"].items() if name.startswith("retrieval")}
    rows = list(tasks.NORMALIZED)
    for i, (group, found) in enumerate(groups.items()):
        for at, name in enumerate(reversed(rows)):
            figures = [run["accuracy"] for run in found[name]]
            y, color = at + 0.18 - 0.36 * i, f"C{(0, 2)[i]}"
            trained.plot([min(figures), max(figures)], [y, y], color=color, linewidth=2)
            trained.plot(statistics.median(figures), y, "o", color=color, label=group if at == 0 else None)
    trained.set_yticks(range(len(rows)), reversed(rows))
    trained.set(
        xlabel="accuracy, %: median and range", xlim=(0, 103), title="Positive weights train, exponential or not"
    )
    trained.legend(loc="center left")


if __name__ == "__main__":
    story.tell(main)
