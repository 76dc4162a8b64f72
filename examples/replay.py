"""Training replay: which key does each query look at, from the first step to the last?

Four models of soft_vs_hard.py learn the same task from the same questions and begin with the same tables: with softmax,
straight-through, REINFORCE and argmax. The page shows the weights of every query on every key, with a slider over the
steps. Three find the diagonal, each query its own key; argmax's gradient is exactly 0, and it stays where it began.
All have the same seed, 0, and the same learning rate, 0.02. Takes about 20 seconds, with --quick about 2.

python examples/replay.py --out examples/gallery
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import math
from dataclasses import replace

import numpy as np

import minigrad as mg
from minigrad import optim, viz
from retrieval import Retrieval, Retrieve, questions
from soft_vs_hard import RETRIEVAL

N, FRAMES = 8, 38
ROWS = {
    "softmax": "softmax",
    "straight-through": "straight-through",
    "REINFORCE": "REINFORCE, moving baseline",
    "hardmax (argmax)": "hardmax (argmax)",
}
LETTERS = "abcdefghijklmnop"  # the 2N keys


def frames(steps: int) -> list[int]:
    """Steps to show: all of the first ones, then fewer and fewer, since training is quickest at the start."""
    return sorted({0, steps} | {round(x) for x in np.geomspace(1, steps, FRAMES)})


@mg.no_grad()
def look(model: Retrieval) -> np.ndarray:
    """The weights (2N, 2N) of every query on every key; those of REINFORCE are the chances that a key is drawn."""
    scores = model.query.weight @ model.key.weight.mT / math.sqrt(model.row.d)
    how = model.row.weights
    to_weights = getattr(mg, "softmax" if how.startswith("reinforce") else how)
    return np.asarray(to_weights(scores))


def record(name: str, row: Retrieve, steps: int, seed: int) -> viz.Run:
    """Train as soft_vs_hard.py does, and note what is seen before a step is taken.

    Accuracy is that on the last 50 batches, as in soft_vs_hard.py; at step 0 that of the first one.
    """
    run, shown, right = viz.Run(name), set(frames(steps)), []
    model = Retrieval(row, np.random.default_rng([seed, 0]))
    data = np.random.default_rng([seed, 1])
    optimizer = optim.Adam(model.parameters(), lr=row.lr)
    for step in range(steps + 1):
        loss, correct = model(*questions(N, row.batch, data))
        optimizer.zero_grad()
        loss.backward()
        right.append(correct.mean())
        if step in shown:
            gradient = math.hypot(*(float(np.linalg.norm(t.weight.grad)) for t in (model.query, model.key)))
            run.add(step, look(model), float(np.mean(right[-50:])), gradient)
        optimizer.step()
    return run


def note(steps: int) -> str:
    return (
        f"A solved router is the diagonal. From soft_vs_hard.py: N = {N}, seed 0, {steps:,} steps; answers right are a "
        "mean of 50 batches, the gradient's norm is that at the query and key tables."
    )


def main(argv: list[str] | None = None) -> list[viz.Run]:
    args = story.parse(story.flags(__doc__, seeds=0, steps="training steps"), argv)
    steps = args.steps or (100 if args.quick else 1500)
    rows = {name: replace(RETRIEVAL[key], n=N, lr=0.02) for name, key in ROWS.items()}
    runs = [record(name, row, steps, seed=0) for name, row in rows.items()]
    page = viz.replay(runs, story.place(args, "replay.html"), queries=LETTERS, note=note(steps))
    cells = [[run.name, f"{100 * run.accuracy[-1]:.0f}", f"{max(run.gradient):.3g}"] for run in runs]
    story.table(f"After {steps:,} steps", ["weights", "right %", "largest norm of a gradient"], cells)
    print(f"{page.stat().st_size / 1000:.1f} kB  {page}")
    return runs


if __name__ == "__main__":
    story.tell(main)
