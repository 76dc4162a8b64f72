"""From queries and keys to weights, in plain ops: for any normalizer, and for looking at."""

import math
import numbers
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from minigrad.engine import Tensor
from minigrad.ops.elementwise import where
from minigrad.ops.heads import check_heads, split_heads
from minigrad.ops.linear import matmul
from minigrad.ops.masks import allowed_pairs, attending_and_attended
from minigrad.ops.shape import swapaxes
from minigrad.ops.softmax import softmax
from minigrad.tensors.arguments import with_context


def attention_weights(
    q: ArrayLike | Tensor,
    k: ArrayLike | Tensor,
    *,
    n_heads: int | None = None,
    mask: ArrayLike | Tensor | None = None,
    key_mask: ArrayLike | Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    normalize: Callable[..., Tensor] = softmax,
) -> Tensor:
    """The weights W of `attention`, shape (..., Tq, Tk) or with n_heads (..., n_heads, Tq, Tk), in plain ops.

    `normalize` takes the place of softmax: a normalizer (scores, *, axis, mask), such as `hardmax`.
    """
    q, k = (a if isinstance(a, Tensor) else Tensor(a) for a in (q, k))
    allowed = _allowed(q, k, n_heads=n_heads, mask=mask, key_mask=key_mask, causal=causal)
    q, k = split_heads(q, n_heads), split_heads(k, n_heads)
    if mask is not None or key_mask is not None:  # causal alone leaves something to each query, and to each key
        attending, attended = attending_and_attended(allowed)
        q, k = where(attending, q, 0.0), where(attended, k, 0.0)
    scores = matmul(q, swapaxes(k, axis1=-1, axis2=-2))
    scores = scores / math.sqrt(q.shape[-1]) if scale is None else scores * scale_of_scores(scale, q)
    return normalize(scores, axis=-1, mask=allowed)


def seen_values(
    q: Tensor, v: Tensor, *, n_heads: int, mask: ArrayLike | None, key_mask: ArrayLike | None, causal: bool
) -> Tensor:
    """The values, split into heads, with 0 where no query may look: 0 times nan would be nan in the weighted sum."""
    allowed = _allowed(q, v, n_heads=n_heads, mask=mask, key_mask=key_mask, causal=causal)
    v = split_heads(v, n_heads)
    return v if mask is None and key_mask is None else where(attending_and_attended(allowed)[1], v, 0.0)


def _allowed(q, k, n_heads, **masks):
    """`allowed_pairs`, for use outside of an op: its errors say where."""
    try:
        check_shapes(q, k, k, n_heads)
        return allowed_pairs(q, k, k, n_heads=n_heads, **masks)
    except (ValueError, TypeError) as error:
        raise with_context(error, "attention", (q, k)) from error


# --- what attention asks of its inputs --------------------------------------------------------------------------------


def scale_of_scores(scale, q):
    """1/√d, unless another factor is given."""
    if scale is None:
        return 1 / math.sqrt(q.shape[-1])
    if isinstance(scale, (bool, np.bool_)) or not isinstance(scale, numbers.Real) or not math.isfinite(scale):
        raise ValueError(f"scale is a finite number that multiplies the scores, not {scale!r}")
    return float(scale)


def check_shapes(q, k, v, n_heads=None):
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError("needs q (..., Tq, d), k (..., Tk, d) and v (..., Tk, d_v)")
    if 0 in q.shape[-2:] or 0 in k.shape[-2:]:
        raise ValueError("the sequence is empty: there is nothing to attend to")
    if n_heads is not None:
        check_heads(q.shape, n_heads)  # k has as many features as q
        check_heads(v.shape, n_heads)
