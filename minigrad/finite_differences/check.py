"""gradcheck: is a gradient right? Ask the function itself, by moving each input a little.

A VJP promises the slope of <u, f(x)> = Σ u·f(x) along every element xᵢ, for any u. That slope can be had without it:

    (<u, f(x + h eᵢ)> − <u, f(x − h eᵢ)>) / 2h        off by about h² (curvature) and ε|f|/h (rounding)

    u           random, every |uᵢ| at least ½. With u = 1 a softmax always sums to 1, its gradient is 0, and a wrong
                VJP that returns 0 passes: the commonest way to test nothing
    h           ε^(1/3) · max(|xᵢ|, typical size), where the two errors balance; ε = 2⁻⁵² in float64. The typical size
                keeps h above 0 at xᵢ = 0. Where the slope still depends on h, h is halved until it settles
    agreement   up to a millionth of the argument's largest gradient, plus what rounding explains. Nothing absolute:
                the wrong sign on 1e-8 x² is as wrong as on x²
    kink        where the slopes to the left and to the right differ, and h/2 does not bring them closer, there is
                nothing to compare with: neither a pass nor a wrong gradient, but a verdict of its own
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from minigrad.engine import Array, Leaf, Node, Tensor, newest_first
from minigrad.tensors.modes import no_grad

Index = tuple[int, ...]
Verdict = Literal["ok", "wrong gradient", "kink", "lost in rounding", "not deterministic"]

EPS = float(np.finfo(np.float64).eps)
ROUNDING = 10  # f is taken to be exact to this many ε: it adds up the rounding of many steps
CURVED = 1e-4  # one-sided slopes further apart than this (relative) are looked at with h/2; for x² it is 1e-5
HALVINGS = 40  # at most; rounding, which doubles each time, ends it sooner
SHRINKS = 0.75  # at h/2 the gap of the one-sided slopes is ½ where f is smooth, 1 at a kink, 2 at a jump


class GradientError(AssertionError):
    """The gradient is not what finite differences say. `.report` has the figures."""

    def __init__(self, report: GradientReport) -> None:
        super().__init__(str(report))
        self.report = report


@dataclass(frozen=True)
class ArgumentCheck:
    """How the gradient of one argument compares."""

    position: int
    name: str  # "x" if known, else ""
    shape: tuple[int, ...]
    relative_error: float  # the largest |by_vjp − by_differences|, relative to the largest finite difference
    rounding: float  # how much of that rounding alone may be
    wrong: tuple[Index, ...]  # where they disagree; the worst first
    kinks: tuple[Index, ...]  # where there is no derivative
    zero: bool  # both gradients are 0, up to rounding
    lost: bool  # rounding in f is so large that a wrong gradient could not be told from a right one
    index: Index  # the element the rest is about: the worst, or the first kink
    by_vjp: float
    by_differences: float
    likely_cause: str  # "" if nothing is wrong

    def __str__(self) -> str:
        who = f"argument {self.position}{f', {self.name}' if self.name else ''} of shape {self.shape}"
        if 0 in self.shape:
            return f"{who}: empty, nothing to compare"
        if self.wrong:
            ratio = f"{self.by_vjp / self.by_differences + 0.0:.6g}" if self.by_differences else "inf"
            return (
                f"{who}: {len(self.wrong)} of {math.prod(self.shape)} elements differ, most at {list(self.index)}\n"
                f"      by VJP          {self.by_vjp: .10g}\n"
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
        if self.zero:
            exactly = self.by_vjp == 0 == self.by_differences
            return (
                f"{who}: {'the gradient is 0' if exactly else 'both gradients are mere rounding: nothing was tested'}"
            )
        weak = f", with {self.rounding:.1e} allowed for rounding" if self.rounding > 1e-6 else ""
        return f"{who}: agrees, worst relative error {self.relative_error:.1e}{weak}"


@dataclass(frozen=True)
class GradientReport:
    """What `gradcheck` found; `print` it."""

    function: str
    verdict: Verdict
    arguments: tuple[ArgumentCheck, ...] = ()
    note: str = ""

    @property
    def ok(self) -> bool:
        return self.verdict == "ok"

    @property
    def relative_error(self) -> float:
        """The worst of all arguments, each relative to its own largest gradient."""
        return max((a.relative_error for a in self.arguments), default=math.nan)

    def __str__(self) -> str:
        head = f"gradcheck of {self.function}: {self.verdict}{f': {self.note}' if self.note else ''}"
        return "\n".join([head, *(f"  {argument}" for argument in self.arguments)])


def gradcheck(
    f: Callable[..., Tensor],
    *inputs: Any,
    rng: np.random.Generator | None = None,
    typical_size: float | None = None,
    tolerance: float = 1e-6,
    raise_error: bool = True,
) -> GradientReport:
    """Compare the gradient of `f` at `inputs` with central finite differences, in float64, every element.

        gradcheck(softmax, np.array([4.0, 2.0, 1.0]))
        gradcheck(lambda x, w: gelu(x @ w), x, w)

    Arguments:
        f: takes Tensors and returns one. It must give the same output each time: dropout needs a fresh generator for
            each call, `lambda x: dropout(x, p=0.5, rng=np.random.default_rng(0))`.
        inputs: what f takes: arrays, lists (of floats, as for `Tensor`) or Tensors. Integer and boolean arrays, and
            None, are handed to f as they are.
        rng: draws the random u; left out, the same u each time.
        typical_size: how large the inputs typically are, which sets the step h; left out, the root mean square of
            each argument.
        tolerance: the relative error that passes.
        raise_error: False returns the report of a failure instead of raising it.

    Returns the report. Raises GradientError, an AssertionError, unless the verdict is "ok"; ValueError where the inputs
    or f(inputs) contain nan; TypeError where nothing can be differentiated.
    """
    arrays = [_array(i, given) for i, given in enumerate(inputs)]
    names = _parameter_names(f, inputs)
    floating = {i: array for i, array in enumerate(arrays) if array is not None and array.dtype.kind == "f"}
    if not floating:
        raise TypeError("gradcheck found nothing to differentiate: no input is a float array")

    leaves = {i: Tensor(x, requires_grad=True, name=names[i] or None) for i, x in floating.items()}
    y = f(*(leaves[i] if i in leaves else array if array is None else Tensor(array) for i, array in enumerate(arrays)))
    function = _name(f, y)
    _check_output(function, y)

    def value(position: int, x: Array) -> Array:
        """f with one of the arguments replaced."""
        changed = [x if i == position else array for i, array in enumerate(arrays)]
        with no_grad(), np.errstate(all="ignore"):
            return f(*(array if array is None else Tensor(array) for array in changed)).data

    first, x = next(iter(floating.items()))
    if not np.array_equal(y.data, value(first, x)):
        note = "two calls with the same inputs differ. Does f draw random numbers? Give it a fresh rng in each call"
        report = GradientReport(function, "not deterministic", note=note)
    else:
        rng = rng or np.random.default_rng(0)
        u = rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1.0, 1.0], y.shape)
        _backward_leaving_no_trace(y, u, own=[leaf.node for leaf in leaves.values()])
        checks = []
        for i, x in floating.items():
            slopes = _Slopes(functools.partial(value, i), x, y.data, u)
            checks.append(_compare(i, names[i], leaves[i].grad, slopes, typical_size, tolerance))
        wrong = any(check.wrong for check in checks)
        kinks = any(check.kinks for check in checks)
        note = "declared an estimator, whose gradient differs on purpose" if getattr(f, "estimator", False) else ""
        lost = any(check.lost for check in checks)
        verdict: Verdict = (
            "wrong gradient" if wrong else "kink" if kinks else "lost in rounding" if lost else "ok"
        )  # fmt: skip
        report = GradientReport(function, verdict, tuple(checks), note if wrong else "")

    if raise_error and not report.ok:
        raise GradientError(report)
    return report


def _backward_leaving_no_trace(y: Tensor, u: Array, own: list[Node | None]) -> None:
    """Only our own leaves keep a gradient; parameters that f uses besides have theirs as before."""
    if y.node is None:
        return
    others = [node for node in newest_first(y.node) if isinstance(node, Leaf) and node not in own]
    before = [None if leaf.grad is None else leaf.grad.copy() for leaf in others]
    with np.errstate(all="ignore"):
        y.backward(u)
    for leaf, grad in zip(others, before, strict=True):
        if grad is None or leaf.grad is None:
            leaf.grad = grad
        else:
            leaf.grad[...] = grad


# --- finite differences ------------------------------------------------------------------------------------------


class _Slope(NamedTuple):
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


class _Slopes:
    """The slopes of <u, f(x)> along each element of one argument x."""

    def __init__(self, f: Callable[[Array], Array], x: Array, y: Array, u: Array) -> None:
        self.f, self.x, self.y, self.u = f, x, y, u

    def at(self, index: Index, h: float) -> _Slope:
        x = self.x[index]
        above, below = x + h, x - h  # as rounded: above − below is what was really moved, not quite 2h
        y_above, y_below = self._moved_to(index, above), self._moved_to(index, below)
        magnitude = np.maximum(_finite_abs(y_above), _finite_abs(y_below))
        return _Slope(
            h,
            left=self._change(self.y, y_below) / (x - below),
            right=self._change(y_above, self.y) / (above - x),
            central=self._change(y_above, y_below) / (above - below),
            noise=ROUNDING * EPS * float(np.sum(np.abs(self.u) * magnitude)) / (above - below),
        )

    def _moved_to(self, index: Index, number: float) -> Array:
        x = self.x.copy()
        x[index] = number
        return self.f(x)

    def _change(self, y: Array, y_before: Array) -> float:
        """<u, y − y_before>, subtracted first, so that outputs that did not move add no rounding."""
        with np.errstate(invalid="ignore"):
            change = np.where(y == y_before, 0, y - y_before)  # −inf stays −inf: no change
            return float(np.sum(self.u * change))


def _finite_abs(y: Array) -> Array:
    return np.where(np.isfinite(y), np.abs(y), 0)


def _measure(
    slopes: _Slopes, by_vjp: Array, typical_size: float | None, tolerance: float
) -> tuple[dict[Index, _Slope], list[Index]]:
    """The slope along every element, settled, and the elements that have none."""
    x = slopes.x
    typical = typical_size or math.sqrt(np.mean(x * x) if x.size else 0) or 1.0
    found = {i: slopes.at(i, EPS ** (1 / 3) * max(abs(float(x[i])), typical)) for i in np.ndindex(x.shape)}
    scale = _scale(by_vjp, found)
    kinks = []
    for i, slope in found.items():
        if not slope.agrees_with(float(by_vjp[i]), tolerance * scale) or not slope.is_smooth(CURVED * scale):
            found[i], settled = _look_closer(slopes, i, slope, tolerance, scale)
            if not settled:
                kinks.append(i)
    return found, kinks


def _look_closer(slopes: _Slopes, index: Index, slope: _Slope, tolerance: float, scale: float) -> tuple[_Slope, bool]:
    """Halve h until the slope no longer depends on it. Returns the last slope, and False if there is no derivative."""
    for _ in range(HALVINGS):
        finer = slopes.at(index, slope.h / 2)
        if finer.gap > SHRINKS * slope.gap and not finer.is_smooth(CURVED * scale):
            return finer, False
        allowed = tolerance * max(scale, abs(finer.central)) if math.isfinite(finer.central) else math.inf
        settled = finer.agrees_with(slope.central, allowed) and finer.is_smooth(CURVED * scale)
        slope = finer
        if settled or finer.noise > allowed:
            break
    return slope, math.isfinite(slope.gap)


def _scale(by_vjp: Array, found: dict[Index, _Slope]) -> float:
    """The largest gradient. Of two opinions the smaller: a wild value on one side excuses nothing on the other."""
    return min(_largest(by_vjp), _largest(np.array([slope.central for slope in found.values()])))


def _compare(
    position: int, name: str, grad: Array | None, slopes: _Slopes, typical_size: float | None, tolerance: float
) -> ArgumentCheck:
    x = slopes.x
    by_vjp = np.zeros_like(x) if grad is None else grad
    found, kinks = _measure(slopes, by_vjp, typical_size, tolerance)
    allowed = tolerance * _scale(by_vjp, found)
    wrong = [i for i, slope in found.items() if i not in kinks and not slope.agrees_with(float(by_vjp[i]), allowed)]
    zero = not wrong and all(abs(by_vjp[i]) <= s.noise and abs(s.central) <= s.noise for i, s in found.items())

    noise = max((slope.noise for slope in found.values()), default=0.0)
    lost = not wrong and 0.01 * _largest(by_vjp) < noise and _largest(by_vjp) > 1e-10  # |u| is about 1

    by_differences = np.array([found[i].central for i in np.ndindex(x.shape)]).reshape(x.shape)
    error = np.abs(by_vjp - by_differences)
    error = np.where(np.isnan(error), np.inf, error)
    for i in kinks:
        error[i] = 0
    wrong.sort(key=lambda i: -error[i])
    largest = _largest(by_differences)

    def relative(size: float) -> float:
        return size / largest if largest else math.inf if size else 0.0

    index: Index = ()
    cause = ""
    if wrong:
        index = wrong[0]
        cause = _cause_of_difference(grad, by_vjp, by_differences, len(wrong), slopes.y.shape)
    elif kinks:
        index = kinks[0]
        cause = _cause_of_kink(float(x[index]), found[index])
    elif x.size:
        index = max(found, key=lambda i: float(error[i]))
    return ArgumentCheck(
        position=position,
        name=name,
        shape=x.shape,
        relative_error=0.0 if zero else relative(float(error.max(initial=0))),
        rounding=relative(noise),
        wrong=tuple(wrong),
        kinks=tuple(kinks),
        zero=zero,
        lost=lost,
        index=index,
        by_vjp=float(by_vjp[index]) if x.size else math.nan,
        by_differences=float(by_differences[index]) if x.size else math.nan,
        likely_cause=cause,
    )


def _largest(numbers: Array) -> float:
    return float(_finite_abs(numbers).max(initial=0))


# --- what may be wrong -------------------------------------------------------------------------------------------


def _cause_of_difference(grad: Array | None, by_vjp: Array, true: Array, n_wrong: int, y_shape: tuple[int, ...]) -> str:
    """Which common mistake would explain these numbers?"""
    if grad is None:
        return "no gradient arrived. Is the graph cut by detach(), .numpy() or no_grad()?"
    if not true.any():
        return "f does not change. A gradient where there should be none?"
    if not by_vjp.any():
        return "the VJP returns 0"
    off = _largest(by_vjp - true)

    def same(a: Array, b: Array) -> bool:
        return _largest(a - b) <= 0.01 * off  # what is left of the difference, if this were the mistake

    shape = true.shape
    ratio = float(np.sum(by_vjp * true) / np.sum(true * true))
    if same(by_vjp, ratio * true) and (n_wrong > 1 or true.size == 1):
        known = {-1.0: "sign", 2.0: "counted twice?", 0.5: "counted once instead of twice, or a factor 2 forgotten?"}
        for n in {*shape, *y_shape} - {0, 1, 2}:
            known[n] = f"summed over an axis of length {n} instead of averaged?"
            known[1 / n] = f"averaged over an axis of length {n} instead of summed?"
        return next(
            (cause for r, cause in known.items() if math.isclose(ratio, r, rel_tol=1e-5)),
            "the same everywhere: a constant factor?",
        )
    if off < 1e-3 * _largest(true):
        return "almost right. A small term, an eps, or large numbers cancelling inside f?"
    if same(np.abs(by_vjp), np.abs(true)):
        return "sign, at some elements"
    if len(shape) >= 2 and shape[-1] == shape[-2] and same(by_vjp.swapaxes(-1, -2), true):
        return "transposed?"
    if same(np.sort(by_vjp, None), np.sort(true, None)):
        return "the right numbers in the wrong places: permuted?"
    if shape != y_shape and _broadcasts(shape, y_shape):
        return "not summed over a broadcast axis?"
    if n_wrong <= true.size / 2:
        return "right elsewhere. A mask, a boundary, or a repeated index?"
    return "a term missing?"


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def _cause_of_kink(x: float, slope: _Slope) -> str:
    sides = f"at {x:.6g} the slope is {slope.left:.6g} to the left and {slope.right:.6g} to the right"
    if math.isnan(slope.gap):
        return f"{sides}. The edge of where f is defined? Check at a point inside"
    return f"{sides}. A kink, a jump or a tie? Check at a point away from it"


# --- inputs and outputs ------------------------------------------------------------------------------------------


def _array(position: int, given: Any) -> Array | None:
    """A float64 array, or an integer or boolean one as it is."""
    if given is None:
        return None
    array = Tensor(given).data  # lists of numbers become floats here, as everywhere
    if array.dtype.kind != "f":
        return array
    array = np.array(given.data if isinstance(given, Tensor) else given, dtype=np.float64)
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(
            f"gradcheck got {array[tuple(bad)]} at {bad} of argument {position}: differences need finite inputs"
        )
    return array


def _check_output(function: str, y: Any) -> None:
    if not isinstance(y, Tensor):
        raise TypeError(f"gradcheck needs a function that returns one Tensor; {function} returned {type(y).__name__}")
    if y.dtype != np.float64:
        raise TypeError(
            f"{function} made {y.dtype} of float64 inputs: differences need full precision, "
            f"so convert nothing inside the function"
        )
    if np.isnan(y.data).any():
        bad = np.argwhere(np.isnan(y.data))[0].tolist()
        raise ValueError(f"{function} of these inputs is nan at {bad}: there is nothing to compare")


def _parameter_names(f: Callable[..., Tensor], inputs: tuple[Any, ...]) -> list[str]:
    """What the arguments are called: by themselves if they are named Tensors, else by f."""
    try:
        parameters = [p for p in inspect.signature(f).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        parameters = []
    by_f = [p.name for p in parameters] + [""] * len(inputs)
    return [getattr(given, "name", None) or name for given, name in zip(inputs, by_f, strict=False)]


def _name(f: Callable[..., Tensor], y: Any) -> str:
    """The op, if f is just one; else the function's name and the ops it is made of, in order."""
    name = getattr(f, "__name__", type(f).__name__)
    node: Node | None = y.node if isinstance(y, Tensor) else None
    ops = list(dict.fromkeys(n.op for n in reversed(newest_first(node)) if n.op)) if node else []
    if len(ops) == 1:
        return ops[0]
    made_of = ", ".join(ops[:6]) + (", ..." if len(ops) > 6 else "")
    return made_of if name == "<lambda>" and ops else f"{name} ({made_of})" if ops else name
