"""`python -m minigrad explain softmax`: an op's page for a terminal, and its numbers.

Formula, derivation and code are the op's own. The check is run, the example is recorded, and what is said of each wrong
answer is what the checker says of it now.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import textwrap
from typing import Any

import numpy as np

from minigrad.debug.recording import Recording
from minigrad.engine import Tensor
from minigrad.finite_differences import gradcheck
from minigrad.finite_differences.cases import CASES, Case
from minigrad.learn.pages import code_of, said_of, unknown
from minigrad.learn.terminal import say, width, wrap, wrap_line
from minigrad.learn.wrong_answers import WRONG, verdicts_on
from minigrad.tensors.modes import watch
from minigrad.tensors.operators import OPS
from minigrad.viz.op_page import argument_names


def add_explain(commands: Any) -> None:
    parser = commands.add_parser(
        "explain",
        help="an op's formula, derivation, code, check, example, and the wrong answers people give",
        description="Print an op's page: formula, derivation, code, gradcheck, a small example, and common mistakes.",
    )
    parser.add_argument("op", metavar="OP", help="such as softmax")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the page of one op. Returns 2 if there is no such op, 1 if its gradient is wrong."""
    name = arguments.op.removeprefix("mg.").removeprefix("minigrad.")
    if name not in OPS:
        say(wrap(unknown("op", name, OPS)))
        return 2
    page = inspect.unwrap(OPS[name])
    _heading(f"{name}{inspect.signature(page)}")
    say(wrap(said_of(page)))
    _heading("The code")
    for line in code_of(page).splitlines():
        say("\n".join(wrap_line(line)))
    _heading("Its gradient against finite differences")
    ok, told = checked(name)
    say(wrap(told))
    _heading("An example, forward and back")
    say("\n".join(example(name)))
    if name in WRONG:
        _heading("Wrong answers, and what gradcheck says")
        say("\n".join(wrong_answers(name)))
    return 0 if ok else 1


def _heading(title: str) -> None:
    say(f"\n── {title} ".ljust(width() + 1, "─") + "\n" if len(title) + 5 < width() else f"\n── {title}\n")


def checked(name: str) -> tuple[bool, str]:
    """gradcheck on all cases of the op."""
    op = OPS[name]
    reports = [(c, gradcheck(c.of(op), *c.arrays, typical_size=c.typical_size, raise_error=False)) for c in CASES[name]]
    due = {True: "wrong gradient", False: "ok"}
    wrong = [report for c, report in reports if report.verdict != due[c.differs]]
    if wrong:
        return False, f"Of {len(reports)} cases {len(wrong)} are wrong. The first:\n  {wrong[0]}"
    if getattr(op, "estimator", False):
        n = sum(c.differs for c, _ in reports)
        return (
            True,
            f"An estimator: its gradient differs from the slope on purpose, and gradcheck finds it so in {n} cases.",
        )
    worst = max(report.relative_error for _, report in reports)
    return (
        True,
        f"ok in all {len(reports)} cases; the worst relative error is {worst:.1e}. The first case:\n  {reports[0][1]}",
    )


def example(name: str) -> list[str]:
    """The smallest case that shows something: what goes in, comes out, arrives, and is sent back, from a recording."""
    found = (_recorded(name, c) for c in sorted(CASES[name], key=_size))
    rows, _ = next((f for f in found if f[1]), _recorded(name, min(CASES[name], key=_size)))
    return [line for row in rows for line in _row(*row)]


def _recorded(name: str, c: Case) -> tuple[list[tuple[str, Any]], bool]:
    """Names and numbers of one call, and whether it shows something: more than one number, and a gradient."""
    arrays = [np.round(a, 2) if np.asarray(a).dtype.kind == "f" else a for a in c.arrays]
    tensors = [Tensor(a, requires_grad=True) if np.asarray(a).dtype.kind == "f" else a for a in arrays]
    recording = Recording()
    with watch(recording):
        y = OPS[name](*tensors, **c.keywords())
        y.backward(np.round(np.random.default_rng(0).uniform(-1, 1, y.shape), 1))
    assert y.node is not None
    given = [(n, t) for n, t in zip(argument_names(name, len(arrays)), tensors, strict=True) if t is not None]
    sent = [(f"grad_{n}", recording.grads[t.node]) for n, t in given if isinstance(t, Tensor) and t.node is not None]
    rows = [(n, t.data if isinstance(t, Tensor) else t) for n, t in given] + list(c.static.items())
    rows += [("y", recording.values[y.node]), ("grad_y", recording.grads[y.node]), *sent]
    return rows, all(np.abs(grad).max() > 1e-9 for _, grad in sent) and max(map(np.size, arrays)) > 2


def _size(c: Case) -> tuple[bool, int]:
    """Small ones first; those with numbers that few digits cannot show come last."""
    floats = [np.abs(a) for a in c.arrays if np.asarray(a).dtype.kind == "f"]
    readable = all(0.1 < a.max(initial=0) < 20 for a in floats)
    return not readable, sum(np.size(a) for a in c.arrays) + 3 * len(c.static)


def _row(name: str, value: Any) -> list[str]:
    if not isinstance(value, (np.ndarray, np.generic)):
        return [f"  {name:14} {value}"]
    a = np.asarray(value)
    a = a + 0.0 if a.dtype.kind == "f" else a  # −0 is 0
    text = np.array2string(a, precision=3, suppress_small=True, floatmode="fixed", max_line_width=width() - 17)
    first, *rest = text.splitlines()
    return [f"  {name:14} {first}", *(f"{'':17}{line}" for line in rest)]


def wrong_answers(name: str) -> list[str]:
    lines: list[str] = []
    for right, group in itertools.groupby(WRONG[name], key=lambda wrong: wrong.right):
        lines += wrap_line(f"  In place of  {right}")
        for wrong in group:
            lines += ["", *wrap_line(f"      {wrong.wrong}      ({wrong.why})")]
            for said in verdicts_on(name, wrong):
                lines += textwrap.wrap(f"→ {said}", width(), initial_indent=" " * 10, subsequent_indent=" " * 12)
        lines.append("")
    return lines[:-1]
