"""The staircase and the slope: why argmax has nothing to learn from, and softmax has.

A query looks for one of three keys; which one it finds decides the loss. You will see that query move a distance t
towards the right key, and what happens to the loss on the way:

    keys     right (1, 0)   near (0.3, 0.95)   far (-0.3, 0.95)      query (0, 1) + t (1, 0)
    losses   0.05           2.30               3.22                  minus the log of the right answer's probability

With argmax the loss is that of the one key chosen: a staircase. With softmax it is the expected loss of a choice drawn
with those probabilities: a slope. Below is the gradient, dloss/dt, as backpropagation returns it.

Argmax is not "hard to differentiate". It is piecewise constant: its derivative exists almost everywhere, and is 0.
(Relu is not differentiable everywhere either.) One idea unites softmax, REINFORCE and Gumbel-softmax: averaging over
random choices makes the *expected* loss smooth. And smooth is not enough: at a low temperature τ the slope is a spike,
and nearly 0 elsewhere.

Takes about 1 second. What these slopes do to training: soft_vs_hard.py, and too_sure.py for starts at a low τ.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
import pictures

KEYS = np.array([[1.0, 0.0], [0.3, 0.95], [-0.3, 0.95]])
QUERY, DIRECTION = np.array([0.0, 1.0]), np.array([1.0, 0.0])
LOSSES = -np.log([0.95, 0.1, 0.04])
T, STARTS, STEPS = np.linspace(-6, 8, 1401), [-4.0, -2.0, 0.0], 500
ROWS: dict[str, Callable[[mg.Tensor], mg.Tensor]] = {
    "argmax": mg.hardmax,
    "softmax, τ = 0.1": lambda scores: mg.softmax(scores / 0.1),
    "softmax, τ = 1": mg.softmax,
}


def loss_and_slope(weights: Callable[[mg.Tensor], mg.Tensor], t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The expected loss with the query at each t, and the gradient that backpropagation returns there."""
    moved = mg.Tensor(t[:, None], requires_grad=True)
    query = QUERY + moved * DIRECTION  # (T, 2)
    loss = (weights(query @ KEYS.T) * LOSSES).sum(axis=-1)
    loss.sum().backward()
    return loss.numpy(), moved.grad[:, 0]


def descend(weights: Callable[[mg.Tensor], mg.Tensor]) -> list[float]:
    """Where gradient descent has taken the query after STEPS steps of size 0.5, from each of STARTS."""
    t = np.array(STARTS)
    for _ in range(STEPS):
        t = t - 0.5 * loss_and_slope(weights, t)[1]
    return t.round(2).tolist()


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = story.parse(story.flags(__doc__, seeds=0), argv)
    results: dict[str, Any] = {"t": T.round(2).tolist(), "rows": {}}
    for name, weights in ROWS.items():
        loss, slope = loss_and_slope(weights, T)
        results["rows"][name] = {
            "loss": loss.round(5).tolist(),
            "slope": [float(f"{x:.4g}") for x in slope],
            "largest slope": float(np.abs(slope).max()),
            "slope below 1e-6, %": round(100 * float(np.mean(np.abs(slope) < 1e-6)), 1),
            "steps of the grid without a change, %": round(100 * float(np.mean(np.diff(loss) == 0)), 1),
            "descent ends at": descend(weights),
        }
    return story.finish("staircase", args, results, in_words, report, draw)


def report(results: dict[str, Any]) -> None:
    columns = ["largest slope", "slope below 1e-6, %", "steps of the grid without a change, %"]
    lines = [
        [name, *(f"{row[column]:.3g}" for column in columns), "  ".join(f"{t:.1f}" for t in row["descent ends at"])]
        for name, row in results["rows"].items()
    ]
    starts = ", ".join(f"{t:g}" for t in STARTS)
    heads = ["largest |slope|", "|slope| < 1e-6, % of t", "loss flat, % of t", f"{STEPS} steps from {starts}"]
    story.table(f"A query moved from t = {T[0]:g} to {T[-1]:g}", ["weights", *heads], lines)


def in_words(results: dict[str, Any]) -> list[str]:
    hard, sharp, soft = (results["rows"][name] for name in ROWS)
    return [
        f"With argmax the loss is a staircase, and its slope is {hard['largest slope']:g}.",
        f"It is flat at {hard['steps of the grid without a change, %']:.1f} % of all points. Softmax's slope is below "
        f"1e-6 at {sharp['slope below 1e-6, %']:.0f} % of them at τ = 0.1, and at {soft['slope below 1e-6, %']:.0f} % "
        "at τ = 1.",
    ]


@pictures.picture(2, 1, size=(8.3, 6.2), dark=True, sharex=True, height_ratios=[1.5, 1])
def draw(results: dict[str, Any], loss: Any, slope: Any) -> None:
    t, rows, colors = np.array(results["t"]), results["rows"], dict(zip(ROWS, ("C1", "C2", "C0"), strict=True))
    stairs = np.array(rows["argmax"]["loss"])
    jumps = np.flatnonzero(np.diff(stairs))
    for name, row in rows.items():
        on_top = {"color": colors[name], "linewidth": 2.2, "zorder": 3 if name == "argmax" else 2}
        color = loss.plot(t, row["loss"], **on_top)[0].get_color()
        slope.plot(t, row["slope"], **on_top)
        for axis, (x, y, text) in LABELS[name].items():
            pictures.label((loss, slope)[axis], x, y, text, color, xytext=(0, 0), fontsize=11)
    slope.plot(t[jumps], np.zeros(len(jumps)), "o", color="C1", markersize=6, zorder=4)
    loss.set(ylabel="expected loss", ylim=(-0.15, 3.6))
    loss.set_title("Argmax is a staircase: no slope says which way to go", fontsize=13)
    slope.set(ylabel="gradient from\nbackpropagation", ylim=(-2.1, 0.55), xlim=(T[0], T[-1]))
    slope.set_xlabel("how far the query has moved towards the right key")
    loss.figure.align_ylabels()


LABELS = {  # where a line's name stands, above and below
    "argmax": {0: (-5.8, 3.42, "argmax"), 1: (-5.8, 0.25, "argmax: exactly 0; at the two jumps it has no derivative")},
    "softmax, τ = 0.1": {0: (1.6, 2.3, "softmax, τ = 0.1"), 1: (1.95, -1.4, "τ = 0.1: spikes, else almost nothing")},
    "softmax, τ = 1": {0: (3.0, 1.0, "softmax, τ = 1"), 1: (3.05, -0.62, "τ = 1: a slope to follow")},
}


if __name__ == "__main__":
    story.tell(main)
