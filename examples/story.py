"""What the examples share: flags, runs of several seeds, figures in words. Showing: terminal.py, pictures.py."""

from __future__ import annotations

from terminal import Progress, reflow, say, table, tell, with_progress  # noqa: F401  # isort: skip (it hears Ctrl-C)

import argparse
import contextlib
import datetime
import functools
import itertools
import json
import multiprocessing
import os
import platform
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import machines
from pictures import band, pyplot, save_picture, write_whole  # noqa: F401

# --- before ----------------------------------------------------------------------------------------------------------


def flags(doc: str | None, seeds: int = 5, steps: str | None = None) -> argparse.ArgumentParser:
    """The flags every example has; the example's docstring is the help.

    seeds=0 is for an example that compares no seeds. `steps` says what --steps counts, if there is something to count.
    """
    parser = argparse.ArgumentParser(description=reflow(doc), formatter_class=argparse.RawDescriptionHelpFormatter)
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
    add("--json", type=Path, metavar="FILE", help="where figures go (default: into --out)")
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
    if (ranks := machines.pool()) is not None:
        with ranks:
            return list(with_progress(ranks.map(job, *zip(*jobs, strict=True)), label, len(jobs)))
    # Each process gets one BLAS thread: the matrices of a toy model are too small to share. NumPy reads these names
    # when a new process imports it.
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, spawn, initializer=end_with_the_parent)
    try:
        with mock.patch.dict(os.environ, one_thread), deaf_to_ctrl_c():
            futures = [pool.submit(job, *arguments) for arguments in jobs]
        return list(with_progress((future.result() for future in futures), label, len(jobs)))
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()  # otherwise the pool waits until the runs have ended
        raise
    finally:
        pool.shutdown()


@contextlib.contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started here never hear Ctrl-C. This one hears it a moment later, and ends them."""
    if os.name != "posix":
        yield
        return
    resource_tracker.ensure_running()  # the first process would start it, and it ends the deafness
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_the_parent() -> None:
    """Called first in each new process: however the program ends, it leaves no orphan."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where deafness is not inherited, on Windows
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def drift(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], names: Sequence[str]) -> float:
    """How far the parameters of these names moved: the largest change of any of their numbers."""
    moved = [name for name in before if set(names) & set(name.split("."))]
    return max(float(np.abs(after[name] - before[name]).max()) for name in moved)


# --- after -----------------------------------------------------------------------------------------------------------


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


def finish(
    name: str,
    args: Any,
    results: dict[str, Any],
    in_words: Callable[[Any], list[str]],
    report: Callable[[Any], None] | None = None,
    draw: Callable[[Any, Path], None] | None = None,
) -> dict[str, Any]:
    """The end of an example: write its figures, words and picture; then print headline, tables and details."""
    headline, *details = in_words(results)
    results |= {
        "in_words": [headline, *details],
        "seconds": round(time.monotonic() - args.started, 1),
        "measured": {
            "on": datetime.date.today().isoformat(), "cores": os.cpu_count(),
            "python": platform.python_version(), "numpy": np.__version__,
        },
    }  # fmt: skip
    figures, picture = args.json or place(args, f"{name}.json"), place(args, f"{name}.png")
    write_text(figures, json.dumps(results) + "\n")
    files = [f"figures: {figures}"]
    if draw is not None and pyplot() is None:
        files.append("no picture: matplotlib is not installed (pip install 'minigrad[examples]')")
    elif draw is not None:
        draw(results, picture)
        files.append(f"picture: {picture}")
    say(f"\n{headline}")
    if report is not None:
        report(results)
    say("\n".join(["", *details]))
    if args.quick and args.default_seeds:
        say("(A first look, with fewer steps and seeds: the full run may say otherwise. See examples/README.md.)")
    print(*files, sep="\n")
    return results


def place(args: Any, name: str) -> Path:
    """Where a file goes: a first look never replaces what a full run wrote."""
    path: Path = args.out / name
    return path.with_stem(f"{path.stem}_quick") if args.quick else path


def write_text(path: Path, text: str) -> None:
    """Write a file that is complete, or is not there."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
