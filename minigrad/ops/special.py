"""Functions of each element that go by a name: sin, cos, erf, softplus."""

import math

import numpy as np

from minigrad.engine import op


@op
def sin(x):
    """yᵢ = sin xᵢ

    Backward.  ∂yᵢ/∂xᵢ = cos xᵢ, so
        grad_x = grad_y · cos x

    Numerics.  The sine of ±inf is nan, as in NumPy, without an exception.
    """
    with np.errstate(invalid="ignore"):
        y = np.sin(x)

    def vjp_x(grad_y):
        with np.errstate(invalid="ignore"):
            return grad_y * np.cos(x)

    return y, vjp_x


@op
def cos(x):
    """yᵢ = cos xᵢ

    Backward.  ∂yᵢ/∂xᵢ = −sin xᵢ, so
        grad_x = −grad_y · sin x

    Numerics.  The cosine of ±inf is nan, as in NumPy, without an exception.
    """
    with np.errstate(invalid="ignore"):
        y = np.cos(x)

    def vjp_x(grad_y):
        with np.errstate(invalid="ignore"):
            return -grad_y * np.sin(x)

    return y, vjp_x


@op
def erf(x):
    """yᵢ = 2/√π · ∫ exp(−t²) dt from 0 to xᵢ, the error function: the integral of a bell curve, from −1 to 1

    Backward.  The derivative of an integral with respect to its upper end is what stands under it:
        grad_x = grad_y · 2/√π · exp(−x²)

    Numerics.  Each value is Python's math.erf, accurate to the last place or two. That is a call for each element; the
    kernel in fast/ expands erf about a table of such values instead, to the same accuracy.
    """

    def vjp_x(grad_y):
        with np.errstate(over="ignore", under="ignore"):
            return grad_y * (2 / math.sqrt(math.pi)) * np.exp(-x * x)

    return erf_of_each(x), vjp_x


@op
def softplus(x):
    """yᵢ = ln(1 + exp(xᵢ)), a smooth relu

    Backward.  By the chain rule, slope = ∂yᵢ/∂xᵢ = exp(xᵢ) / (1 + exp(xᵢ)) = sigmoid(xᵢ), so
        grad_x = grad_y · slope

    Numerics.  For x > 0, ln(1 + exp(x)) = x + ln(exp(−x) + 1). So with e = exp(−|x|) ≤ 1, on both sides,
    y = max(x, 0) + ln(1 + e), and nothing overflows. log1p(e) is ln(1 + e) also where 1 + e rounds to 1.
    """
    e = np.exp(-np.abs(x))
    slope = np.where(x >= 0, 1, e) / (1 + e)  # see sigmoid

    def vjp_x(grad_y):
        return grad_y * slope

    return np.maximum(x, 0) + np.log1p(e), vjp_x


def erf_of_each(x):
    """math.erf of each element."""
    return np.vectorize(math.erf, otypes=[x.dtype])(x)
