"""Every row at its own best: a learning rate for each, chosen once, on seeds that no table reports.

`--tune` trains every row of an example that has none yet at each of RATES on SEEDS, and records in
results/learning_rates.json which was best and what each reached. The runs that are reported read the choice from there.
To choose again, remove the row from that file.
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
SAME = {"control: hardmax, frozen tables": "hardmax (argmax)"}  # the same runs to the last bit, so the same rate
RECORD = Path(__file__).parent / "results" / "learning_rates.json"


def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    return found


def tuned(group: str, rows: Mapping[str, Any]) -> dict[str, Any]:
    """The rows, each with the learning rate that was chosen for it; its own where none was."""
    chosen = recorded().get(group, {})
    rates = {name: chosen[SAME.get(name, name)]["lr"] for name in rows if SAME.get(name, name) in chosen}
    return {name: replace(row, lr=rates[name]) if name in rates else row for name, row in rows.items()}


def tune(
    group: str,
    rows: Mapping[str, Any],
    train: Callable[[Any, int], Mapping[str, Any]],
    processes: int,
    rates: list[float] = RATES,
) -> None:
    """For every row that has no rate yet: all rates on the first seed, the best two on the others; record the best."""
    for name, row in rows.items():
        if name in SAME or name in recorded().get(group, {}):
            continue
        tried: dict[float, list[tuple[float, float]]] = {lr: [] for lr in rates}
        for seeds, finalists in ((SEEDS[:1], len(rates)), (SEEDS[1:], 2)):
            candidates = sorted(rates, key=lambda lr: average(tried[lr]), reverse=True)[:finalists]
            jobs = [(replace(row, lr=lr), seed) for lr in candidates for seed in seeds]
            for (setting, _), run in zip(jobs, story.run(train, jobs, processes, f"{group}: {name}"), strict=True):
                tried[setting.lr].append(merit(run))
        best = max(candidates, key=lambda lr: average(tried[lr]))
        record, figures = recorded(), {f"{lr:g}": [first for first, _ in pairs] for lr, pairs in tried.items()}
        record.setdefault(group, {})[name] = {"lr": best, "tried": figures}
        story.write_text(RECORD, json.dumps(record, indent=1) + "\n")
        print(f"{group}: {name}: {best:g} of {figures}", flush=True)


def average(merits: list[tuple[float, float]]) -> list[float]:
    return [statistics.mean(column) for column in zip(*merits, strict=True)]


def merit(run: Mapping[str, Any]) -> tuple[float, float]:
    """What makes a run good: first its accuracy at the end (or few bits); of equal ones, how soon it got there."""
    if "bits" in run:
        return -round(run["bits"], 3), 0.0
    return round(run["accuracy"], 1), statistics.mean(run["curve"])


def add_flag(parser: Any) -> Any:
    parser.add_argument(
        "--tune", action="store_true", help="first choose a learning rate, on other seeds, for rows that have none"
    )
    return parser
