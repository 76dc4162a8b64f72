"""gelu in place and slice by slice: fewer new arrays, and those that are needed stay in the processor's cache."""

import math

import numpy as np

from minigrad.fast.switch import faster
from minigrad.ops.elementwise import gelu


@faster(gelu)
def gelu_by_slices(x):
    """As on its page, where near, h and slope have the same meaning; each other array is computed in the place of one
    that is no longer needed.

    768 × 512 numbers, forward and back: 1.2 ms, and 1.6 in one slice, on one machine; 2.1 either way on another, where
    the page takes 2.4 (tests/benchmarks/numerics.py).
    """
    c = math.sqrt(2 / math.pi)
    flat = x.reshape(-1)
    y, slope = np.empty_like(flat), np.empty_like(flat)
    for i in slices_of(flat.size):
        yi, slope_i = y[i], slope[i]
        np.maximum(flat[i], -10, out=yi)
        near = np.minimum(yi, 10)
        square = near * near
        h = square * (c * 0.044715)
        h += c
        h *= near  # u
        np.tanh(h, out=h)
        h += 1
        h *= 0.5
        yi *= h
        np.multiply(square, 6 * 0.044715 * c, out=slope_i)
        slope_i += 2 * c  # 2 ∂u/∂x
        near *= h
        slope_i *= near
        slope_i *= 1 - h
        slope_i += h
    y, slope = y.reshape(x.shape), slope.reshape(x.shape)

    def vjp_x(grad_y):
        return grad_y * slope

    return y, vjp_x


def slices_of(size, length=2**15):
    """Slices that cut a flat array of `size` numbers into parts small enough for the processor's cache."""
    return [slice(start, start + length) for start in range(0, size, length)]
