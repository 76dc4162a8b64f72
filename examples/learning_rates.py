"""Every row at its own best: a learning rate for each, chosen once, on seeds that no table reports.

`--tune` trains every row of an example at each of RATES on SEEDS and records, in results/learning_rates.json, which
was best and what the others reached. The runs that are reported read the choice from there.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import story

RATES, SEEDS = [0.005, 0.01, 0.02, 0.05, 0.1], [1000, 1001]
RECORD = Path(__file__).parent / "results" / "learning_rates.json"


def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    return found


def tuned(group: str, rows: Mapping[str, Any]) -> dict[str, Any]:
    """The rows, each with the learning rate that was chosen for it; KeyError for one that was never tuned."""
    chosen = recorded()[group]
    return {name: replace(row, lr=chosen[name]["lr"]) for name, row in rows.items()}


def tune(
    group: str,
    rows: Mapping[str, Any],
    train: Callable[[Any, int], Mapping[str, Any]],
    processes: int,
    rates: list[float] = RATES,
) -> None:
    """Try every row at every rate, and record the one whose mean `figure_of_merit` is the highest."""
    for name, row in rows.items():
        jobs = [(replace(row, lr=lr), seed) for lr in rates for seed in SEEDS]
        runs = iter(story.run(train, jobs, processes, f"{group}: {name}"))
        tried = {lr: [merit(next(runs)) for _ in SEEDS] for lr in rates}
        best = max(rates, key=lambda lr: [statistics.mean(column) for column in zip(*tried[lr], strict=True)])
        record = recorded()
        figures = {f"{lr:g}": [first for first, _ in pairs] for lr, pairs in tried.items()}
        record.setdefault(group, {})[name] = {"lr": best, "tried": figures}
        story.write_text(RECORD, json.dumps(record, indent=1) + "\n")
        print(f"{group}: {name}: {best:g} of {figures}", flush=True)


def merit(run: Mapping[str, Any]) -> tuple[float, float]:
    """What makes a run good: first its accuracy at the end (or few bits); of equal ones, how soon it got there."""
    if "bits" in run:
        return -round(run["bits"], 3), 0.0
    return round(run["accuracy"], 1), statistics.mean(run["curve"])


def add_flag(parser: Any) -> Any:
    parser.add_argument("--tune", action="store_true", help="first choose each row's learning rate anew, on other seeds")
    return parser
