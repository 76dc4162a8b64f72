"""Why attention is soft: the same models with softmax, with argmax, and with everything in between.

Argmax's loss is a staircase, softmax's a slope: staircase.py draws both in a second. This is what it does to training.
You will see two experiments. What changes from row to row is the normalizer, which turns scores into weights, or how a
hard choice is trained; in some rows also how large the query and key tables are at the start.

  A  Retrieval. N (key, value) pairs and a query key; the answer is the value stored under that key: retrieval.py.

         keys   c  a  f  d        query  f        answer  7
         values 2  5  7  2

  B  Real text. A one-block GPT predicts the next character: soft_vs_hard_text.py.

Every row has its own best learning rate, chosen on seeds that are not reported: learning_rates.py, --tune. Some rows
compute more than others: "losses" says how many answers a step judges for each question, and one row gives the exact
sum only as many as softmax. After training every row is also read with argmax: the choice was never the problem,
learning through it is.

The recorded run, --full --seeds 5 with every row, takes about 10 minutes on two cores; --full alone has 20 seeds.
Without it 5 seeds of the rows that matter most take about 6 minutes, --quick 15 seconds.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

from dataclasses import replace
from typing import Any

import numpy as np

import learning_rates
import pictures
import soft_vs_hard_text as on_text
from retrieval import N_VALUES, Retrieve, random_route, train_retrieval

RETRIEVAL = {
    "softmax": Retrieve(),
    "exact sum over choices": Retrieve("exact"),
    "straight-through": Retrieve("straight_through"),
    "REINFORCE, 4 draws": Retrieve("reinforce", draws=4),
    "REINFORCE, moving baseline": Retrieve("reinforce"),
    "sparsemax": Retrieve("sparsemax"),
    "hardmax (argmax)": Retrieve("hardmax"),
    "control: hardmax, frozen tables": Retrieve("hardmax", frozen=True),
    "control: softmax, frozen tables": Retrieve(frozen=True),
    "control: uniform": Retrieve("uniform"),
}
ONLY_FULL = {
    "Gumbel straight-through": Retrieve("gumbel"),
    "top-4": Retrieve("top_k_softmax"),
    "exact sum, equal compute": Retrieve("exact", share_steps=True),
    "REINFORCE, no baseline": Retrieve("reinforce without baseline"),
    "1.5-entmax": Retrieve("entmax15"),
    "sparsemax, tables at scale 0.3": Retrieve("sparsemax", scale=0.3),
    "top-4, tables at scale 0.3": Retrieve("top_k_softmax", scale=0.3),
    "softmax, tables at scale 3": Retrieve(scale=3.0),
    "simple normalization": Retrieve("sum_normalize"),
    "sigmoid, normalized": Retrieve("sigmoid_normalize"),
}
COLORS = {"softmax": "C0", "straight-through": "C3", "REINFORCE, moving baseline": "C4", "hardmax (argmax)": "C1"}
SIZES, FULL_SEEDS = [8, 32], 20


def group(n: int) -> str:
    return f"retrieval among {n}"


def losses(row: Retrieve) -> int:
    """How many answers a step judges for each question."""
    return row.n if row.weights == "exact" else row.draws


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = learning_rates.add_flag(story.flags(__doc__, steps="training steps of both experiments"))
    every = "every row, and 20 seeds: the run that is recorded"
    parser.add_argument("--full", dest="default_seeds", action="store_const", const=FULL_SEEDS, help=every)
    parser.add_argument("--text", metavar="FILE", help="train B on this text (default: Python's own help texts)")
    args = story.parse(parser, argv)
    rows_a, rows_b = chosen_rows(args)
    try:
        source = on_text.describe(rows_b["softmax"])
    except (OSError, ValueError) as error:
        parser.error(f"--text: {error}")
    if args.tune:
        for n in SIZES:
            learning_rates.tune(group(n), of_size(n, rows_a), train_retrieval, args.processes)
        learning_rates.tune("text", rows_b, on_text.train_text, args.processes, on_text.RATES)

    jobs = {
        (str(n), name): row
        for n in SIZES[: 1 if args.quick else 2]
        for name, row in learning_rates.tuned(group(n), of_size(n, rows_a)).items()
    }
    jobs_b = learning_rates.tuned("text", rows_b)
    found = story.compare(train_retrieval, jobs, args, "A  retrieval")
    results: dict[str, Any] = {
        "settings": {
            "seeds": args.seeds, "retrieval_steps": rows_a["softmax"].steps, "text_steps": rows_b["softmax"].steps,
            "rates": {n: {name: row.lr for (size, name), row in jobs.items() if size == n} for n, _ in jobs},
            "text rates": {name: settings.lr for name, settings in jobs_b.items()},
        },
        "retrieval": {n: {name: found[n, name] for size, name in jobs if size == n} for n, _ in jobs},
        "text": story.compare(on_text.train_text, jobs_b, args, "B  text"),
        "source": source,
    }  # fmt: skip
    return story.finish("soft_vs_hard", args, results, in_words, report, draw)


def chosen_rows(args: Any) -> tuple[dict[str, Retrieve], dict[str, on_text.Text]]:
    """The rows of A and B that the flags ask for."""
    a, b, full = dict(RETRIEVAL), dict(on_text.TEXT), args.default_seeds == FULL_SEEDS
    if args.quick:
        a = {name: row for name, row in a.items() if name in COLORS or "control" in name}
        b = {
            name: replace(b[name], evaluate_batches=20) for name in ("softmax", "control: uniform", "hardmax (argmax)")
        }
    elif full:
        a |= ONLY_FULL
    else:
        b = {name: row for name, row in b.items() if name not in on_text.ONLY_FULL}
    steps_a, steps_b = (args.steps,) * 2 if args.steps else (200, 60) if args.quick else (Retrieve.steps, 800)
    a = {name: replace(row, steps=steps_a) for name, row in a.items()}
    every = max(1, steps_b // 4)
    return a, {name: replace(b[name], path=args.text, steps=steps_b, evaluate_every=every) for name in b}


def of_size(n: int, rows: dict[str, Retrieve]) -> dict[str, Retrieve]:
    return {name: replace(row, n=n) for name, row in rows.items()}


def in_words(results: dict[str, Any]) -> list[str]:
    rows = results["retrieval"]["8"]
    soft, hard = (story.median(rows[name], "accuracy") for name in ("softmax", "hardmax (argmax)"))
    return [
        f"Among 8 keys softmax answers {soft:.1f} % right and argmax {hard:.1f} %.",
        f"A random route gives {random_route(8):.1f} %. Training moved argmax's query and key tables by exactly "
        f"{max(run['drift'] for run in rows['hardmax (argmax)']):g}.",
    ]


def report(results: dict[str, Any]) -> None:
    settings = results["settings"]
    for n, rows in results["retrieval"].items():
        lines = []
        for name, runs in rows.items():
            passed = [run["step_90"] for run in runs if run["step_90"]]
            when = story.spread(passed, "{:.0f}") if len(passed) == len(runs) else f"{len(passed)} of {len(runs)} seeds"
            row = replace((RETRIEVAL | ONLY_FULL)[name], n=int(n))
            cells = [f"{settings['rates'][n][name]:g}", str(losses(row)), story.spread_of(runs, "accuracy"), when]
            lines.append([name, *cells, story.spread_of(runs, "drift", "{:.3g}"), story.spread_of(runs, "read_hard")])
        lines.append(["(computed) a random route", "", "", f"{random_route(int(n)):.1f}", "", "", ""])
        lines.append([f"(computed) guessing one of {N_VALUES} values", "", "", f"{100 / N_VALUES:.1f}", "", "", ""])
        how = f"median (range) of {settings['seeds']} seeds, {settings['retrieval_steps']} steps"
        heads = ["learning rate", "losses", "accuracy %", "step to 90 %", "drift of query and key tables"]
        story.table(f"A. Retrieval, N = {n}: {how}", ["weights", *heads, "read with argmax %"], lines)
    story.say(
        "(Answered as in training: REINFORCE and Gumbel from the choice they drew, the exact sum from its mixture.)"
    )
    on_text.report_text(results)


@pictures.picture(1, 2, size=(11, 4.4), dark=True)
def draw(results: dict[str, Any], found: Any, text: Any) -> None:
    n, rows = list(results["retrieval"].items())[-1]
    ends, window = {}, min(50, results["settings"]["retrieval_steps"])
    for name, color in COLORS.items():
        curves = np.array([run["curve"] for run in rows[name]])
        steps = window + 10 * np.arange(curves.shape[1])
        wide = 3.0 if name == "softmax" else 1.5  # so that it shows where another line lies on it
        marks = {"marker": "os^D"[len(ends)], "markevery": 12, "markersize": 5}
        color = pictures.band(found, steps, curves, color, linewidth=wide, **marks)
        ends[name] = (float(np.median(curves[:, -1])), color)
    ends["uniform weights"] = pictures.level(found, story.median(rows["control: uniform"], "accuracy"), "-")
    ends["a random route"] = pictures.level(found, random_route(int(n)), ":")
    found.set(title=f"One key among {n}: softmax finds it; argmax never moves", xlabel="training step")
    found.set(ylabel="accuracy, %", ylim=(0, 103), xlim=(0, steps[-1]))
    pictures.labels(found, ends)
    on_text.draw_text(results, text)


if __name__ == "__main__":
    story.tell(main)
