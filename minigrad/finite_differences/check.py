"""gradcheck: is a gradient right? Ask the function itself, by moving each input a little.

A VJP claims to know the slope of <u, f(x)> = Σ u·f(x) along every element xᵢ, for any weights u (the cotangent).
Differences measure that slope and need no VJP. Let s(h) be <u, f> after xᵢ has moved by h, and let s₀, s′, s″ and s‴
be its value and its derivatives at h = 0. Taylor's series,

    s(±h) = s₀ ± h s′ + h²/2 s″ ± h³/6 s‴ + ...

gives the central difference, in which the curvature s″ cancels:

    (s(h) − s(−h)) / 2h = s′ + h²/6 s‴ + ...

How large should h be? The error h²/6 |s‴| shrinks with h. Rounding grows: s(±h) is off by about ε|s₀|, with ε = 2⁻⁵² in
float64, and dividing by h makes that ε|s₀|/h. The sum of both is smallest where its derivative by h is 0:

    h/3 |s‴| = ε|s₀|/h²      so      h = (3ε |s₀|/|s‴|)^(1/3) ≈ ε^(1/3) · size

since |s₀|/|s‴| is about size³ for a function that changes over distances like the size of x. With h = 6e-6 · size, both
errors are about ε^(2/3) = 4e-11 of |s₀|/size. The size is |xᵢ|, but at least the typical size of x's elements, so that
h is not 0 where xᵢ is. Where f changes over shorter distances, h is halved until the slope no longer depends on it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.engine import Array, Tensor
from minigrad.finite_differences.causes import exchanged
from minigrad.finite_differences.function import Argument, Function, size_of
from minigrad.finite_differences.parameters import of_parameters
from minigrad.finite_differences.report import ArgumentCheck, GradientError, GradientReport, Index, Slope, scale_of

EPS = float(np.finfo(np.float64).eps)
ROUNDING = 10 * EPS  # f is taken to be exact to 10 ε: it adds up the rounding of many steps
CURVED = 1e-4  # where the one-sided slopes differ by more than this (relative), h is halved; for x² they differ by 1e-5
HALVINGS = 40  # at most; rounding, which doubles each time, ends it sooner
REPEATS = 30  # calls that must agree before a failure is put down to the gradient, and not to chance
SHRINKS = 0.75  # at h/2 the gap of the one-sided slopes is ½ where f is smooth, 1 at a kink, 2 at a jump


def gradcheck(
    f: Callable[..., Tensor],
    *inputs: Any,
    parameters: Any = None,
    rng: np.random.Generator | None = None,
    typical_size: float | None = None,
    tolerance: float = 1e-6,
    raise_error: bool = True,
) -> GradientReport:
    """Compare the gradient of `f` at `inputs` with central finite differences, in float64, every element.

        gradcheck(softmax, np.array([4.0, 2.0, 1.0]))
        gradcheck(lambda x, w: gelu(x @ w), x, w)
        gradcheck(lambda: cross_entropy(model(ids), targets), parameters=model)

    Arguments:
        f: takes Tensors and returns one. It must give the same output each time: dropout needs a fresh generator for
            each call, `lambda x: dropout(x, p=0.5, rng=np.random.default_rng(0))`.
        inputs: what f takes: arrays, lists, numbers or Tensors. Floats are checked. Integers and booleans, alone or in
            arrays or lists, have no gradient: they are handed to f as they are, and so is None.
        parameters: a Module, or anything with `named_parameters()`, that f uses. Those that require a gradient are
            checked as if they were f's first arguments. f runs twice for each number: take a small model.
        rng: draws the random u; left out, the same u each time.
        typical_size: how large the inputs typically are, which sets the step h; left out, the root mean square of
            each argument.
        tolerance: the relative error that passes.
        raise_error: False returns the report of a failure instead of raising it.

    Returns the report; printed, it says all. Raises GradientError, an AssertionError, unless the verdict is "ok": an
    argument that f never uses is "unused", a VJP that writes into its grad_y "overwrites". Where f is so flat that both
    gradients are nothing but rounding, the verdict is "too small to tell". Raises ValueError where the inputs or
    f(inputs) contain nan or inf (but f may be −inf, as a masked logarithm is); TypeError where nothing can be
    differentiated.
    """
    if parameters is not None:
        f, values = of_parameters(f, parameters)
        inputs = (*values, *inputs)
    with np.errstate(all="ignore"):  # what is not finite gets a sentence
        function = Function(f, inputs)
        u = random_cotangent(function.y.shape, rng or np.random.default_rng(0))
        note = "calls with the same inputs differ. Does f draw random numbers? Give it a fresh rng in each call"
        report = GradientReport(function.name, "not deterministic", note=note)
        if function.is_deterministic():
            of_one_f = checked(function, u, typical_size, tolerance)
            if function.is_deterministic(calls=1 if of_one_f.ok else REPEATS):
                report = of_one_f
    if raise_error and not report.ok:
        raise GradientError(report)
    return report


def checked(function: Function, u: Array, typical_size: float | None, tolerance: float) -> GradientReport:
    """The report on a function that gives the same output each time."""
    if overwritten := function.overwritten(u):
        return GradientReport(function.name, "overwrites", note=overwritten)
    arguments = function.pull_back(u)
    checks = [compare(argument, typical_size, tolerance) for argument in arguments]
    wrong = {i: check.differences for i, check in enumerate(checks) if check.wrong}
    for i, cause in exchanged(arguments, wrong).items():
        checks[i] = dataclasses.replace(checks[i], likely_cause=cause)
    return GradientReport.of(function.name, checks, estimator=getattr(function.f, "estimator", False))


def random_cotangent(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """With u = 1 a softmax always sums to 1, its gradient is 0, and a wrong VJP that returns 0 passes."""
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))  # nowhere near 0


def compare(argument: Argument, typical_size: float | None, tolerance: float) -> ArgumentCheck:
    """Compare every element of one argument's gradient with the slope along it.

    The tolerance is relative to the argument's largest gradient: the wrong sign on 1e-8 x² is as wrong as on x².
    """
    x, by_vjp = argument.x, argument.by_vjp
    typical = typical_size or size_of(x)
    slopes = {}
    for i in np.ndindex(x.shape):
        slopes[i] = slope_along(argument, i, h=EPS ** (1 / 3) * max(abs(float(x[i])), typical))

    scale = scale_of(by_vjp, slopes)
    kinks = []
    for i, slope in slopes.items():
        if not slope.agrees_with(float(by_vjp[i]), tolerance * scale) or not slope.is_smooth(CURVED * scale):
            slopes[i], has_derivative = halve(argument, i, slope, tolerance, scale)
            if not has_derivative:
                kinks.append(i)

    allowed = tolerance * scale_of(by_vjp, slopes)
    wrong = [i for i, slope in slopes.items() if i not in kinks and not slope.agrees_with(float(by_vjp[i]), allowed)]
    return ArgumentCheck.of(argument, slopes, wrong, kinks)


def slope_along(argument: Argument, i: Index, h: float) -> Slope:
    """The slope of <u, f(x)> along xᵢ: from x − h to x, from x to x + h, and the central difference over both."""
    x, y = argument.x, argument.y
    x_below, x_above = x.copy(), x.copy()
    x_below[i] -= h
    x_above[i] += h
    y_below, y_above = argument.f(x_below), argument.f(x_above)
    distance = x_above[i] - x_below[i]  # as rounded: not quite 2h
    return Slope(
        h,
        left=argument.change(y_below, y) / (x[i] - x_below[i]),
        right=argument.change(y, y_above) / (x_above[i] - x[i]),
        central=argument.change(y_below, y_above) / distance,
        noise=ROUNDING * argument.size_of(y_below, y_above) / distance,
    )


def halve(argument: Argument, i: Index, slope: Slope, tolerance: float, scale: float) -> tuple[Slope, bool]:
    """Halve h until the slope no longer depends on it. Returns the last slope, and whether there is a derivative.

    Where f is smooth, the slopes to the left and to the right differ by about h |s″|, and half of h halves that gap. At
    a kink the gap stays, and at a jump it doubles: there is no derivative, and so nothing to compare a gradient with.
    """
    for _ in range(HALVINGS):
        finer = slope_along(argument, i, slope.h / 2)
        if finer.gap > SHRINKS * slope.gap and not finer.is_smooth(CURVED * scale):
            return finer, False
        allowed = tolerance * max(scale, abs(finer.central)) if math.isfinite(finer.central) else math.inf
        settled = finer.agrees_with(slope.central, allowed) and finer.is_smooth(CURVED * scale)
        slope = finer
        if settled or finer.noise > allowed:
            break
    return slope, math.isfinite(slope.gap)
