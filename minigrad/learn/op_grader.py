"""Grading an op: gradcheck on all of its cases, and what is said of a wrong answer: never the answer itself."""

from __future__ import annotations

import functools
import inspect
import re
import textwrap
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad.engine import Array, Joint, Tensor, as_op
from minigrad.finite_differences import GradientReport, gradcheck
from minigrad.finite_differences.cases import CASES, Case, case
from minigrad.learn.catalogue import EXERCISES
from minigrad.tensors.operators import OPS

Names = dict[str, Any]  # what a file defines


class Unsolved(Exception):
    """Why an attempt is not right yet, in sentences."""


def needed(names: Names, name: str) -> Callable[..., Any]:
    if not callable(names.get(name)):
        raise Unsolved(f"The file does not define the function {name}().")
    f: Callable[..., Any] = names[name]
    return f


def as_copied(name: str) -> Names:
    """What the file of an exercise defined before anybody worked on it."""
    before = dict(OPS)
    names: Names = {"__name__": "exercise"}
    try:
        exec(EXERCISES[name].stub, names)
    finally:
        OPS.clear()  # it may have entered ops of its own
        OPS.update(before)
    return names


def raised(error: BaseException, path: str) -> str:
    """A sentence on an error, with the innermost line of the file at `path` that it went through."""
    told = f"{type(error).__name__}: {error}".rstrip(": ")
    for link in (error.__cause__, error):  # an op raises the error of its body again, with its own name in it
        frames = traceback.extract_tb(link.__traceback__) if link is not None else []
        lines = [frame for frame in frames if frame.filename == path]
        if lines:
            return f"line {lines[-1].lineno}, `{lines[-1].line}`, raises {told}"
    return told


def grade_page(name: str, names: Names) -> str:
    """Grade the function that is named like an op as that op, on the cases that the copied file can take."""
    copied = as_copied(name)[name]
    return grade_op(needed(names, name), OPS[name], [c for c in small_cases(name) if _fits(c, copied)])


def small_cases(name: str) -> list[Case]:
    """The cases of an op that are checked in no time; the large ones are there for its kernel."""
    cases = MATRICES if name == "matmul" else MORE.get(name, []) + CASES[name]
    return [c for c in cases if sum(np.size(a) for a in c.arrays) < 200]


MATRICES = [c for c in CASES["matmul"] if all(np.ndim(a) > 1 for a in c.arrays)]  # a vector's axes are another exercise
_rng = np.random.default_rng(9)
MORE = {"attention": [case(*(_rng.normal(size=shape) for shape in ((3, 5), (4, 5), (4, 2))))]}  # √5 looks like no other


def grade_op(
    f: Callable[..., Any],
    page: Callable[..., Tensor],
    cases: Sequence[Case],
    *,
    pretended: Callable[..., Tensor] | None = None,
    path: str = "",
) -> str:
    """Gradcheck f, the body of an op, on all the cases.

    Its value must be that of `page`. With `pretended`, its gradients must be those of that function instead. Of an
    error, the line in the file at `path` is told, by default in that of f.
    """
    path = path or inspect.unwrap(f).__code__.co_filename
    reports: list[GradientReport] = []
    wrong: list[tuple[Case, str]] = []
    for c in cases:
        try:
            op = as_op(as_body(f, c, page, pretended), name=f.__name__, indices=getattr(page, "indices", ()))
            report = gradcheck(c.of(op), *c.arrays, typical_size=c.typical_size, raise_error=False)
        except (ValueError, TypeError, IndexError) as error:  # shapes that do not fit here may fit in other cases
            wrong.append((c, raised(error, path)))
            continue
        if not report.ok:
            reports.append(report)
            wrong.append((c, f"{report}{_only_at(report)}"))
    if not wrong:
        return f"Right in all {len(cases)} cases."
    c, said = wrong[0]
    right = f"Right in {len(cases) - len(wrong)} of {len(cases)} cases. The first that is not: {_told(c, f)}"
    telling = [
        f"\n  In another case: {hint}" for hint in hints_in(reports) if hint not in said and TELLING.search(hint)
    ]
    raise Unsolved(f"{right}:\n{textwrap.indent(said, '  ')}{''.join(telling)}")


TELLING = re.compile(r"√|averaged over|repeated index|transposed")  # what is no coincidence


def hints_in(reports: Sequence[GradientReport]) -> list[str]:
    """The likely causes in the first of some reports, and those in the others that say more.

    In a single case one mistake may look like another: where d is 4, a forgotten √d is a factor 2.
    """
    causes = [[a.likely_cause for a in report.arguments if a.likely_cause] or [report.note] for report in reports]
    others = [cause for found in causes[1:] for cause in found if TELLING.search(cause)]
    unlike = {re.sub(r"\d+", "", cause): cause for cause in [*others[::-1], *(causes[0] if causes else [])]}
    return list(unlike.values())[::-1]


def _only_at(report: GradientReport) -> str:
    """Where the wrong elements of an argument lie, if in a part of it: a row picked twice, one gate of three."""
    said = ""
    for a in report.arguments:
        for axis, n in enumerate(a.shape):
            places = sorted({index[axis] for index in a.wrong})
            if 0 < len(places) < n:
                said += f"\n{a.name}: all wrong elements lie at {places} along axis {axis}"
    return said


def as_body(
    f: Callable[..., Any], c: Case, page: Callable[..., Tensor], pretended: Callable[..., Tensor] | None = None
) -> Callable[..., Any]:
    """f as the body of an op, with a sentence where it returns what no such body does, or another value than `page`."""
    result = f(*c.arrays, **c.keywords())
    if not isinstance(result, tuple) or len(result) != 2:
        raise Unsolved(f"{f.__name__}() must return two things, its value and its VJPs, as in the file you copied.")
    y, right = result[0], c.of(page)(*c.arrays).data
    if np.shape(y) != right.shape or not np.allclose(y, right, rtol=1e-6, atol=1e-9, equal_nan=True):
        told = f"The value of {f.__name__}() is not what it was in the file you copied"
        raise Unsolved(f"{told}. It was right: write only the VJPs.")

    @functools.wraps(f)
    def body(*arrays: Array, **static: Any) -> Any:
        y, vjps = f(*arrays, **static)
        y = y if pretended is None else pretended(*arrays, **static).data
        if isinstance(vjps, Joint):
            return y, Joint(_returning(vjps.vjp, f))
        if isinstance(vjps, tuple):
            return y, tuple(vjp and _returning(vjp, f) for vjp in vjps)
        return y, _returning(vjps, f)

    return body


def _returning(vjp: Any, f: Callable[..., Any]) -> Any:
    @functools.wraps(vjp)
    def checked(grad_y: Array) -> Any:
        grad = vjp(grad_y)
        if any(g is None or g is ... for g in (grad if isinstance(grad, tuple) else (grad,))):
            raise Unsolved(
                f"{vjp.__name__}() of {f.__name__}() returns nothing: its line is not written, or has no `return`."
            )
        return grad

    return checked


def _fits(c: Case, f: Callable[..., Any]) -> bool:
    """Whether f takes the arrays and keywords of this case."""
    try:
        inspect.signature(f).bind(*c.arrays, **c.static)
    except TypeError:
        return False
    parameters = list(inspect.signature(f).parameters.values())
    return all(a is not None or p.default is None for a, p in zip(c.arrays, parameters, strict=False))


def _told(c: Case, f: Callable[..., Any]) -> str:
    """ "softmax(x of shape (3, 4), axis=0)" """
    arrays = [f"{p} of shape {np.shape(a)}" for p, a in zip(inspect.signature(f).parameters, c.arrays, strict=False)]
    return f"{f.__name__}({', '.join(arrays + [f'{k}={v}' for k, v in c.static.items()])})"
