"""Functions that need no derivation of their own: a few other ops, put together, have the right gradient.

Some need no function at all. An outer product is `a[:, None] * b`; rolling is `x[..., (np.arange(n) - shift) % n]`;
padding is `concat([x, np.zeros((2, 3))])`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import ArrayLike, NDArray

from minigrad.engine import Tensor
from minigrad.ops.elementwise import mul, sigmoid, sqrt, where
from minigrad.ops.reduce import sum, var
from minigrad.ops.shape import getitem, reshape
from minigrad.tensors.arguments import check_count
from minigrad.tensors.operators import composed, type_of_axis


@composed
def squeeze(x: ArrayLike | Tensor, axis: type_of_axis = None) -> Tensor:
    """x without its axes of length 1, or without these of them."""
    x = _tensor(x)
    return reshape(x, shape=np.squeeze(x.data, axis).shape)


@composed
def expand_dims(x: ArrayLike | Tensor, axis: int | tuple[int, ...]) -> Tensor:
    """x with a new axis of length 1, which becomes number `axis` of the result."""
    x = _tensor(x)
    return reshape(x, shape=np.expand_dims(x.data, axis).shape)


@composed
def flatten(x: ArrayLike | Tensor) -> Tensor:
    """All elements in one row."""
    return reshape(x, shape=(-1,))


@composed
def split(x: ArrayLike | Tensor, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Cut x along `axis` into so many equal parts, or at these places, as np.split does: split(x, [2, 5]) is
    [x[:2], x[2:5], x[5:]].  (PyTorch's split takes the length of the parts.)
    """
    x = _tensor(x)
    axis = normalize_axis_index(axis, x.ndim)
    n = x.shape[axis]
    if isinstance(sections, (int, np.integer)):
        check_count("sections", sections)
        if n % sections:
            raise ValueError(f"{n} don't divide into {sections} equal parts: give the places to cut at, as in [2, 5]")
        sections = [n * i // int(sections) for i in range(1, sections)]
    cuts = zip([0, *sections], [*sections, n], strict=True)
    return [getitem(x, index=(*[slice(None)] * axis, slice(*cut))) for cut in cuts]


@composed
def std(x: ArrayLike | Tensor, axis: type_of_axis = None, keepdims: bool = False) -> Tensor:
    """The standard deviation √var(x) over `axis` (ddof 0). Where it is 0, we take the gradient 0.

    Equal numbers whose mean rounds, such as seven times 0.1, have a tiny deviation, and a gradient that means nothing.
    """
    return _sqrt_or_0(var(x, axis=axis, keepdims=keepdims))


@composed
def norm(x: ArrayLike | Tensor, axis: type_of_axis = None, keepdims: bool = False) -> Tensor:
    """The Euclidean norm √(Σ x²) over `axis`. At x = 0 it has a tip, and we take the gradient 0.

    The squares are not scaled: in float32 they overflow beyond 1e19, and vanish below 1e-23.
    """
    return _sqrt_or_0(sum(mul(x, x), axis=axis, keepdims=keepdims))


def _sqrt_or_0(x: Tensor) -> Tensor:
    """√x, with the gradient 0 where x is 0. The inner `where` keeps that 0 away from sqrt, whose slope is infinite."""
    zero = x.data == 0
    return where(zero, 0, sqrt(where(zero, 1, x)))


@composed
def silu(x: ArrayLike | Tensor) -> Tensor:
    """x · sigmoid(x), also called swish: a relu with a smooth gate."""
    return mul(x, sigmoid(x))


@composed
def tril(x: ArrayLike | Tensor, k: int = 0) -> Tensor:
    """The lower triangle of each matrix, up to diagonal k; 0 above it."""
    x = _tensor(x)
    if x.ndim < 2:
        raise ValueError("needs a matrix, or a batch of matrices")
    n, m = x.shape[-2:]
    return where(np.tri(n, m, k, dtype=bool), x, np.zeros((), x.dtype))


@composed
def argmax(x: ArrayLike | Tensor, axis: int | None = None, keepdims: bool = False) -> NDArray[np.int64]:
    """Where the largest element is, the first of equals: an array of integers, for which there is no gradient."""
    return np.asarray(np.argmax(np.asarray(x), axis=axis, keepdims=keepdims))


def _tensor(x: ArrayLike | Tensor) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)
