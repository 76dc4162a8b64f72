"""`python -m minigrad exercises`: copy, list, grade, and compare with the project's own page."""

from __future__ import annotations

import argparse
import difflib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from minigrad.learn.attempt import Outcome, outcome_of
from minigrad.learn.catalogue import EXERCISES, MENDED, Exercise
from minigrad.learn.pages import beside, code, code_of, said_of, unknown
from minigrad.learn.terminal import say, wrap

FOLDER = Path("exercises")
SHOWN = 10  # lines of what a file prints
SOLVED, NOT_YET, NOT_BEGUN = "solved", "not yet", "not begun"


def add_exercises(commands: Any) -> None:
    parser = commands.add_parser(
        "exercises",
        help="derive gradients yourself, graded by gradcheck",
        description="Without a NAME: the list, and which are solved. The exit code is 0 if all of it is solved.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="grade this one, such as softmax")
    parser.add_argument(
        "--copy",
        nargs="?",
        const=FOLDER,
        type=Path,
        metavar="DIR",
        help="copy the files to work on to DIR (./exercises)",
    )
    parser.add_argument("--dir", default=FOLDER, type=Path, metavar="DIR", help="where your files are (./exercises)")
    parser.add_argument("--solution", action="store_true", help="show the project's own page beside yours")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.copy is not None:
        return copy(arguments.copy)
    if arguments.name is None:
        return list_all(arguments.dir)
    if arguments.name not in EXERCISES:
        say(unknown("exercise", arguments.name, EXERCISES))
        return 2
    exercise = EXERCISES[arguments.name]
    return show(exercise, arguments.dir) if arguments.solution else grade(exercise, arguments.dir)


def copy(folder: Path) -> int:
    """Copy all files that are not there yet. What is there stays as it is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing = [e for e in EXERCISES.values() if not (folder / e.file).exists()]
        for exercise in missing:
            (folder / exercise.file).write_text(exercise.stub, encoding="utf-8")
    except OSError as error:
        say(f"Nothing can be written to {folder}: {error.strerror}. Choose another place: --copy DIR")
        return 1
    changed = [e.file for e in EXERCISES.values() if e not in missing and _text(e, folder) != e.stub]
    say(f"{len(missing)} files copied to {folder}{os.sep}.")
    if changed:
        say(wrap(f"Left as they are, since you have worked on them: {', '.join(changed)}."))
        say("To begin one again, delete it and copy again.")
    first = next(iter(EXERCISES.values()))
    say(f"Open {folder / first.file} and write what it asks for, then:\n    {_command(first.name, folder)}")
    return 0


def list_all(folder: Path) -> int:
    """A line for each exercise, and how many are solved."""
    width_of_name = max(map(len, EXERCISES))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        states = pool.map(lambda exercise: _state(exercise, folder), EXERCISES.values())
        n_solved = 0
        for number, (exercise, state) in enumerate(zip(EXERCISES.values(), states, strict=True), 1):
            n_solved += state == SOLVED
            say(f"{number:2}  {exercise.name:{width_of_name}}  {state:{len(NOT_BEGUN)}}  {exercise.about}")
    if not folder.is_dir():
        say(f"\nThere is no folder {folder}{os.sep} yet. To begin:\n    python -m minigrad exercises --copy")
    say(f"\n{n_solved} of {len(EXERCISES)} solved")
    return 0 if n_solved == len(EXERCISES) else 1


def grade(exercise: Exercise, folder: Path) -> int:
    """Grade one file and say what came out."""
    text = _text(exercise, folder)
    if text is None:
        say(wrap(f"There is no {folder / exercise.file} yet. To begin: python -m minigrad exercises --copy"))
        return 1
    if text == exercise.stub:
        say(wrap(f"{exercise.name}: {NOT_BEGUN}. {folder / exercise.file} is as it was copied. It says what to do."))
        return 1
    outcome = outcome_of(exercise.name, folder / exercise.file)
    _tell(exercise, folder, outcome)
    return 0 if outcome.solved else 1


def _tell(exercise: Exercise, folder: Path, outcome: Outcome) -> None:
    if outcome.printed:
        lines = [f"    {line}" for line in outcome.printed.splitlines()]
        say("\n".join(["Your file printed:", *lines[:SHOWN], *(["    ..."] if len(lines) > SHOWN else [])]))
    say(wrap(f"{exercise.name}: {SOLVED if outcome.solved else NOT_YET}. {outcome.said}"))
    if outcome.solved:
        names = list(EXERCISES)
        after = names[names.index(exercise.name) + 1 :]
        what = "How it was meant to be mended" if exercise.name in MENDED else "The project's own page beside yours"
        say(f"\n{what}:\n    {_command(exercise.name, folder)} --solution")
        say(f"Next: {after[0]}" if after else "That was the last.")
    else:
        say(wrap(f"\nA worked hint stands at the end of {folder / exercise.file}."))


def show(exercise: Exercise, folder: Path) -> int:
    """The project's own page, and the attempt beside it."""
    own = _text(exercise, folder) or exercise.stub
    if exercise.name in MENDED:
        bad, good = MENDED[exercise.name]
        mended = exercise.stub.replace(bad, good)
        say("The bug, and how it can be mended:\n")
        say("\n".join(_difference(exercise.stub, mended)))
        if own not in (exercise.stub, mended):
            say("\nYour own changes:\n")
            say("\n".join(_difference(exercise.stub, own)))
        return 0
    say(wrap(said_of(exercise.pages[0])))
    say("\nYours, and minigrad's:\n")
    say(beside(code(own), "\n\n".join(map(code_of, exercise.pages))))
    return 0


def _difference(old: str, new: str) -> list[str]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=2, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def _state(exercise: Exercise, folder: Path) -> str:
    if _text(exercise, folder) in (None, exercise.stub):
        return NOT_BEGUN
    return SOLVED if outcome_of(exercise.name, folder / exercise.file).solved else NOT_YET


def _text(exercise: Exercise, folder: Path) -> str | None:
    path = folder / exercise.file
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _command(name: str, folder: Path) -> str:
    return f"python -m minigrad exercises {name}" + ("" if folder == FOLDER else f" --dir {folder}")
