"""Temperature: what τ in softmax(scores / τ) does to gradients, to learning, and to attention over long inputs.

    scores  2 1 0      τ = 0.2  0.99 0.01 0.00      τ = 1  0.67 0.24 0.09      τ = 5  0.40 0.33 0.27

You will see two pictures of two panels:

  1  The gradient that reaches the scores, (diag y − y yᵀ) u / τ with a random unit vector u, for 16 standard normal
     scores at every τ. Beside it, the gradient that reaches q through 16 scores q·k of d normal features, with 1/√d and
     without it: leaving it out is much like τ = 1/√d.
  2  A learned temperature. A classifier's logits z are twice too sure, for its labels are drawn from softmax(z / 2).
     Adam on ln τ finds that from far too cold and far too hot (temperature scaling, Guo et al. 2017).
  3  Longer inputs than those in training, and four ways to keep attention sharp: see temperature_long_inputs.py.
  4  Dispersion. One score leads n − 1 equal ones by a gap: what is left of its weight as n grows? See there, too.

Takes about 2 minutes on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
import pictures
import temperature_long_inputs as long_inputs
from minigrad import nn, optim

TAUS, DIMENSIONS, ROWS = np.logspace(-3, 3, 61), [4, 16, 64, 256, 1024], 500
TRUE_TAU, STARTS = 2.0, [0.02, 0.3, 10.0, 100.0]


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


def learn_temperature(steps: int, seed: int) -> dict[str, Any]:
    """Panel 2. Learn τ from all starts side by side, and compute the likeliest τ, which they should find."""
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
    beta = long_inputs.solve(lambda beta: -(mg.softmax(beta * z).data * z).sum(-1).mean(), -of_labels)
    final = np.exp(log_tau.data.ravel())
    return {"curve": curve, "likeliest": float(1 / beta), "final": final.tolist(), "first": first.tolist()}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, steps="training steps"), argv)
    results: dict[str, Any] = {"gradients": gradients(), "dispersion": long_inputs.dispersion()}
    results["learned"] = story.compare(learn_temperature, {"": args.steps or 400}, args, "learned temperature")[""]
    results["lengths"] = long_inputs.compare(args)
    return story.finish("temperature", args, results, in_words, report, draw)


def in_words(results: dict[str, Any]) -> list[str]:
    cold, warm, hot = (results["gradients"]["by τ"][i]["median"] for i in (10, 30, 50))
    plain, scalable = (
        statistics.median(run["256"][0] for run in results["lengths"][rule])
        for rule in (long_inputs.PLAIN, long_inputs.SCALABLE)
    )
    return [
        f"Trained on 2 to 16 items: of 256, softmax names the largest in {plain:.0f} %.",
        f"Scalable softmax names it in {scalable:.0f} %. The median gradient at the scores is {cold:.0e} at τ = 0.01, "
        f"{warm:.2f} at 1 and {hot:.0e} at 100.",
    ]


def report(results: dict[str, Any]) -> None:
    g, seeds = results["gradients"], f"median (range) of {len(results['learned'])} seeds"
    found = {f"at the scores, τ = {TAUS[i]:g}": g["by τ"][i] for i in range(10, 60, 10)}
    found |= {f"at q, {how} 1/√d, d = {DIMENSIONS[i]}": g[how][i] for how in ("without", "with") for i in (0, 2, 4)}
    lines = [[name, f"{size['median']:.1e}", f"{size['mean']:.1e}"] for name, size in found.items()]
    story.table(f"1. Size of the gradient, {ROWS} rows", ["", "median", "mean"], lines)
    lines = []
    for i, start in enumerate(STARTS):
        first, final = ([run[key][i] for run in results["learned"]] for key in ("first", "final"))
        lines.append([f"{start:g}", story.spread(first, "{:.3g}"), story.spread(final, "{:.3g}")])
    lines.append(["(computed) likeliest", "", story.spread_of(results["learned"], "likeliest", "{:.3g}")])
    story.table(f"2. Learned τ, truth {TRUE_TAU:g}: {seeds}", ["from τ =", "first |gradient|", "to τ ="], lines)
    long_inputs.report(results)


def draw(results: dict[str, Any], path: Path) -> None:
    draw_gradients(results, path)
    long_inputs.draw(results, path.with_stem(f"{path.stem}_long_inputs"))


@pictures.picture(1, 2, size=(11.5, 4.4), dark=True)
def draw_gradients(results: dict[str, Any], size: Any, learned: Any) -> None:
    g = results["gradients"]
    by_tau = {name: [row[name] for row in g["by τ"]] for name in g["by τ"][0]}
    size.fill_between(TAUS, by_tau["low"], by_tau["high"], color="C0", alpha=0.15, linewidth=0)
    size.plot(TAUS, by_tau["median"], color="C0", label="at the scores: median, and nine rows in ten")
    size.plot(TAUS, by_tau["mean"], "--", color="C6", label="at the scores: mean")
    for name, at, mark in (("without", 1 / np.sqrt(DIMENSIONS), "C1o"), ("with", np.ones(5), "C3s")):
        size.plot(at, [row["median"] for row in g[name]], mark[2], color=mark[:2], label=f"at q, {name} 1/√d: median")
    for d, row in list(zip(DIMENSIONS, g["without"], strict=True))[2:]:  # the others lie too close together
        size.text(0.75 / math.sqrt(d), row["median"], f"d = {d}", ha="right", va="center", fontsize=9)
    size.set(xlabel="temperature τ", ylabel="size of the gradient", xscale="log", yscale="log", ylim=(1e-7, 3e3))
    size.set_title("Too cold or too hot, and no gradient is left")
    runs, ends = np.array([run["curve"] for run in results["learned"]]), {}  # (seeds, points, starts)
    for i, start in enumerate(STARTS):
        color = pictures.band(learned, 5 * np.arange(runs.shape[1]), runs[:, :, i], f"C{i}")
        learned.annotate(f"from τ = {start:g}", (0, start), xytext=(18, 4), textcoords="offset points", color=color)
    ends["truth"] = pictures.level(learned, TRUE_TAU, ":")
    learned.set(xlabel="step of Adam", ylabel="τ", yscale="log", xlim=(0, 5 * max(1, runs.shape[1] - 1)))
    learned.set_title("A learned temperature finds the truth from anywhere")
    size.legend(fontsize=8, loc="upper right")
    pictures.labels(learned, ends)


if __name__ == "__main__":
    story.tell(main)
