"""Grading a file: run it, and ask what it defines everything that its exercise asks."""

from __future__ import annotations

from minigrad.learn import bugs, graders
from minigrad.learn.op_grader import Names, grade_page
from minigrad.tensors.operators import OPS

GRADERS = (
    graders.GRADERS | bugs.GRADERS
)  # each returns a sentence on a right answer, and raises Unsolved on a wrong one


def grade(name: str, source: str, path: str) -> str:
    """Grade `source`, the text of the file at `path`, as the exercise `name`.

    Returns what is to be said of a right answer. Raises Unsolved for a wrong one, and whatever the file itself raises.
    """
    before = dict(OPS)
    names: Names = {"__name__": "exercise"}  # not "__main__": what a file does when it is run by itself stays out
    try:
        exec(compile(source, path, "exec"), names)
        return GRADERS[name](names) if name in GRADERS else grade_page(name, names)
    finally:
        OPS.clear()  # a file may have entered ops of its own
        OPS.update(before)
