"""Scaled dot-product attention: softmax's main use, as one op with one hand-derived backward.  (Vaswani et al. 2017)"""

import functools
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minigrad.engine import Joint, Tensor, op
from minigrad.ops.elementwise import mul
from minigrad.ops.linear import matmul, ones
from minigrad.ops.shape import reshape, swapaxes
from minigrad.ops.softmax import boolean, softmax


@op
def attention(q, k, v, *, n_heads=None, mask=None, causal=False):
    """Each query looks at all keys, and takes the average of their values, weighted by how well they match.

        S = q kᵀ / √d          scores     (Tq, Tk)
        W = softmax(S)         weights, each row sums to 1
        y = W v

    Shapes.  q (..., Tq, d), k (..., Tk, d), v (..., Tk, d_v), y (..., Tq, d_v); leading axes (batch, heads) broadcast.
    mask is boolean, True = may attend, and broadcasts to (..., Tq, Tk). causal=True lets position t attend to
    positions 0 to t only, and needs as many queries as keys.
    With n_heads, q, k and v are (..., T, n_heads · d): each head attends with its own d of the features, and the
    results stand side by side, y (..., Tq, n_heads · d_v). A mask with as many axes as q or k is for all heads alike;
    with one more, (..., n_heads, Tq, Tk), for each.

    Backward.  With g = grad_y, matrix product by matrix product (see `matmul`) and through softmax (see `softmax`):
        grad_v = Wᵀ g
        grad_W = g vᵀ
        grad_S = W ∘ (grad_W − D),   Dₜ = Σⱼ Wₜⱼ grad_Wₜⱼ
        grad_q = grad_S k / √d
        grad_k = grad_Sᵀ q / √d
    D needs no (Tq, Tk) array: Σⱼ Wₜⱼ (gₜ · vⱼ) = gₜ · Σⱼ Wₜⱼ vⱼ = gₜ · yₜ.

    Numerics.  Scores are kept keys-first, as Sᵀ (Tk, Tq): the maximum then runs over axis −2, which NumPy does four
    times faster than over a last axis of 64. They are made block by block, a few batch entries and 64 queries at a
    time, so that they stay in cache from the first product to the last; causal attention leaves out the blocks behind
    the diagonal. W itself is never made: with E = exp(S − max) and its row sums s, W = E/s, and it is cheaper to divide
    the smaller arrays y and g by s, as in y = (E v)/s. Results are laid out in memory as q, k and v are, so that
    splitting and merging heads costs no copy.
    A query with everything masked gets y = 0 and gradient 0. A nan or inf in a key and value that no query may attend,
    or in a query that may attend to nothing, goes nowhere.
    """
    if n_heads is not None:
        mask = _for_all_heads(mask, q, k)
        q, k, v = (_split(a, n_heads) for a in (q, k, v))
    check_shapes(q, k, v)
    n_queries, n_keys, d = q.shape[-2], k.shape[-2], q.shape[-1]
    lead = q.shape[:-2]
    if not lead == k.shape[:-2] == v.shape[:-2]:
        lead = np.broadcast_shapes(lead, k.shape[:-2], v.shape[:-2])
        q, k, v = (np.broadcast_to(a, lead + a.shape[-2:]) for a in (q, k, v))
    blocked, attending = None, None
    if mask is not None:
        blocked, attending, attended = _blocked(mask, causal, lead, n_queries, n_keys, q.dtype)
        q, k, v = np.where(attending, q, 0), np.where(attended, k, 0), np.where(attended, v, 0)
    elif causal:
        blocked = _blocked_later(n_queries, n_keys, q.dtype)

    q = q * (1 / math.sqrt(d))  # a smaller array than the scores
    s = np.empty((*lead, 1, n_queries), q.dtype)
    y = _empty_like(q, v.shape[-1])
    blocks = _blocks(lead, n_queries, n_keys, skip_later=causal and mask is None)
    E = []
    for entries, queries, keys in blocks:
        k_, v_, q_ = k[entries][..., keys, :], v[entries][..., keys, :], q[entries][..., queries, :]
        e = k_ @ q_.mT  # (..., keys, queries)
        if blocked is not None:
            e += (blocked if mask is None else blocked[entries])[..., keys, queries]
        m = e.max(-2, keepdims=True)
        e -= m if mask is None else np.where(np.isneginf(m), 0, m)
        np.exp(e, out=e)
        np.matmul(ones(e.shape[-2], e.dtype)[None, :], e, out=s[entries][..., queries])
        np.matmul(e.mT, v_, out=y[entries][..., queries, :])
        E.append(e)
    if mask is not None:
        s[s == 0] = 1  # nothing to attend to
    y /= s.mT

    def vjp_qkv(grad_y):
        grad_y = (grad_y if n_heads is None else _split(grad_y, n_heads)) / s.mT
        if attending is not None:
            grad_y = np.where(attending, grad_y, 0)
        grad_q, grad_k, grad_v = _empty_like(q, d), np.zeros_like(k), np.zeros_like(v)
        for (entries, queries, keys), e in zip(blocks, E, strict=True):
            k_, v_, q_ = k[entries][..., keys, :], v[entries][..., keys, :], q[entries][..., queries, :]
            g = grad_y[entries][..., queries, :]
            grad_s = v_ @ g.mT
            grad_s -= np.vecdot(g, y[entries][..., queries, :])[..., None, :]
            grad_s *= e
            np.matmul(grad_s.mT, k_, out=grad_q[entries][..., queries, :])
            grad_k[entries][..., keys, :] += grad_s @ q_
            grad_v[entries][..., keys, :] += e @ g
        grad_q *= 1 / math.sqrt(d)
        grads = grad_q, grad_k, grad_v
        return grads if n_heads is None else [_merge(g) for g in grads]

    return (y if n_heads is None else _merge(y)), Joint(vjp_qkv)


def attention_weights(
    q: ArrayLike | Tensor,
    k: ArrayLike | Tensor,
    *,
    n_heads: int | None = None,
    mask: ArrayLike | Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """The weights W inside `attention`, shape (..., Tq, Tk), or with n_heads (..., n_heads, Tq, Tk): for looking at,
    and the same computation in plain ops.
    """
    if n_heads is not None:
        mask = _for_all_heads(mask, q, k)
        q, k = split_heads(q, n_heads), split_heads(k, n_heads)
    scores = matmul(q, swapaxes(k, axis1=-1, axis2=-2))  # (..., Tq, Tk)
    if causal:
        check_same_length("causal=True", *scores.shape[-2:])
        mask = causal_mask(scores.shape[-1]) if mask is None else boolean(mask) & causal_mask(scores.shape[-1])
    return softmax(mul(scores, 1 / math.sqrt(np.shape(k)[-1])), mask=mask)


attention.weights = attention_weights  # type: ignore[attr-defined]


def split_heads(x: ArrayLike | Tensor, n_heads: int) -> Tensor:
    """Cut the features into heads: (..., T, n_heads · d) -> (..., n_heads, T, d)."""
    shape = np.shape(x)
    return swapaxes(reshape(x, shape=(*shape[:-1], n_heads, shape[-1] // n_heads)), axis1=-2, axis2=-3)


def causal_mask(n: int) -> NDArray[np.bool_]:
    """Boolean (n, n): position t may attend to positions 0 to t."""
    return np.tri(n, dtype=bool)


def length_mask(lengths: ArrayLike, n: int) -> NDArray[np.bool_]:
    """Boolean (..., 1, n) for sequences padded to n: each may attend to its own first `lengths[...]` positions."""
    lengths = np.asarray(lengths)
    if lengths.dtype.kind not in "iu" or (lengths.size and (lengths.min() < 0 or lengths.max() > n)):
        raise ValueError(f"length_mask needs integer lengths from 0 to {n}, got {lengths}")
    return np.arange(n) < lengths[..., None, None]


def window_mask(n: int, window: int) -> NDArray[np.bool_]:
    """Boolean (n, n), a sliding window: each position may attend to those less than `window` positions away.

    That is on both sides; with causal=True beside it, to itself and the window − 1 positions before it.
    """
    if window < 1:
        raise ValueError(f"window_mask needs a window of at least 1, the position itself, not {window}")
    near: NDArray[np.bool_] = np.abs(np.arange(n) - np.arange(n)[:, None]) < window
    return near


def check_shapes(q, k, v):
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError("needs q (..., Tq, d), k (..., Tk, d) and v (..., Tk, d_v)")
    if 0 in q.shape[-2:] or 0 in k.shape[-2:]:
        raise ValueError("the sequence is empty: there is nothing to attend to")


def check_same_length(what, n_queries, n_keys):
    if n_queries != n_keys:
        raise ValueError(f"{what} needs as many queries as keys, not {n_queries} and {n_keys}")


def check_mask(mask, scores_shape):
    """The mask as an array, if it is boolean and broadcasts to the scores."""
    mask = boolean(mask)
    try:
        np.broadcast_to(mask, scores_shape)
    except ValueError:
        raise ValueError(f"a mask of shape {mask.shape} does not broadcast to scores of shape {scores_shape}") from None
    return mask


@functools.lru_cache(maxsize=8)
def _blocked_later(n_queries, n_keys, dtype):
    """What causal attention adds to the scores, keys-first: −inf for keys later than the query, else 0."""
    check_same_length("causal=True", n_queries, n_keys)
    return np.where(causal_mask(n_keys), 0, -np.inf).astype(dtype).T.copy()


def _blocked(mask, causal, lead, n_queries, n_keys, dtype):
    """What to add to the scores, keys-first; which queries attend to anything; which keys any query attends to."""
    mask = check_mask(mask, (*lead, n_queries, n_keys))
    if causal:
        check_same_length("causal=True", n_queries, n_keys)
        mask = mask & causal_mask(n_keys)
    mask = np.broadcast_to(mask, (*mask.shape[:-2], n_queries, n_keys))
    blocked = np.ascontiguousarray(np.where(mask.mT, 0, -np.inf).astype(dtype))
    blocked = np.broadcast_to(blocked, (*lead, n_keys, n_queries))
    return blocked, mask.any(-1)[..., None], mask.any(-2)[..., None]


def _for_all_heads(mask, q, k):
    """A mask without an axis for the heads, (..., Tq, Tk), gets one."""
    if mask is None or np.ndim(mask) < max(2, np.ndim(q), np.ndim(k)) or np.ndim(mask) > max(np.ndim(q), np.ndim(k)):
        return mask
    return boolean(mask)[..., None, :, :]


def _split(a, n_heads):
    """(..., T, n_heads · d) -> (..., n_heads, T, d), without a copy."""
    if n_heads < 1 or a.ndim < 2 or a.shape[-1] % n_heads:
        raise ValueError(f"cannot split the last axis of shape {a.shape} evenly among n_heads = {n_heads}")
    return a.reshape(*a.shape[:-1], n_heads, a.shape[-1] // n_heads).swapaxes(-2, -3)


def _merge(a):
    """(..., n_heads, T, d) -> (..., T, n_heads · d): no copy either, for arrays made by `_empty_like`."""
    a = a.swapaxes(-2, -3)
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])


def _empty_like(a, width):
    """An array for results, (..., T, width), with its axes in memory in the order of a's."""
    if width == a.shape[-1]:
        return np.empty_like(a)
    return np.empty_like(np.broadcast_to(a[..., :1], (*a.shape[:-1], width)))


def _blocks(lead, n_queries, n_keys, skip_later, budget=2**16, width=64):
    """Slices (batch entries, queries, keys) that cover all scores, each block small enough to stay in cache.

    Of causal attention's scores those behind the last query of a block are left out: nothing may look there.
    """
    size = max(1, math.prod(lead[1:]) * min(n_queries, width) * n_keys)
    step = max(1, budget // size)
    entries = [slice(start, start + step) for start in range(0, lead[0], step)] if lead else [...]
    queries = [slice(start, min(start + width, n_queries)) for start in range(0, n_queries, width)]
    return [(e, q, slice(q.stop if skip_later else n_keys)) for e in entries for q in queries]
