"""Ops that reduce axes to one number each. `axis` is an int, a tuple of ints or None (all axes), as in NumPy.

Forward, a whole slice becomes one number; backward, that number's gradient is handed back to the whole slice.
"""

import math

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from minigrad.engine import op
from minigrad.ops.softmax import exp_shifted, total_or_one


def _spread(grad_y, axis, keepdims):
    """Put the reduced axes back as axes of length 1, so that grad_y broadcasts against x."""
    return grad_y if keepdims or grad_y.ndim == 0 else np.expand_dims(grad_y, axis)


@op
def sum(x, *, axis=None, keepdims=False):
    """y = Σᵢ xᵢ over `axis`

    Backward.  ∂y/∂xᵢ = 1: every element gets the gradient of its sum.
        grad_xᵢ = grad_y
    """
    x_shape = x.shape

    def vjp_x(grad_y):
        return np.broadcast_to(_spread(grad_y, axis, keepdims), x_shape)

    return x.sum(axis, keepdims=keepdims), vjp_x


@op
def mean(x, *, axis=None, keepdims=False):
    """y = 1/n Σᵢ xᵢ over `axis`

    Backward.  ∂y/∂xᵢ = 1/n, so
        grad_xᵢ = grad_y / n
    """
    x_shape = x.shape
    n = _count(x, axis)

    def vjp_x(grad_y):
        return np.broadcast_to(_spread(grad_y / n, axis, keepdims), x_shape)

    return x.mean(axis, keepdims=keepdims), vjp_x


@op
def var(x, *, axis=None, keepdims=False):
    """y = 1/n Σᵢ (xᵢ − μ)²,  μ = 1/n Σᵢ xᵢ      (the population variance: NumPy's ddof = 0)

    Backward.  μ depends on x as well, but no gradient comes through it: ∂y/∂μ = −2/n Σᵢ (xᵢ − μ) = 0. So
        grad_xᵢ = grad_y · 2 (xᵢ − μ) / n
    """
    n = _count(x, axis)
    centred = x - x.mean(axis, keepdims=True)

    def vjp_x(grad_y):
        return _spread(grad_y * (2 / n), axis, keepdims) * centred

    return (centred * centred).mean(axis, keepdims=keepdims), vjp_x


@op
def prod(x, *, axis=None, keepdims=False):
    """y = Πᵢ xᵢ over `axis`

    Backward.  y is linear in each xᵢ, with the product of all others as its slope:
        ∂y/∂xᵢ = Πⱼ≠ᵢ xⱼ = leftᵢ · rightᵢ,   leftᵢ = Πⱼ<ᵢ xⱼ,  rightᵢ = Πⱼ>ᵢ xⱼ
        grad_xᵢ = grad_y · leftᵢ · rightᵢ

    Numerics.  The shorter y / xᵢ would be 0/0 for an xᵢ of 0. Two running products, one from each side, need no
    division: a single 0 gets the product of the others, and beside a 0 all others get 0.
    """
    y = x.prod(axis, keepdims=keepdims)
    axes = tuple(range(x.ndim)) if axis is None or x.ndim == 0 else normalize_axis_tuple(axis, x.ndim)
    last = tuple(range(-len(axes), 0))
    moved = np.moveaxis(x, axes, last)
    rows = moved.reshape(*moved.shape[: x.ndim - len(axes)], math.prod(moved.shape[x.ndim - len(axes) :]))
    left, right = _product_before(rows), _product_before(rows[..., ::-1])[..., ::-1]
    others = np.moveaxis((left * right).reshape(moved.shape), last, axes)

    def vjp_x(grad_y):
        return _spread(grad_y, axis, keepdims) * others

    return y, vjp_x


@op
def cumsum(x, *, axis=None):
    """yᵢ = Σⱼ≤ᵢ xⱼ along `axis`; None flattens x first, as in NumPy

    Backward.  xⱼ is in yⱼ and in every later sum, ∂yᵢ/∂xⱼ = 1 for i ≥ j. So its gradient is a sum from the other end:
        grad_xⱼ = Σᵢ≥ⱼ grad_yᵢ
    """
    x_shape = x.shape

    def vjp_x(grad_y):
        return np.flip(np.flip(grad_y, axis).cumsum(axis), axis).reshape(x_shape)

    return x.cumsum(axis), vjp_x


@op
def max(x, *, axis=None, keepdims=False):
    """y = maxᵢ xᵢ over `axis`

    Backward.  The largest element gets grad_y, the others 0. Where m elements share the maximum, each gets an equal
    part: shareᵢ = 1/m there, 0 elsewhere.
        grad_xᵢ = grad_y · shareᵢ

    Numerics.  The maximum of elements with a nan among them is nan, and grad_y goes to the nan.
    """
    y = x.max(axis, keepdims=True)
    share = _share(x, y, axis)

    def vjp_x(grad_y):
        return _spread(grad_y, axis, keepdims) * share

    return y if keepdims else y.squeeze(axis), vjp_x


@op
def min(x, *, axis=None, keepdims=False):
    """y = minᵢ xᵢ over `axis`

    Backward.  As `max`: the smallest element gets grad_y, equal ones share it.
        grad_xᵢ = grad_y · shareᵢ
    """
    y = x.min(axis, keepdims=True)
    share = _share(x, y, axis)

    def vjp_x(grad_y):
        return _spread(grad_y, axis, keepdims) * share

    return y if keepdims else y.squeeze(axis), vjp_x


@op
def logsumexp(x, *, axis=-1, mask=None, keepdims=False):
    """y = ln s,  s = Σᵢ exp(xᵢ) over `axis`: a smooth maximum, and the logarithm of what softmax divides by

    Backward.  ∂y/∂xᵢ = 1/s · ∂s/∂xᵢ = exp(xᵢ)/s = softmax(x)ᵢ, so
        grad_x = grad_y · softmax(x)

    Numerics.  y = m + ln Σᵢ exp(xᵢ − m) with m = max(x): the sum is at least 1 and nothing overflows. y is the same for
    every m, so no gradient comes through m. Masked elements (mask False) count as −inf: they are no part of the sum,
    and their gradient is 0. Where everything is masked, y is −inf and the gradient 0. Where an element is inf, so is y;
    the gradient, a softmax, is nan there.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        e, m = exp_shifted(x, axis, mask)
        y = np.where(np.isposinf(m), m, m + np.log(e.sum(axis, keepdims=True)))
    weights = e / total_or_one(e, axis)

    def vjp_x(grad_y):
        return _spread(grad_y, axis, keepdims) * weights

    return y if keepdims else y.squeeze(axis), vjp_x


def _product_before(rows):
    """The product of all earlier elements of the last axis; before the first there are none, and it is 1."""
    return np.cumprod(np.concatenate([np.ones_like(rows[..., :1]), rows[..., :-1]], -1), -1)


def _count(x, axis):
    """How many elements go into each result."""
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
    n = math.prod(x.shape[a] for a in axes if -x.ndim <= a < x.ndim)
    if n == 0:
        raise ValueError("there is no mean of no elements")
    return n


def _share(x, y, axis):
    """1/m for each of the m elements that are equal to y, the extreme one, or nan as it is; 0 for the others."""
    equal = (x == y) | np.isnan(x)
    return equal / equal.sum(axis, keepdims=True, dtype=x.dtype)
