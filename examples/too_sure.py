"""Too sure too soon: smooth attention that hardly trains, because it is almost hard, and what rescues it.

Softmax of large scores is nearly argmax, and its slope nearly 0 (see staircase.py). You will see retrieval among 32
keys (see soft_vs_hard.py) from tables three times as large, so scores nine times as large, and three ways out:

    softcap     5 tanh(s / 5) keeps every score between -5 and 5 (Gemma 2, 2024)
    learned τ   scores are divided by one number more, which is trained
    QK-norm     layer norm on queries and on keys (Dehghani et al. 2023); in part by construction, as it takes the
                scale of the tables away

And a way to end hard without starting hard: τ goes from 1 to 0.05 while training. Its control has τ = 0.05 from the
start. Every row is also read with argmax after training. Each has its own best learning rate (see learning_rates.py).

Takes about 2 minutes on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

from dataclasses import replace
from typing import Any

import numpy as np

import learning_rates
import pictures
from retrieval import Retrieve, random_route, train_retrieval

N = 32
ROWS = {
    "softmax": Retrieve(),
    "softmax, tables at scale 3": Retrieve(scale=3.0),
    "scale 3, softcap": Retrieve(scores="softcap", scale=3.0),
    "scale 3, learned τ": Retrieve(scores="learned τ", scale=3.0),
    "scale 3, QK-norm": Retrieve(scores="QK-norm", scale=3.0),
    "τ from 1 to 0.05": Retrieve(tau=(1.0, 0.05)),
    "control: τ = 0.05 throughout": Retrieve(tau=(0.05, 0.05)),
}
ROWS = {name: replace(row, n=N) for name, row in ROWS.items()}
GROUP = f"retrieval among {N}"


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = learning_rates.add_flag(story.flags(__doc__, steps="training steps"))
    args = story.parse(parser, argv)
    if args.tune:
        learning_rates.tune(GROUP, ROWS, train_retrieval, args.processes)
    steps = args.steps or (300 if args.quick else Retrieve.steps)
    rows = {name: replace(row, steps=steps) for name, row in learning_rates.tuned(GROUP, ROWS).items()}
    results = {"steps": steps, "rates": {name: row.lr for name, row in rows.items()}}
    results["rows"] = story.compare(train_retrieval, rows, args, GROUP)
    return story.finish("too_sure", args, results, in_words, report, draw)


def report(results: dict[str, Any]) -> None:
    lines = []
    for name, runs in results["rows"].items():
        cells = (story.spread_of(runs, key) for key in ("accuracy", "read_hard"))
        lines.append([name, f"{results['rates'][name]:g}", *cells])
    lines.append(["(computed) a random route", "", f"{random_route(N):.1f}", f"{random_route(N):.1f}"])
    title = f"Retrieval among {N}: median (range) of {len(results['rows']['softmax'])} seeds, {results['steps']} steps"
    story.table(title, ["", "learning rate", "accuracy %", "read with argmax %"], lines)


def in_words(results: dict[str, Any]) -> list[str]:
    def of(name: str, key: str = "accuracy") -> str:
        return f"{story.median(results['rows'][name], key):.1f}"

    return [
        f"Too sure too soon, softmax finds {of('softmax, tables at scale 3')} %; with one learned τ, "
        f"{of('scale 3, learned τ')} %.",
        f"With a softcap it finds {of('scale 3, softcap')} %, with QK-norm {of('scale 3, QK-norm')}. With τ going from "
        f"1 to 0.05 it finds {of('τ from 1 to 0.05')} % and, read with argmax, {of('τ from 1 to 0.05', 'read_hard')}; "
        f"with τ = 0.05 throughout, {of('control: τ = 0.05 throughout')}.",
    ]


@pictures.picture(size=(8.3, 4.6), dark=True)
def draw(results: dict[str, Any], axis: Any) -> None:
    ends = {}
    for i, (name, runs) in enumerate(results["rows"].items()):
        curves = np.array([run["curve"] for run in runs])
        steps = min(50, results["steps"]) + 10 * np.arange(curves.shape[1])
        color = pictures.band(axis, steps, curves, f"C{i}")
        ends[name.removeprefix("control: ")] = (float(np.median(curves[:, -1])), color)
    ends["a random route"] = pictures.level(axis, random_route(N), ":")
    axis.set(xlabel="training step", ylabel="accuracy, %", ylim=(0, 103), xlim=(0, results["steps"]))
    pictures.labels(axis, ends)
    axis.set_title("A softmax that starts too sure hardly learns; a learned scale sets it free")


if __name__ == "__main__":
    story.tell(main)
