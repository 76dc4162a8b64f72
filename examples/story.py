"""What the examples share: flags, seeds in two processes, progress, tables, pictures, files whole or absent."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import multiprocessing
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np


def flags(doc: str | None, seeds: int = 5, steps: str | None = None) -> argparse.ArgumentParser:
    """The flags every example has; its docstring is the help.

    For one that has no seeds to compare, seeds=0. `steps` says what --steps counts, where there is something to count.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a first look, in less than 20 seconds")
    parser.set_defaults(default_seeds=seeds, started=time.monotonic())
    if steps:
        parser.add_argument("--steps", type=int, default=None, metavar="N", help=f"{steps}, to make it shorter")
    if seeds:
        parser.add_argument("--seeds", type=int, default=None, metavar="N", help=f"how many seeds (default {seeds})")
        parser.add_argument(
            "--processes", type=int, default=2, metavar="N", help="how many seeds run at once (default 2)"
        )
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where files go (default out/)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file, too")
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None, quick_seeds: int = 2) -> Any:
    """Read the flags, and make sure before any work that the results can be written."""
    args = parser.parse_args(argv)
    if args.default_seeds:
        if args.seeds is None:
            args.seeds = quick_seeds if args.quick else args.default_seeds
        if args.seeds < 1:
            parser.error(f"--seeds must be at least 1, not {args.seeds}")
    if getattr(args, "steps", None) is not None and args.steps < 1:
        parser.error(f"--steps must be at least 1, not {args.steps}")
    check_writable(parser, args)
    return args


def check_writable(parser: argparse.ArgumentParser, args: Any) -> None:
    """Find out before any work, not after it, whether the results can be written."""
    for folder in [args.out, *([args.json.parent] if args.json else [])]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            parser.error(f"cannot write to {folder}: {error.strerror}; choose another place with --out or --json")


def run(
    job: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    processes: int = 2,
    label: str = "runs",
    to_time: bool = False,
) -> list[Any]:
    """[job(*arguments) for arguments in jobs], several at a time, with progress.

    Each process gets one BLAS thread: the matrices of a toy model are too small to share. With one process all runs in
    this one; but not to_time something: then it has a process, and one thread, of its own.
    """
    results: list[Any] = [None] * len(jobs)
    if not to_time and (processes <= 1 or len(jobs) <= 1):
        for i in progress(range(len(jobs)), label, len(jobs)):
            results[i] = job(*jobs[i])
        return results
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    before = {name: os.environ.get(name) for name in threads}
    os.environ.update(threads)  # read by NumPy when the new processes import it
    try:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            futures = {pool.submit(job, *arguments): i for i, arguments in enumerate(jobs)}
            for future in progress(as_completed(futures), label, len(jobs)):
                results[futures[future]] = future.result()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    return results


def compare(
    job: Callable[[Any, int], Any], rows: Mapping[str, Any], args: Any, label: str = "runs"
) -> dict[str, list[Any]]:
    """{name: [job(settings, seed) for every seed] for name, settings in rows.items()}, several at a time."""
    jobs = [(settings, seed) for settings in rows.values() for seed in range(args.seeds)]
    found = iter(run(job, jobs, args.processes, label))
    return {name: [next(found) for _ in range(args.seeds)] for name in rows}


def progress(items: Iterable[Any], label: str, total: int) -> Iterable[Any]:
    """The items, with a bar: tqdm's where it is installed, else a line now and then."""
    try:
        from tqdm import tqdm
    except ImportError:
        return _plain_progress(items, label, total)
    return tqdm(items, desc=label, total=total, file=sys.stderr, leave=False)  # type: ignore[no-any-return]


def _plain_progress(items: Iterable[Any], label: str, total: int) -> Iterable[Any]:
    started = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last > 3:
            last = now
            print(f"{label}: {done} of {total}, {now - started:.0f} s", file=sys.stderr, flush=True)


class Meter:
    """Progress of a loop that has something to say at every step: a bar where tqdm is installed and a terminal shows
    it, else a line now and then. Either has the time left.
    """

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.first, self.done = label, total, done, done
        self.started = self.last = time.monotonic()
        self.bar: Any = None
        if sys.stderr.isatty():
            with contextlib.suppress(ImportError):
                from tqdm import tqdm

                self.bar = tqdm(desc=label, total=total, initial=done, file=sys.stderr, leave=False, unit=" steps")

    def step(self, says: str) -> None:
        self.done += 1
        if self.bar is not None:
            self.bar.set_postfix_str(says, refresh=False)
            self.bar.update()
            return
        now = time.monotonic()
        if now - self.last > 5:
            self.last = now
            left = (now - self.started) / (self.done - self.first) * (self.total - self.done)
            minutes, seconds = divmod(round(left), 60)
            line = f"{self.label}: {self.done} of {self.total}, {says}, {minutes}:{seconds:02d} left"
            print(line, file=sys.stderr, flush=True)

    def print(self, line: str) -> None:
        """A line to keep."""
        if self.bar is not None:
            self.bar.clear()
        print(line, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


@contextlib.contextmanager
def ctrl_c() -> Iterator[Callable[[], bool]]:
    """`with ctrl_c() as asked:` inside, Ctrl-C stops nothing but makes asked() true, so that what has been begun is
    finished first. A second Ctrl-C stops at once.
    """
    times = 0

    def note(*_: Any) -> None:
        nonlocal times
        times += 1
        if times > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: times > 0
    finally:
        signal.signal(signal.SIGINT, before)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their heads; the first column to the left, the others to the right."""
    widths = [max(len(str(line[i])) for line in [head, *rows]) for i in range(len(head))]
    print(f"\n{title}")
    for line in [head, ["-" * width for width in widths], *rows]:
        first, *others = (str(cell) for cell in line)
        cells = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


def spread(values: Sequence[float], form: str = "{:.1f}") -> str:
    """Median and range, the way every table here shows several seeds: "99.8 (99.1 - 100.0)"."""
    median, low, high = (form.format(v) for v in (statistics.median(values), min(values), max(values)))
    return median if low == high else f"{median} ({low} – {high})"


def median(runs: Sequence[Mapping[str, Any]], key: str) -> float:
    """The median of one figure over the runs of several seeds."""
    return statistics.median(run[key] for run in runs)


def spread_of(runs: Sequence[Mapping[str, Any]], key: str, form: str = "{:.1f}") -> str:
    """Median and range of one figure over the runs of several seeds."""
    return spread([run[key] for run in runs], form)


def finish(args: Any, results: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The end of an example: what was seen, in words; and with --json all figures, these words and the time it took."""
    print()
    for line in words:
        print(line)
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
    write_json(args.json, results)
    return results


def write_json(path: Path | None, results: Any) -> None:
    if path is not None:
        _whole(path, lambda beside: beside.write_text(json.dumps(results) + "\n", encoding="utf-8"))
        print(f"figures: {path}")


def pyplot() -> Any:
    """matplotlib.pyplot, drawing to files; or None, and a sentence, where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        print("no picture: matplotlib is not installed (pip install matplotlib, or 'minigrad[examples]')")
        return None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
            "grid.color": "#e6eaee", "axes.edgecolor": "#8793a0", "axes.axisbelow": True,
            "axes.titleweight": "bold", "legend.frameon": False,
            "savefig.dpi": 130, "figure.constrained_layout.use": True,
        }
    )  # fmt: skip
    return plt


def band(axis: Any, x: Any, curves: Any, color: str, label: str) -> None:
    """Curves of several seeds, (seeds, points), as a line, their median, and a band from the lowest to the highest."""
    axis.plot(x, np.median(curves, 0), color=color, label=label)
    axis.fill_between(x, np.min(curves, 0), np.max(curves, 0), color=color, alpha=0.15, linewidth=0)


def save_picture(figure: Any, path: Path) -> None:
    _whole(path, lambda beside: figure.savefig(beside, format=path.suffix[1:]))
    print(f"picture: {path}")


def _whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside, then rename: the file is complete or not there."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
