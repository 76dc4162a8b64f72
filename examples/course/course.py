"""What the six notebooks share: the look of their pictures, and the check of an exercise."""

from __future__ import annotations

import inspect
import textwrap
import timeit
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import minigrad as mg
from minigrad.engine import Array, as_op

plt.rcParams.update(
    {
        "figure.figsize": (6, 3.2), "figure.dpi": 110, "figure.constrained_layout.use": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10,
        "font.size": 9, "legend.frameon": False,
    }
)  # fmt: skip

HINTS = {
    "tanh": """
        tanh = sinh/cosh, with sinh' = cosh and cosh' = sinh. The quotient rule gives
        (cosh² − sinh²)/cosh². Divide both terms by cosh², and look for y in what is left.""",
    "unbroadcast": """
        take grad of shape (2, 3, 4) and x of shape (3, 1). Axis 0 is new, axis 2 was stretched from
        length 1, and both hold copies: grad.sum((0, 2), keepdims=True).reshape(x.shape). Which axes
        are these for any shapes? The first grad.ndim − x.ndim, and those where x has length 1.""",
    "cross_entropy": """
        the loss of a row is ln Σⱼ exp(xⱼ) − xₜ. The slope of the logarithm along xᵢ is
        exp(xᵢ)/Σⱼ exp(xⱼ), which is a weight you know. The slope of −xₜ is −1 where the target is,
        else 0. And y is a mean: each of the n rows counts 1/n.""",
    "scores": """
        for a plain product S = a b, grad_a = grad_S bᵀ and grad_b = aᵀ grad_S. Here a is q and b is
        kᵀ, so k gets the transpose of what you find for b. The scale is a factor of the value, so
        it is one of each gradient.""",
    "embedding": """
        a row that is used twice gets the sum of what comes back from both uses. grad[ids] += grad_y
        reads the rows, adds, and writes them back: of two writes to one row the last one wins.
        np.add.at(grad, ids, grad_y) adds one after the other.""",
    "entropy": """
        mg.where throws the bad branch away forward. Backward, that branch still gets the gradient
        0, and 0 · ∞ is nan. Keep the 0 out of the logarithm: give it a 1 there, since ln 1 = 0.""",
}


def check_op(body: Callable[..., Any], *inputs: Any, hint: str = "") -> bool:
    """Check the body of an op: its VJPs must be written, and gradcheck must find them right."""
    hint = hint or body.__name__
    arrays = [np.asarray(a) for a in inputs]
    names = list(inspect.signature(body).parameters)
    y, vjps = body(*arrays)
    vjps = vjps if isinstance(vjps, tuple) else (vjps,)
    for name, vjp, x in zip(names, vjps, arrays, strict=True):
        if vjp is None:  # an integer argument
            continue
        grad = vjp(np.ones_like(y))
        if grad is None or grad is ...:
            return not_yet(f"The VJP of `{name}` returns nothing: it is yet to be written.", hint)
        if np.shape(grad) != x.shape:
            told = (
                f"The VJP of `{name}` returns shape {np.shape(grad)}, but `{name}` has {x.shape}."
            )
            return not_yet(told, hint)
    indices = tuple(name for name, x in zip(names, arrays, strict=True) if x.dtype.kind in "iu")
    return check(as_op(body, indices=indices), *inputs, hint=hint)


def check(f: Callable[..., Any], *inputs: Any, hint: str) -> bool:
    """Print what gradcheck says of f, and the hint if f is not right yet."""
    report = mg.gradcheck(f, *inputs, raise_error=False)
    if not report.ok:
        return not_yet(str(report), hint)
    say(f"Right. {report}")
    return True


def not_yet(said: str, hint: str) -> bool:
    say(f"Not yet. {said}\n\nHint: {' '.join(HINTS[hint].split())}")
    return False


def say(words: Any) -> None:
    """Print it in lines that fit a notebook's page."""
    for line in str(words).splitlines():
        indent = " " * (len(line) - len(line.lstrip()))
        print(textwrap.fill(line, 96, subsequent_indent=indent))


def milliseconds(f: Callable[[], Any]) -> float:
    """How long f takes: the shortest of three times, which other programs disturb the least."""
    return 1000 * min(timeit.repeat(f, number=1, repeat=3))


def catenary(xs: Sequence[float], ys: Sequence[float]) -> tuple[Array, Array]:
    """The curve c cosh(x/c), between nails at x = −1 and 1, that is as long as this rope."""
    length = np.hypot(np.diff(xs), np.diff(ys)).sum()
    c = np.linspace(0.3, 3, 100_000)
    c = c[np.abs(2 * c * np.sinh(1 / c) - length).argmin()]
    x = np.linspace(-1, 1, 200)
    return x, c * (np.cosh(x / c) - np.cosh(1 / c))
