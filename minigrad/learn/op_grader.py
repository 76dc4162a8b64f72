"""Grading an op: gradcheck on all of its cases, and what is said of a wrong answer: never the answer itself."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from minigrad.engine import Array, Joint, Tensor, as_op
from minigrad.finite_differences import GradientReport, gradcheck
from minigrad.finite_differences.cases import CASES, Case
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


def grade_page(name: str, names: Names) -> str:
    """Grade the function that is named like an op as that op, on the cases that the copied file can take."""
    copied = as_copied(name)[name]
    return grade_op(needed(names, name), OPS[name], [c for c in CASES[name] if _fits(c, copied)])


def grade_op(
    f: Callable[..., Any],
    page: Callable[..., Tensor],
    cases: Sequence[Case],
    *,
    pretended: Callable[..., Tensor] | None = None,
) -> str:
    """Gradcheck f, the body of an op, on all the cases.

    Its value must be that of `page`. With `pretended`, the gradients are to be those of that function instead.
    """
    wrong = []
    for c in cases:
        op = as_op(as_body(f, c, page, pretended), name=f.__name__, indices=getattr(page, "indices", ()))
        report = gradcheck(c.of(op), *c.arrays, typical_size=c.typical_size, raise_error=False)
        if not report.ok:
            wrong.append((c, report))
    if wrong:
        c, report = wrong[0]
        right = f"Right in {len(cases) - len(wrong)} of {len(cases)} cases. The first that is not: {_told(c, f)}"
        others = [cause for cause in causes_in(report for _, report in wrong) if cause not in causes_in([report])]
        further = "".join(f"\nIn other cases: {cause}" for cause in others[:2])
        raise Unsolved(f"{right}\n{report}{further}")
    return f"Right in all {len(cases)} cases."


def causes_in(reports: Iterable[GradientReport]) -> list[str]:
    """The likely causes that some reports name, each once, whatever numbers are in it.

    Two cases may differ: where d is 4, a forgotten √d looks like a forgotten 2.
    """
    causes = [a.likely_cause for report in reports for a in report.arguments if a.likely_cause]
    return list({re.sub(r"\d+", "", cause): cause for cause in reversed(causes)}.values())[::-1]


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
    """Whether f takes the arrays and keywords of this case, and whether it is small enough to be checked at once."""
    try:
        inspect.signature(f).bind(*c.arrays, **c.static)
    except TypeError:
        return False
    parameters = list(inspect.signature(f).parameters.values())
    small = sum(np.size(a) for a in c.arrays) < 200
    return small and all(a is not None or p.default is None for a, p in zip(c.arrays, parameters, strict=False))


def _told(c: Case, f: Callable[..., Any]) -> str:
    """ "softmax(x of shape (3, 4), axis=0)" """
    arrays = [f"{p} of shape {np.shape(a)}" for p, a in zip(inspect.signature(f).parameters, c.arrays, strict=False)]
    return f"{f.__name__}({', '.join(arrays + [f'{k}={v}' for k, v in c.static.items()])})"
