"""Attention in blocks, for speed: a page of NumPy that computes what ops/attention and ops/tiled_attention derive.

Both kernels keep scores keys-first, as Sᵀ (Tk, Tq): the maximum then runs over axis −2, which NumPy does four times
faster than over a last axis of 64. Neither makes W: with E = exp(S − max) and its row sums s, W = E/s, and dividing the
smaller arrays y and g by s is cheaper, as in y = (E v)/s. And D, the sum of W ∘ grad_W over a row, is g · y.
"""

import functools
import math

import numpy as np

from minigrad.engine import Joint
from minigrad.fast.rows import ones
from minigrad.fast.switch import faster
from minigrad.ops.attention import attention
from minigrad.ops.attention_weights import check_shapes, scale_of_scores
from minigrad.ops.heads import from_heads, to_heads
from minigrad.ops.masks import allowed_pairs, attending_and_attended, causal_mask, check_no_more_queries
from minigrad.ops.tiled_attention import (
    allowed_in_tile,
    check_tiles,
    some_attention,
    tiled_attention,
    tiles_within_reach,
)


@faster(attention)
def attention_in_blocks(q, k, v, *, n_heads=None, mask=None, key_mask=None, causal=False, scale=None):
    """Scores are made block by block, a few batch entries and 64 queries at a time: they stay in cache from the first
    product to the last. Causal attention leaves out the blocks behind the diagonal. Results are laid out in memory as
    q, k and v are, so that splitting and merging heads costs no copy.
    """
    check_shapes(q, k, v, n_heads)
    allowed = None
    if mask is not None or key_mask is not None:
        allowed = allowed_pairs(q, k, v, n_heads=n_heads, mask=mask, key_mask=key_mask, causal=causal)
    q, k, v = (to_heads(a, n_heads) for a in (q, k, v))
    q, k, v, lead = _one_lead(q, k, v)
    n_queries, n_keys, d = q.shape[-2], k.shape[-2], q.shape[-1]
    attending, forbidden = None, None  # which scores become −inf, keys-first
    if allowed is not None:
        attending, attended = attending_and_attended(allowed)
        q, k, v = np.where(attending, q, 0), np.where(attended, k, 0), np.where(attended, v, 0)
        forbidden = np.broadcast_to(np.ascontiguousarray(~allowed.mT), (*lead, n_keys, n_queries))
    elif causal:
        forbidden = _later(n_queries, n_keys)

    scale = scale_of_scores(scale, q)
    q = q * scale  # a smaller array than the scores
    s = np.empty((*lead, 1, n_queries), q.dtype)
    y = _empty_like(q, v.shape[-1])
    lowest = np.finfo(q.dtype).min  # where all scores of a query are −inf: −inf − (−inf) would be nan
    blocks = _blocks(lead, n_queries, n_keys, skip_later=causal and allowed is None)
    E = []
    for entries, queries, keys in blocks:
        k_, v_, q_ = k[entries][..., keys, :], v[entries][..., keys, :], q[entries][..., queries, :]
        e = k_ @ q_.mT  # (..., keys, queries)
        if forbidden is not None:  # written over, not added to: nan − inf would be nan
            np.copyto(e, -np.inf, where=(forbidden if allowed is None else forbidden[entries])[..., keys, queries])
        e -= np.maximum(e.max(-2, keepdims=True), lowest)
        np.exp(e, out=e)
        np.matmul(ones(e.shape[-2], e.dtype)[None, :], e, out=s[entries][..., queries])
        np.matmul(e.mT, v_, out=y[entries][..., queries, :])
        E.append(e)
    s[s == 0] = 1  # nothing to attend to
    y /= s.mT

    def vjp_qkv(grad_y):
        grad_y = to_heads(grad_y, n_heads) / s.mT
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
        grad_q *= scale
        return [from_heads(g, n_heads) for g in (grad_q, grad_k, grad_v)]

    return from_heads(y, n_heads), Joint(vjp_qkv)


@faster(tiled_attention)
def tiled_attention_in_place(q, k, v, *, mask=None, key_mask=None, causal=False, window=None, scale=None, tile=256):
    """The page's tiles, keys-first and in place. m and s apart are more exact than the row's logsumexp m + ln s, in
    which a large m would round the digits of ln s away.
    """
    check_shapes(q, k, v)
    n_queries, n_keys = q.shape[-2], k.shape[-2]
    check_tiles(n_queries, n_keys, causal, window, tile)
    mask = allowed_pairs(q, k, v, mask=mask, key_mask=key_mask)
    q, k, v, lead = _one_lead(q, k, v)
    tiles = tiles_within_reach(n_queries, n_keys, causal, window, tile)
    if mask is not None:
        mask = np.broadcast_to(mask, (*lead, n_queries, n_keys))
        attending, attended = some_attention(mask, tiles, causal, window)
        q, k, v = np.where(attending, q, 0), np.where(attended, k, 0), np.where(attended, v, 0)
    scale = scale_of_scores(scale, q)
    q = q * scale

    def scores(queries, keys):
        """A tile of Sᵀ, (..., keys, queries)."""
        S = k[..., keys, :] @ q[..., queries, :].mT
        allowed = allowed_in_tile(mask, queries, keys, causal, window, n_keys - n_queries)
        return S if allowed is None else np.where(allowed.mT, S, np.asarray(-np.inf, S.dtype))

    m = np.full((*lead, 1, n_queries), -np.inf, q.dtype)
    s = np.zeros((*lead, 1, n_queries), q.dtype)
    a = np.zeros((*lead, n_queries, v.shape[-1]), q.dtype)
    for queries, all_keys in tiles:
        m_, s_, a_ = m[..., queries], s[..., queries], a[..., queries, :]  # views: what is written is written there
        for keys in all_keys:
            e = scores(queries, keys)
            larger = np.maximum(m_, e.max(-2, keepdims=True))
            finite = np.where(np.isneginf(larger), 0, larger)  # nothing to attend to so far
            e -= finite
            np.exp(e, out=e)
            shrink = np.exp(m_ - finite)
            s_ *= shrink
            s_ += e.sum(-2, keepdims=True)
            a_ *= shrink.mT
            a_ += e.mT @ v[..., keys, :]
            m_[...] = larger
    m[np.isneginf(m)] = 0  # a query with nothing to attend to
    s[s == 0] = 1
    y = a / s.mT

    def vjp_qkv(grad_y):
        g = grad_y / s.mT
        if mask is not None:
            g = np.where(attending, g, 0)
        D = np.vecdot(g, y)[..., None, :]
        grad_q, grad_k, grad_v = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
        for queries, all_keys in tiles:
            g_ = g[..., queries, :]
            for keys in all_keys:
                e = scores(queries, keys)
                e -= m[..., queries]
                np.exp(e, out=e)
                grad_s = v[..., keys, :] @ g_.mT
                grad_s -= D[..., queries]
                grad_s *= e
                grad_q[..., queries, :] += grad_s.mT @ k[..., keys, :]
                grad_k[..., keys, :] += grad_s @ q[..., queries, :]
                grad_v[..., keys, :] += e @ g_
        grad_q *= scale
        return grad_q, grad_k, grad_v

    return y, Joint(vjp_qkv)


def _one_lead(q, k, v):
    """q, k and v with the same leading axes, and these."""
    lead = q.shape[:-2]
    if not lead == k.shape[:-2] == v.shape[:-2]:
        lead = np.broadcast_shapes(lead, k.shape[:-2], v.shape[:-2])
        q, k, v = (np.broadcast_to(a, lead + a.shape[-2:]) for a in (q, k, v))
    return q, k, v, lead


@functools.lru_cache(maxsize=8)
def _later(n_queries, n_keys):
    """Which scores causal attention forbids, keys-first: those of keys later than the query."""
    check_no_more_queries("causal=True", n_queries, n_keys)
    return ~causal_mask(n_queries, n_keys).T.copy()


def _empty_like(a, width):
    """An array for results, (..., T, width), with its axes in memory in the order of a's."""
    if width == a.shape[-1]:
        return np.empty_like(a)
    return np.empty_like(np.broadcast_to(a[..., :1], (*a.shape[:-1], width)))


def _blocks(lead, n_queries, n_keys, skip_later, budget=2**16, width=64):
    """Slices (batch entries, queries, keys) that cover all scores, each block small enough to stay in cache.

    Of causal attention's scores those behind the last query of a block are left out: nothing may look there. The
    queries are the last of the positions.
    """
    size = max(1, math.prod(lead[1:]) * min(n_queries, width) * n_keys)
    step = max(1, budget // size)
    entries = [slice(start, start + step) for start in range(0, lead[0], step)] if lead else [...]
    queries = [slice(start, min(start + width, n_queries)) for start in range(0, n_queries, width)]
    return [(e, q, slice(q.stop + n_keys - n_queries if skip_later else n_keys)) for e in entries for q in queries]
