"""gelu in place and slice by slice: fewer new arrays, and those that are needed stay in the processor's cache."""

import math

import numpy as np

from minigrad.fast.switch import faster
from minigrad.ops.elementwise import gelu


@faster(gelu)
def gelu_by_slices(x):
    """The names mean what they mean on the page; u, say, is computed where h will be.

    768 × 512 numbers, forward and back: 1.2 ms, and 1.6 in one slice, on one machine; 2.1 either way on another, where
    the page takes 2.4 (tests/benchmarks/numerics.py).
    """
    c = math.sqrt(2 / math.pi)
    flat = x.reshape(-1)
    y, slope = np.empty_like(flat), np.empty_like(flat)
    for i in slices_of(flat.size):
        xi, yi, slope_i = flat[i], y[i], slope[i]
        with np.errstate(over="ignore"):
            square = np.minimum(xi * xi, 100)
        h = square * (c * 0.044715)
        h += c
        h *= xi  # u
        np.tanh(h, out=h)
        h += 1
        h *= 0.5
        np.multiply(xi, h, out=yi)
        np.multiply(square, 6 * 0.044715 * c, out=slope_i)
        slope_i += 2 * c  # 2 ∂u/∂x
        slope_i *= yi
        slope_i *= 1 - h
        slope_i += h
    y, slope = y.reshape(x.shape), slope.reshape(x.shape)

    def vjp_x(grad_y):
        return grad_y * slope

    return y, vjp_x


def slices_of(size, length=2**15):
    """Slices that cut a flat array of `size` numbers into parts small enough for the processor's cache."""
    return [slice(start, start + length) for start in range(0, size, length)]
