"""What gradcheck measured and what it says about that: verdicts, figures and likely causes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal, NamedTuple

import numpy as np

from minigrad.engine import Array
from minigrad.finite_differences.causes import largest, likely_cause
from minigrad.finite_differences.function import Argument

Index = tuple[int, ...]
Verdict = Literal[
    "ok",
    "wrong gradient",
    "overwrites",
    "unused",
    "kink",
    "lost in rounding",
    "too small to tell",
    "not deterministic",
]


class Slope(NamedTuple):
    """The slope of <u, f> along one element, from its values at x − h, x and x + h."""

    h: float
    left: float  # from x − h to x
    right: float  # from x to x + h
    central: float  # from x − h to x + h
    noise: float  # how much of the slope rounding alone explains

    @property
    def gap(self) -> float:
        return abs(self.right - self.left)

    def agrees_with(self, number: float, allowed: float) -> bool:
        return bool(abs(number - self.central) <= allowed + self.noise)  # False for nan

    def is_smooth(self, curved: float) -> bool:
        return self.gap <= curved + 4 * self.noise  # False for nan


@dataclass(frozen=True)
class ArgumentCheck:
    """How the gradient of one argument compares."""

    position: int
    name: str  # "x" if known, else ""
    shape: tuple[int, ...]
    relative_error: float  # the largest |by_vjp − by_differences|, relative to the largest finite difference
    rounding: float  # how much of that can be rounding alone
    wrong: tuple[Index, ...]  # where they disagree; the worst first
    kinks: tuple[Index, ...]  # where there is no derivative
    zero: bool  # both gradients are 0, up to rounding
    unused: bool  # f never took this argument, and its output does not move with it
    lost: bool  # rounding in f is so large that a wrong gradient could not be told from a right one
    too_small: bool  # the same, since f is nearly flat here: it does move where x moves far
    index: Index  # the element that the three fields below are about: the worst, or the first kink
    by_vjp: float
    by_differences: float
    likely_cause: str  # "" if nothing is wrong
    differences: Array = field(repr=False, compare=False)  # all of by_differences

    @classmethod
    def of(
        cls, argument: Argument, slopes: dict[Index, Slope], wrong: list[Index], kinks: list[Index]
    ) -> ArgumentCheck:
        """Gather the figures: from the slope along every element, and from where it is wrong or missing."""
        x, by_vjp = argument.x, argument.by_vjp
        by_differences = np.array([slope.central for slope in slopes.values()]).reshape(x.shape)
        noise = np.array([slope.noise for slope in slopes.values()]).reshape(x.shape)
        error = np.abs(by_vjp - by_differences)
        error = np.where(np.isnan(error), np.inf, error)
        for i in kinks:
            error[i] = 0
        wrong = sorted(wrong, key=lambda i: -error[i])

        index, cause = max(slopes, key=lambda i: float(error[i]), default=()), ""
        if wrong:
            index, cause = wrong[0], likely_cause(argument, by_differences, len(wrong))
        elif kinks:
            index, cause = kinks[0], _cause_of_kink(float(x[kinks[0]]), slopes[kinks[0]])
        zero = not wrong and bool(np.all((np.abs(by_vjp) <= noise) & (np.abs(by_differences) <= noise)))
        lost = not wrong and largest(by_vjp) > 1e-10 and 0.01 * largest(by_vjp) < largest(noise)  # |u| is about 1

        only_rounding = zero and bool(by_vjp.any() or by_differences.any())

        def relative(size: float) -> float:
            whole = largest(by_differences)
            return size / whole if whole else math.inf if size else 0.0

        return cls(
            position=argument.position,
            name=argument.name,
            shape=x.shape,
            relative_error=0.0 if zero else relative(float(error.max(initial=0))),
            rounding=relative(largest(noise)),
            wrong=tuple(wrong),
            kinks=tuple(kinks),
            zero=zero,
            unused=not argument.in_graph and not by_differences.any(),
            lost=lost,
            too_small=only_rounding and argument.matters_far_away(),
            index=index,
            by_vjp=float(by_vjp[index]) if x.size else math.nan,
            by_differences=float(by_differences[index]) if x.size else math.nan,
            likely_cause=cause,
            differences=by_differences,
        )

    def __str__(self) -> str:
        who = f"argument {self.position}{f', {self.name}' if self.name else ''} of shape {self.shape}"
        if 0 in self.shape:
            return f"{who}: empty, nothing to compare"
        if self.unused:
            return (
                f"{who}: f never used it, so nothing was tested. Does f take the numbers from elsewhere? "
                f"A model's own parameters are checked by gradcheck(f, parameters=model)"
            )
        if self.wrong:
            ratio = f"{self.by_vjp / self.by_differences + 0.0:.6g}" if self.by_differences else "inf"
            return (
                f"{who}: {len(self.wrong)} of {math.prod(self.shape)} elements differ, most at {list(self.index)}\n"
                f"      by VJP          {self.by_vjp: .10g}   for a random grad_y\n"
                f"      by differences  {self.by_differences: .10g}\n"
                f"      ratio {ratio}: {self.likely_cause}"
            )
        if self.kinks:
            others = f" (and at {len(self.kinks) - 1} more)" if len(self.kinks) > 1 else ""
            return f"{who}: no derivative at {list(self.index)}{others}: {self.likely_cause}"
        if self.lost:
            return (
                f"{who}: rounding in f hides the gradient (up to {self.by_vjp:.3g} by VJP), nothing was tested: "
                f"leave out large constant parts of f's output, or take larger inputs"
            )
        if self.too_small:
            return (
                f"{who}: f is so flat here that rounding hides its slope, so nothing was tested. Take inputs where it "
                f"is steeper: for a softmax or a sigmoid, scores nearer together or nearer to 0"
            )
        if self.zero and self.by_vjp == 0 == self.by_differences:
            return f"{who}: the gradient is 0"
        if self.zero:
            return f"{who}: both gradients are nothing but rounding, so nothing was tested"
        weak = f", with {self.rounding:.1e} allowed for rounding" if self.rounding > 1e-6 else ""
        return f"{who}: agrees, worst relative error {self.relative_error:.1e}{weak}"


@dataclass(frozen=True, repr=False)
class GradientReport:
    """What `gradcheck` found. Its repr is one line; `print` it for figures and causes."""

    function: str
    verdict: Verdict
    arguments: tuple[ArgumentCheck, ...] = ()
    note: str = ""

    @classmethod
    def of(cls, function: str, checks: list[ArgumentCheck], *, estimator: bool) -> GradientReport:
        """The verdict on the whole function: the worst of its arguments."""
        if any(check.wrong for check in checks):
            note = "declared an estimator, whose gradient differs on purpose" if estimator else ""
            return cls(function, "wrong gradient", tuple(checks), note)
        if any(check.unused for check in checks):
            return cls(function, "unused", tuple(checks))
        if any(check.kinks for check in checks):
            return cls(function, "kink", tuple(checks))
        if any(check.lost for check in checks):
            return cls(function, "lost in rounding", tuple(checks))
        if any(check.too_small for check in checks):
            return cls(function, "too small to tell", tuple(checks))
        return cls(function, "ok", tuple(checks))

    @property
    def ok(self) -> bool:
        return self.verdict == "ok"

    @property
    def relative_error(self) -> float:
        """The worst of all arguments, each relative to its own largest gradient."""
        return max((a.relative_error for a in self.arguments), default=math.nan)

    def __repr__(self) -> str:
        worst = "" if math.isnan(self.relative_error) else f", worst relative error {self.relative_error:.1e}"
        return f"<gradcheck of {self.function}: {self.verdict}{worst}>"

    def __str__(self) -> str:
        head = f"gradcheck of {self.function}: {self.verdict}{f': {self.note}' if self.note else ''}"
        return "\n".join([head, *(f"  {argument}" for argument in self.arguments)])

    def _repr_html_(self) -> str:
        """What a notebook shows: the figures, in green, or in red if the gradient is wrong."""
        color = "#1f7a3d" if self.ok else "#c92a1b" if self.verdict == "wrong gradient" else "#8a5a00"
        head, *rest = escape(str(self)).split("\n")
        figures = "\n".join([f'<b style="color: {color}">{head}</b>', *rest])
        return f'<pre style="white-space: pre-wrap">{figures}</pre>'


class GradientError(AssertionError):
    """The gradient is not what finite differences say. `.report` has the figures; of one function, a GradientReport."""

    def __init__(self, report: Any) -> None:
        super().__init__(str(report))
        self.report = report


def scale_of(by_vjp: Array, slopes: dict[Index, Slope]) -> float:
    """The largest gradient: the smaller of the two estimates, so that a wild value in one excuses no error."""
    return min(largest(by_vjp), largest(np.array([slope.central for slope in slopes.values()])))


def _cause_of_kink(x: float, slope: Slope) -> str:
    sides = f"at {x:.6g} the slope is {slope.left:.6g} to the left and {slope.right:.6g} to the right"
    if math.isnan(slope.gap):
        return f"{sides}. The edge of where f is defined? Check at a point inside"
    return f"{sides}. A kink, a jump or a tie? Check at a point away from it"
