"""What the examples say to a terminal: words and tables of its width, progress, letters it has, one line at Ctrl-C."""

from __future__ import annotations

import codecs
import contextlib
import io
import multiprocessing
import os
import shutil
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

# --- the program -----------------------------------------------------------------------------------------------------


def tell(main: Callable[[], Any]) -> None:
    """Run an example as a program. No traceback for Ctrl-C, a letter the terminal lacks, or a closed pipe."""
    listen()
    sys.stdout, sys.stderr = Patient(sys.stdout), Patient(sys.stderr)
    main()
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done


def listen() -> None:
    """From now on Ctrl-C ends the program within 2 seconds, with one line and exit code 130."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
        sys.unraisablehook = lambda lost: leave() if lost.exc_type is SystemExit else sys.__unraisablehook__(lost)


def stop(*_: Any) -> None:
    """Unwind, so that half-written files and other processes go. Where that is held up, end without it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
    line = "\n" * sys.stderr.isatty() + "stopped by Ctrl-C before the end\n"
    with contextlib.suppress(OSError):
        os.write(2, line.encode())  # sys.stderr may be in the middle of a line
    late = threading.Timer(1.5, leave)
    late.daemon = True
    late.start()
    sys.exit(130)


def leave() -> None:
    for process in multiprocessing.active_children():
        process.kill()
    os._exit(130)


class Patient:
    """A stream that no letter stops, nor a closed pipe: the program goes on, and its results are still written."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")

    def write(self, text: str) -> int:
        self._unless_closed(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._unless_closed(self.stream.flush)

    def _unless_closed(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except BrokenPipeError:  # nobody reads any more: what follows goes nowhere
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


# What a terminal that lacks one of these letters shows instead; for any other letter it shows "?".
PLAIN = {
    "→": "->", "←": "<-", "−": "-", "–": "-", "—": "-", "±": "+-", "×": "x", "·": ".", "√": "sqrt", "∞": "inf",
    "≤": "<=", "≥": ">=", "≈": "~", "∇": "grad ", "∂": "d", "τ": "tau", "█": "#", "…": "...",
}  # fmt: skip


def plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(PLAIN.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


codecs.register_error("plain", plain)

# --- words and tables ------------------------------------------------------------------------------------------------


def width() -> int:
    """Letters in a line of the terminal; 80 where that is unknown."""
    return max(20, shutil.get_terminal_size((80, 24)).columns)


def spelled(text: str) -> str:
    """The text as standard output will show it."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "plain").decode(encoding)


def fill(line: str) -> str:
    """A line that is too long for the terminal goes on below, under where its words began."""
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(
        spelled(line), width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def say(text: str = "") -> None:
    """Print lines, wrapped to the terminal."""
    print(*map(fill, text.split("\n")), sep="\n")


def reflow(doc: str | None) -> str:
    """A docstring for the terminal: its paragraphs get new line ends, its indented lines stay where they fit."""
    found: list[str] = []
    for line in (doc or "").splitlines():
        if found and all(text[:1].strip() for text in (found[-1], line)):
            found[-1] += f" {line}"
        else:
            found.append(line)
    return "\n".join(map(fill, found))


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their heads; the first column to the left, the others to the right.

    Where the terminal is too narrow, heads take several lines. Columns that still have no room follow below, beside
    the first column again; and rows become columns where that needs fewer parts.
    """
    say(f"\n{title}")
    lines = [[spelled(str(cell)) for cell in line] for line in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if sum(widths) + 2 * len(widths) - 2 > width():
        ways = [(way, narrow(way)) for way in (lines, list(zip(*lines, strict=True)))]
        lines, widths = min(ways, key=lambda way: len(list(groups(way[1]))))
    for i, shown in enumerate(groups(widths)):
        if i:
            print()
        for n, line in enumerate([lines[0], ["-" * w for w in widths], *lines[1:]]):
            print_row([line[c] for c in shown], [widths[c] for c in shown], to_the_bottom=n == 0)


def narrow(lines: Sequence[Sequence[str]]) -> list[int]:
    """The widths of columns whose heads are broken at every word, and the first column where there is no room."""
    widths = [max(map(len, [*name.split(), *cells])) for name, *cells in zip(*lines, strict=True)]
    widths[0] = min(widths[0], max(12, width() - 2 - max(widths[1:], default=0)))
    return widths


def groups(widths: Sequence[int]) -> Iterator[list[int]]:
    """The columns that fit beside each other, and beside the first one, which is in every group."""
    columns = [0]
    for c in range(1, len(widths)):
        if len(columns) > 1 and sum(widths[i] + 2 for i in columns) + widths[c] > width():
            yield columns
            columns = [0]
        columns.append(c)
    yield columns


def print_row(cells: Sequence[str], widths: Sequence[int], to_the_bottom: bool) -> None:
    blocks = [textwrap.wrap(cell, max(1, w), break_on_hyphens=False) for cell, w in zip(cells, widths, strict=True)]
    height = max(1, *map(len, blocks))
    for y in range(height):
        at = [y - height + len(block) if to_the_bottom else y for block in blocks]
        first, *others = (block[i] if 0 <= i < len(block) else "" for i, block in zip(at, blocks, strict=True))
        parts = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))]
        print("  ".join(parts).rstrip())


# --- progress --------------------------------------------------------------------------------------------------------


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
            self._show(", ".join(parts)) if self.terminal else print(", ".join(parts), file=sys.stderr, flush=True)

    def print(self, line: str) -> None:
        """Print a line that stays."""
        self.clear()
        print(line, flush=True)

    def clear(self) -> None:
        if self.terminal:
            self._show("")
            print("\r", end="", file=sys.stderr, flush=True)

    def _show(self, line: str) -> None:
        """Over the line shown before. A line as long as the terminal would begin another one."""
        room = width() - 1
        print(f"\r{line[:room]:<{room}}", end="", file=sys.stderr, flush=True)


# --- the start -------------------------------------------------------------------------------------------------------

if Path(getattr(sys.modules["__main__"], "__file__", None) or "").parent.resolve() == Path(__file__).parent.resolve():
    listen()  # an example is the program: Ctrl-C may arrive while it still loads
