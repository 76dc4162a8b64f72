"""Ops that move elements without changing them. Backward moves the gradient back the way it came;
where an element was copied, the gradients of its copies add up.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from minigrad.engine import Joint, Tensor, op
from minigrad.tensors.operators import composed


@op(keeps_dtype=True)
def reshape(x, *, shape):
    """The same elements, in the same order, in another shape; one length may be −1.

    Backward.  grad_x = grad_y in the shape of x.
    """
    x_shape = x.shape

    def vjp_x(grad_y):
        return grad_y.reshape(x_shape)

    return x.reshape(shape), vjp_x


@op(keeps_dtype=True)
def transpose(x, *, axes=None):
    """The axes in the order `axes`; None reverses them.

    Backward.  The inverse permutation, which is argsort(axes), puts them back.
    """
    axes = (axes,) if isinstance(axes, int) else axes
    y = x.transpose(axes)
    inverse = None if axes is None else tuple(np.argsort([axis % x.ndim for axis in axes]))

    def vjp_x(grad_y):
        return grad_y.transpose(inverse)

    return y, vjp_x


@op(keeps_dtype=True)
def swapaxes(x, *, axis1, axis2):
    """Two axes exchanged.

    Backward.  Exchanging them again undoes it.
    """

    def vjp_x(grad_y):
        return grad_y.swapaxes(axis1, axis2)

    return x.swapaxes(axis1, axis2), vjp_x


@op(keeps_dtype=True)
def broadcast_to(x, *, shape):
    """Copies of x along new axes and along axes of length 1, as NumPy broadcasts.

    Backward.  Copying forward is summing backward: each element gets the sum over its copies. The engine does this
    for every op that broadcasts, so here we hand it the gradient of the copies.
    """

    def vjp_x(grad_y):
        return grad_y

    return np.broadcast_to(x, shape), vjp_x


@op(keeps_dtype=True)
def astype(x, *, dtype):
    """The same numbers as float32 or as float64.

    Backward.  Rounding aside, y = x. A gradient has the dtype of its array, so
        grad_x = grad_y, cast back
    """
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(
            f"makes float32 or float64, which have gradients, not {np.dtype(dtype)}: "
            f"use t.numpy().astype(...) for an array without one"
        )
    x_dtype = x.dtype

    def vjp_x(grad_y):
        return grad_y.astype(x_dtype)

    return x.astype(dtype, copy=False), vjp_x


@op(keeps_dtype=True)
def getitem(x, *, index):
    """x[index], with all of NumPy's indexing: integers, slices, `...`, None, boolean and integer arrays

    Backward.  Elements that were picked get their gradient, all others 0. An integer array may pick an element
    several times: then its gradients add up.
        grad_x[index] += grad_y, starting from 0
    """
    x_shape, x_dtype = x.shape, x.dtype
    parts = index if isinstance(index, tuple) else (index,)
    once = all(part is None or part is ... or isinstance(part, (int, slice)) for part in parts)

    def vjp_x(grad_y):
        grad_x = np.zeros(x_shape, x_dtype)
        if once:
            grad_x[index] = grad_y
        else:
            np.add.at(grad_x, index, grad_y)  # unlike +=, this counts repeated indices
        return grad_x

    return x[index], vjp_x


@composed
def concat(tensors: Sequence[ArrayLike | Tensor], axis: int = 0) -> Tensor:
    """Join a sequence of arrays along an axis they already have; all other axes must agree."""
    _check_axis("concat", axis)
    return _concat(*tensors, axis=axis)


@op(name="concat", keeps_dtype=True)
def _concat(*parts, axis=0):
    """The parts one after the other along `axis`.

    Backward.  Each part gets its own piece of grad_y.
    """
    if not parts:
        raise ValueError("needs at least one array")
    y = np.concatenate(parts, axis)
    ends = np.cumsum([part.shape[axis] for part in parts])

    def vjp_parts(grad_y):
        return np.split(grad_y, ends[:-1], axis)

    return y, Joint(vjp_parts)


@composed
def stack(tensors: Sequence[ArrayLike | Tensor], axis: int = 0) -> Tensor:
    """Join a sequence of arrays of one shape along a new axis."""
    _check_axis("stack", axis)
    return _stack(*tensors, axis=axis)


@op(name="stack", keeps_dtype=True)
def _stack(*parts, axis=0):
    """The parts side by side along a new `axis`.

    Backward.  Each part gets its own slice of grad_y.
    """
    if not parts:
        raise ValueError("needs at least one array")

    def vjp_parts(grad_y):
        return list(np.moveaxis(grad_y, axis, 0))

    return np.stack(parts, axis), Joint(vjp_parts)


@op(indices=("ids",), keeps_dtype=True)
def embedding(table, ids):
    """Row ids[...] of a table: y[..., :] = table[ids[...], :]

    Shapes.  table (n, d), ids any shape (...) of integers from 0 to n − 1, y (..., d).

    Backward.  With one-hot rows O (Oₜᵢ = 1 where idsₜ = i) this is the matrix product y = O @ table, so
        grad_table = Oᵀ @ grad_y
    which adds up the gradients of all places where a row was used.

    The rows of grad_table are these sums:  grad_table[i] = Σ grad_y[t] over all places t with idsₜ = i.
    """
    check_ids(table, ids)
    table_shape, dtype = table.shape, table.dtype

    def vjp_table(grad_y):
        grad_table = np.zeros(table_shape, dtype)
        np.add.at(grad_table, ids, grad_y)  # unlike +=, this counts repeated ids
        return grad_table

    return table[ids], (vjp_table, None)


def _check_axis(name, axis):
    if not isinstance(axis, (int, np.integer)):
        raise TypeError(
            f"{name} takes one list and an axis, an integer: {name}([a, b], axis=0); "
            f"here the axis would be of type {type(axis).__name__}"
        )


def check_ids(table, ids):
    if ids.size and (ids.min() < 0 or ids.max() >= len(table)):
        bad = ids[(ids < 0) | (ids >= len(table))][0]
        raise IndexError(f"index {bad} is outside a table of {len(table)} rows: indices go from 0 to {len(table) - 1}")
