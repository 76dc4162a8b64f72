"""What the examples share: flags, runs of several seeds, progress and tables. Pictures have a file of their own."""

from __future__ import annotations

import argparse
import datetime
import functools
import itertools
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from pictures import band, pyplot, save_picture, write_whole  # noqa: F401

# --- before ----------------------------------------------------------------------------------------------------------


def flags(doc: str | None, seeds: int = 5, steps: str | None = None) -> argparse.ArgumentParser:
    """The flags every example has; the example's docstring is the help.

    seeds=0 is for an example that compares no seeds. `steps` says what --steps counts, if there is something to count.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(default_seeds=seeds, started=time.monotonic())
    add = functools.partial(parser.add_argument, metavar="N", type=int)
    parser.add_argument("--quick", action="store_true", help="a first look, in less than 20 seconds")
    if steps:
        add("--steps", help=f"{steps}, to make it shorter")
    if seeds:
        add("--seeds", help=f"how many seeds (default {seeds})")
        add("--seed-base", default=0, help="number of the first seed (default 0): other seeds are other runs")
        add("--processes", default=2, help="how many seeds run at once (default 2)")
    add("--out", type=Path, default=Path("out"), metavar="DIR", help="where files go (default out/)")
    add("--json", type=Path, metavar="FILE", help="write every figure to this file, too")
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None, quick_seeds: int = 2) -> Any:
    """Read the flags, and refuse bad ones before any work begins."""
    args = parser.parse_args(argv)
    if args.default_seeds and args.seeds is None:
        args.seeds = quick_seeds if args.quick else args.default_seeds
    for name in ("steps", "seeds"):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, not {value}")
    check_writable(parser, args)
    return args


def check_writable(parser: argparse.ArgumentParser, args: Any) -> None:
    """Find out before any work whether the results can be written after it."""
    for folder in [args.out, *([args.json.parent] if args.json else [])]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            parser.error(f"cannot write to {folder}: {error.strerror}; choose another place with --out or --json")


# --- the runs --------------------------------------------------------------------------------------------------------


def compare(
    job: Callable[[Any, int], Any], rows: Mapping[str, Any], args: Any, label: str = "runs"
) -> dict[str, list[Any]]:
    """{name: [job(settings, seed) for every seed] for name, settings in rows.items()}, several at a time."""
    first = getattr(args, "seed_base", 0)
    jobs = [(settings, seed) for settings in rows.values() for seed in range(first, first + args.seeds)]
    results = iter(run(job, jobs, args.processes, label))
    return {name: [next(results) for _ in range(args.seeds)] for name in rows}


def run(
    job: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    processes: int = 2,
    label: str = "runs",
    to_time: bool = False,
) -> list[Any]:
    """[job(*arguments) for arguments in jobs], several at a time, with progress.

    processes=1 runs all jobs in this process; with `to_time` they get a process of their own, whose one BLAS thread
    makes times comparable.
    """
    if not to_time and (processes <= 1 or len(jobs) <= 1):
        return list(with_progress(itertools.starmap(job, jobs), label, len(jobs)))
    # Each process gets one BLAS thread: the matrices of a toy model are too small to share. NumPy reads these names
    # when a new process imports it.
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    spawn = multiprocessing.get_context("spawn")
    with mock.patch.dict(os.environ, one_thread), ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        return list(with_progress(pool.map(job, *zip(*jobs, strict=True)), label, len(jobs)))


def with_progress(items: Iterable[Any], label: str, total: int) -> Iterator[Any]:
    progress = Progress(label, total)
    for item in items:
        progress.step()
        yield item
    progress.clear()


class Progress:
    """How far a loop is and how long it still takes: one changing line in a terminal, elsewhere a line now and then."""

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.first, self.done = label, total, done, done
        self.started = self.shown = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def step(self, *says: str) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.shown > (0.2 if self.terminal else 5):
            self.shown = now
            left = round((now - self.started) / (self.done - self.first) * (self.total - self.done))
            parts = [f"{self.label}: {self.done} of {self.total}", *says, f"{left // 60}:{left % 60:02d} left"]
            line = ", ".join(parts)
            print(f"\r{line:<79}" if self.terminal else line + "\n", end="", file=sys.stderr, flush=True)

    def print(self, line: str) -> None:
        """Print a line that stays."""
        self.clear()
        print(line, flush=True)

    def clear(self) -> None:
        if self.terminal:
            print(f"\r{'':<79}\r", end="", file=sys.stderr, flush=True)


def drift(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], names: Sequence[str]) -> float:
    """How far the parameters of these names moved: the largest change of any of their numbers."""
    moved = [name for name in before if set(names) & set(name.split("."))]
    return max(float(np.abs(after[name] - before[name]).max()) for name in moved)


# --- after -----------------------------------------------------------------------------------------------------------


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their heads; the first column to the left, the others to the right."""
    widths = [max(len(str(line[i])) for line in [head, *rows]) for i in range(len(head))]
    print(f"\n{title}")
    for line in [head, ["-" * width for width in widths], *rows]:
        first, *others = (str(cell) for cell in line)
        cells = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


def spread(values: Sequence[float], form: str = "{:.1f}") -> str:
    """Median and range, the way every table here shows several seeds: "99.8 (99.1 – 100.0)"."""
    median, low, high = (form.format(v) for v in (statistics.median(values), min(values), max(values)))
    return median if low == high else f"{median} ({low} – {high})"


def median(runs: Sequence[Mapping[str, Any]], key: str) -> float:
    """The median of one figure over the runs of several seeds."""
    return statistics.median(run[key] for run in runs)


def spread_of(runs: Sequence[Mapping[str, Any]], key: str, form: str = "{:.1f}") -> str:
    """Median and range of one figure over the runs of several seeds."""
    return spread([run[key] for run in runs], form)


def finish(args: Any, results: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The end of an example: print in words what was seen; with --json, write the figures, these words and the time."""
    print("", *words, sep="\n")
    if args.quick and args.default_seeds:
        print("(A first look, with fewer steps and seeds: the full run may say otherwise. See examples/README.md.)")
    results |= {
        "in_words": list(words),
        "seconds": round(time.monotonic() - args.started, 1),
        "measured": {
            "on": datetime.date.today().isoformat(), "cores": os.cpu_count(),
            "python": platform.python_version(), "numpy": np.__version__,
        },
    }  # fmt: skip
    if args.json is not None:
        write_text(args.json, json.dumps(results) + "\n")
        print(f"figures: {args.json}")
    return results


def write_text(path: Path, text: str) -> None:
    """Write a file that is complete, or is not there."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
