"""Grading what somebody wrote, in a process of its own: it may raise, print, loop for ever or end the process.

`outcome_of` starts this file as a program, waits, and reads one line of JSON.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from minigrad.learn.grading import grade
from minigrad.learn.op_grader import Unsolved, raised

LIMIT = 20.0  # seconds; the longest takes one or two
KEPT = 1_000  # characters of what the file prints


class Outcome(NamedTuple):
    solved: bool
    said: str
    printed: str = ""  # by the file, on the way


def outcome_of(name: str, path: Path, limit: float = LIMIT) -> Outcome:
    """Grade the file at `path` as the exercise `name`, for at most `limit` seconds."""
    command = [sys.executable, "-m", "minigrad.learn.attempt", name, str(path)]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONUTF8": "1"}
    try:
        run = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=limit, env=environment, encoding="utf-8"
        )
    except subprocess.TimeoutExpired:
        return Outcome(
            False, f"It was still running after {limit:g} seconds, so it was stopped. Does a loop never end?"
        )
    try:
        return Outcome(**json.loads(run.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        last = run.stderr.strip().splitlines()[-1:]
        return Outcome(False, " ".join([f"The file ended Python itself (exit code {run.returncode}).", *last]))


class _Printed(io.StringIO):
    """What is printed, up to a limit: a loop that prints fills no memory."""

    def write(self, text: str) -> int:
        return super().write(text[: max(0, KEPT - self.tell())])


def _outcome(name: str, path: str) -> Outcome:
    """What `outcome_of` returns, found in this process."""
    printed = _Printed()
    stdout, sys.stdout = sys.stdout, printed
    try:
        solved, said = True, grade(name, Path(path).read_text(encoding="utf-8"), path)
    except Unsolved as found:
        solved, said = False, str(found)
    except BaseException as error:  # SystemExit and KeyboardInterrupt, too
        solved, said = False, _raised(error, path)
    finally:
        sys.stdout = stdout
    return Outcome(solved, said, printed.getvalue())


def _raised(error: BaseException, path: str) -> str:
    if isinstance(error, SyntaxError):
        return f"Line {error.lineno} is not Python: {error.msg}: {(error.text or '').strip()}"
    if isinstance(error, UnicodeDecodeError):
        return "The file is not text in UTF-8."
    said = raised(error, path)
    return said[0].upper() + said[1:]


if __name__ == "__main__":
    print("\n" + json.dumps(_outcome(*sys.argv[1:])._asdict()), flush=True)
    os._exit(0)  # whatever the file started, threads for instance, ends here
