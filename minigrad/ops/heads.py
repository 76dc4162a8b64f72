"""Heads: the features of a position, cut into n_heads parts that attend each by itself, and put together again."""

import numpy as np
from numpy.typing import ArrayLike

from minigrad.engine import Tensor
from minigrad.ops.shape import reshape, swapaxes
from minigrad.tensors.arguments import check_count


def split_heads(x: ArrayLike | Tensor, n_heads: int | None) -> Tensor:
    """Cut the features into heads: (..., T, n_heads · d) -> (..., n_heads, T, d). Without n_heads, x itself."""
    if n_heads is None:
        return x if isinstance(x, Tensor) else Tensor(x)
    check_heads(np.shape(x), n_heads)
    *lead, n_features = np.shape(x)
    return swapaxes(reshape(x, shape=(*lead, n_heads, n_features // n_heads)), axis1=-2, axis2=-3)


def merge_heads(x: Tensor) -> Tensor:
    """The heads side by side again: (..., n_heads, T, d) -> (..., T, n_heads · d)."""
    x = swapaxes(x, axis1=-2, axis2=-3)
    return reshape(x, shape=(*x.shape[:-2], x.shape[-2] * x.shape[-1]))


def to_heads(a, n_heads):
    """`split_heads` for arrays; without n_heads, `a` itself."""
    if n_heads is None:
        return a
    return a.reshape(*a.shape[:-1], n_heads, a.shape[-1] // n_heads).swapaxes(-2, -3)


def from_heads(a, n_heads):
    """`merge_heads` for arrays; without n_heads, `a` itself."""
    if n_heads is None:
        return a
    a = a.swapaxes(-2, -3)
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])


def check_heads(shape, n_heads):
    check_count("n_heads", n_heads)
    if shape[-1] % n_heads:
        raise ValueError(f"cannot split the last axis of shape {shape} evenly among n_heads = {n_heads}")
