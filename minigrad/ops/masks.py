"""Which query may attend to which key: boolean arrays, True = may attend.

Masks broadcast to the scores, (..., Tq, Tk). Combine them with `&`: `causal_mask(n) & length_mask(lengths, n)`.
"""

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minigrad.ops.softmax import boolean
from minigrad.tensors.arguments import check_count


def causal_mask(n: int, n_keys: int | None = None) -> NDArray[np.bool_]:
    """Boolean (n, n): position t may attend to positions 0 to t.

    With n_keys > n, boolean (n, n_keys): the n queries are then the last n of n_keys positions.
    """
    check_count("causal_mask: n", n, least=0)
    n_keys = n if n_keys is None else n_keys
    check_count("causal_mask: n_keys", n_keys, least=n)
    return np.tri(n, n_keys, n_keys - n, dtype=bool)


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


def allowed_pairs(q, k, v, *, n_heads=None, mask=None, key_mask=None, causal=False):
    """Which query may attend to which key, all masks taken together, as a boolean array; None if all may.

    q (..., Tq, ·), k and v (..., Tk, ·). The result has Tq and Tk as its last axes and broadcasts to the scores:
    (..., Tq, Tk), or with n_heads (..., n_heads, Tq, Tk). A mask with as many axes as q or k is then for all heads.
    """
    n_queries, n_keys = q.shape[-2], k.shape[-2]
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    masks = []
    if mask is not None:
        masks.append(_mask_of_pairs(mask, lead, max(2, q.ndim, k.ndim), n_heads, n_queries, n_keys))
    if key_mask is not None:
        masks.append(_mask_of_keys(key_mask, lead, n_heads, n_keys))
    if causal:
        check_no_more_queries("causal=True", n_queries, n_keys)
        masks.append(causal_mask(n_queries, n_keys))
    if not masks:
        return None
    allowed = functools.reduce(np.logical_and, masks)
    return np.broadcast_to(allowed, (*allowed.shape[:-2], n_queries, n_keys))


def _mask_of_pairs(mask, lead, n_axes, n_heads, n_queries, n_keys):
    mask, given = boolean(mask), np.shape(mask)
    if n_heads is not None:
        mask = mask[..., None, :, :] if mask.ndim == n_axes else mask
        lead = (*lead, n_heads)
    scores = (*lead, n_queries, n_keys)
    try:
        np.broadcast_to(mask, scores)
    except ValueError:
        raise ValueError(f"a mask of shape {given} does not broadcast to scores of shape {scores}") from None
    return mask if mask.ndim >= 2 else np.atleast_2d(mask)


def _mask_of_keys(key_mask, lead, n_heads, n_keys):
    """(..., Tk) as a mask of pairs, (..., 1, Tk), or with n_heads (..., 1, 1, Tk)."""
    key_mask, keys = boolean(key_mask, true="a key counts"), (*lead, n_keys)
    fits = key_mask.ndim in (1, len(keys)) and key_mask.shape[-1] == n_keys
    if not fits or any(a not in (1, b) for a, b in zip(key_mask.shape[:-1], lead, strict=False)):
        raise ValueError(f"a key_mask of shape {key_mask.shape} does not fit the keys: it needs the shape {keys}")
    return key_mask[..., None, :] if n_heads is None else key_mask[..., None, None, :]


def attending_and_attended(allowed):
    """Which queries may attend to anything, (..., Tq, 1), and which keys any query may attend to, (..., Tk, 1)."""
    return allowed.any(-1)[..., None], allowed.any(-2)[..., None]


def check_no_more_queries(what, n_queries, n_keys):
    if n_queries > n_keys:
        raise ValueError(
            f"{what} takes the queries for the last of the positions, "
            f"so there can't be more queries than keys, as here: {n_queries} and {n_keys}"
        )
