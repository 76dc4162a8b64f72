"""Since then: what came after plain softmax attention, each on the tasks of this project, with its control.

On retrieval (see soft_vs_hard.py), each row at its own best learning rate:

    QK-norm           layer norm on queries and on keys (Henry et al. 2020; Dehghani et al. 2023)
    sigmoid           each score alone through a sigmoid, its bias starting at -ln N (Ramapuram et al. 2024)
    softmax1          a one in softmax's denominator (Miller 2023); also where half the keys asked for are not there
    additive scores   w·tanh(q + k) in place of q·k/√d (Bahdanau et al. 2015): what came before
    linear attention  φ(q)·φ(k) in place of exp(q·k) (Katharopoulos et al. 2020), at more keys than features, too
    marginal          −ln Σ w p, the loss of the mixture of all answers, beside the expected loss Σ w ℓ of the exact
                      sum over choices (Deng et al. 2018)

And in a GPT on real text: the weight on position 0 (the attention sink), gates and rotary positions: since_text.py.

Some results are negative: where plain softmax already answers everything, nothing can be better.

Takes about 5 minutes on two cores; --quick less than 20 seconds.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import statistics
from dataclasses import replace
from typing import Any

import learning_rates
import minigrad as mg
import pictures
import since_text
from retrieval import Retrieve, random_route, train_retrieval

ROWS = {
    "softmax": Retrieve(),
    "QK-norm": Retrieve(scores="QK-norm"),
    "sigmoid, no sum of 1": Retrieve(mg.sigmoid, "learned bias"),
    "softmax1": Retrieve("softmax1"),
    "additive scores": Retrieve(scores="additive"),
    "linear attention": Retrieve("sum_normalize", "φ(q)·φ(k)"),
    "exact sum over choices": Retrieve("exact"),
    "marginal likelihood": Retrieve("marginal"),
}
ABSENT = ["softmax", "sigmoid, no sum of 1", "softmax1"]
SIZES, MANY = [8, 32], 64


def chosen_rows(steps: int, quick: bool) -> dict[tuple[str, str], Retrieve]:
    """{(task, name): row}. Rates were chosen among 8 and 32; other tasks take those of the size nearest to theirs."""
    found = {}
    for n in SIZES[: 1 if quick else 2]:
        group = f"retrieval among {n}"
        tuned = learning_rates.tuned(group, {name: replace(row, n=n, steps=steps) for name, row in ROWS.items()})
        found |= {(group, name): row for name, row in tuned.items()}
        if n == 8:
            found |= {("perhaps none of 8", name): replace(tuned[name], task="perhaps none") for name in ABSENT}
        else:
            rows = {name: replace(tuned[name], n=MANY) for name in ("softmax", "linear attention")}
            rows["linear attention, d = 64"] = replace(rows["linear attention"], d=64)
            found |= {(f"retrieval among {MANY}", name): row for name, row in rows.items()}
    return found


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = learning_rates.add_flag(story.flags(__doc__, seeds=3, steps="training steps"))
    args = story.parse(parser, argv, quick_seeds=1)
    if args.tune:
        for n in SIZES:
            rows = {name: replace(row, n=n) for name, row in ROWS.items()}
            learning_rates.tune(f"retrieval among {n}", rows, train_retrieval, args.processes)
    jobs = chosen_rows(args.steps or (300 if args.quick else Retrieve.steps), args.quick)
    runs = story.compare(train_retrieval, jobs, args, "since")
    results: dict[str, Any] = {"retrieval": {}, "text": since_text.run(args)}
    for (task, name), found in runs.items():
        results["retrieval"].setdefault(task, {})[name] = [
            {key: run[key] for key in ("accuracy", "step_90", "drift")} for run in found
        ]
    return story.finish("since", args, results, in_words, report, draw)


def report(results: dict[str, Any]) -> None:
    for task, rows in results["retrieval"].items():
        lines = [
            [name, story.spread_of(found, "accuracy", "{:.2f}"), step_to_90(found)] for name, found in rows.items()
        ]
        if task.startswith("retrieval"):
            lines.append(["(computed) a random route", f"{random_route(int(task.split()[-1])):.2f}", ""])
        title = f"{task.capitalize()}: median (range) of {len(rows['softmax'])} seeds"
        story.table(title, ["", "accuracy %", "step to 90 %"], lines)
    since_text.report(results["text"])


def step_to_90(runs: list[dict[str, Any]]) -> str:
    passed = [run["step_90"] for run in runs if run["step_90"]]
    return story.spread(passed, "{:.0f}") if len(passed) == len(runs) else f"{len(passed)} of {len(runs)} seeds"


def in_words(results: dict[str, Any]) -> list[str]:
    tasks, text = results["retrieval"], results["text"]["rows"]
    task = max(tasks, key=lambda name: int(name.split()[-1]))
    soft, linear = (story.median(tasks[task][name], "accuracy") for name in ("softmax", "linear attention"))
    sinks = [f"{name} {story.median(text[name], 'on first'):.0f} %" for name in ("softmax", "softmax1", "gated")]
    return [
        f"{task.capitalize()}: softmax {soft:.1f} %, linear attention {linear:.1f} %.",
        f"On text the first position gets, of the weight of late positions: {', '.join(sinks)}; equal shares would be "
        f"{results['text']['equal share']:.0f} %.",
    ]


@pictures.picture(1, 2, size=(12, 4.4), dark=True, width_ratios=[1, 1])
def draw(results: dict[str, Any], found: Any, text: Any) -> None:
    names = list(ROWS)
    for i, n in enumerate(sorted({int(task.split()[-1]) for task in results["retrieval"]})):
        rows = results["retrieval"].get(f"retrieval among {n}", {})
        for at, name in enumerate(reversed(names)):
            if name not in rows:
                continue
            figures = [run["accuracy"] for run in rows[name]]
            y = at + 0.25 - 0.25 * i
            found.plot([min(figures), max(figures)], [y, y], color=f"C{(0, 2, 3)[i]}", linewidth=2)
            label = f"among {n}" if name == "softmax" else None
            found.plot(statistics.median(figures), y, "os^"[i], color=f"C{(0, 2, 3)[i]}", label=label)
    found.set_yticks(range(len(names)), reversed(names))
    found.set(xlim=(0, 103), xlabel="accuracy, %: median and range")
    found.set_title("16 features cannot tell 64 keys apart without an exponential")
    found.legend(loc="center left")
    since_text.draw(results["text"], text)


if __name__ == "__main__":
    story.tell(main)
