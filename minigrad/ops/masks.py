"""Which query may attend to which key: boolean arrays, True = may attend.

Masks broadcast to the scores, (..., Tq, Tk). Combine them with `&`: `causal_mask(n) & length_mask(lengths, n)`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minigrad.ops.softmax import boolean
from minigrad.tensors.arguments import check_count


def causal_mask(n: int) -> NDArray[np.bool_]:
    """Boolean (n, n): position t may attend to positions 0 to t."""
    check_count("causal_mask: n", n, least=0)
    return np.tri(n, dtype=bool)


def length_mask(lengths: ArrayLike, n: int) -> NDArray[np.bool_]:
    """Boolean (..., 1, n) for sequences padded to n: each may attend to its own first `lengths[...]` positions."""
    check_count("length_mask: n", n, least=0)
    lengths = np.asarray(lengths)
    if lengths.dtype.kind not in "iu" or (lengths.size and (lengths.min() < 0 or lengths.max() > n)):
        raise ValueError(f"length_mask needs integer lengths from 0 to {n}, got {lengths}")
    return np.arange(n) < lengths[..., None, None]


def window_mask(n: int, window: int) -> NDArray[np.bool_]:
    """Boolean (n, n), a sliding window: each position may attend to those less than `window` positions away.

    The window reaches to both sides. With causal=True beside it, a position sees itself and the window − 1 before it.
    """
    check_count("window_mask: n", n, least=0)
    check_count("window_mask: window", window)  # 1 is the position itself
    near: NDArray[np.bool_] = np.abs(np.arange(n) - np.arange(n)[:, None]) < window
    return near


# --- what attention asks ----------------------------------------------------------------------------------------------


def allowed_pairs(q, k, v, *, n_heads=None, mask=None, causal=False):
    """Which query may attend to which key, `mask` and `causal` taken together, as a boolean array; None if all may.

    q (..., Tq, ·), k and v (..., Tk, ·). The result has Tq and Tk as its last axes and broadcasts to the scores:
    (..., Tq, Tk), or with n_heads (..., n_heads, Tq, Tk). A mask with as many axes as q or k is then for all heads.
    """
    n_queries, n_keys = q.shape[-2], k.shape[-2]
    if causal:
        check_same_length("causal=True", n_queries, n_keys)
    if mask is None:
        return causal_mask(n_keys) if causal else None
    mask, given = boolean(mask), np.shape(mask)
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    if n_heads is not None:
        mask = mask[..., None, :, :] if mask.ndim == max(2, q.ndim, k.ndim) else mask
        lead = (*lead, n_heads)
    try:
        np.broadcast_to(mask, (*lead, n_queries, n_keys))
    except ValueError:
        scores = (*lead, n_queries, n_keys)
        raise ValueError(f"a mask of shape {given} does not broadcast to scores of shape {scores}") from None
    mask = np.broadcast_to(mask, (*mask.shape[:-2], n_queries, n_keys))
    return mask & causal_mask(n_keys) if causal else mask


def attending_and_attended(allowed):
    """Which queries may attend to anything, (..., Tq, 1), and which keys any query may attend to, (..., Tk, 1)."""
    return allowed.any(-1)[..., None], allowed.any(-2)[..., None]


def check_same_length(what, n_queries, n_keys):
    if n_queries != n_keys:
        raise ValueError(f"{what} needs as many queries as keys, not {n_queries} and {n_keys}")
