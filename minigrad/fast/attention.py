"""Attention in blocks, for speed: a page of NumPy that computes what ops/attention and ops/tiled_attention derive.

Both kernels keep scores keys-first, as Sᵀ (Tk, Tq). Sums over the keys are then products with a row of ones, and the
maximum, where it is needed, runs over axis −2, which NumPy does up to four times faster than over a last axis of 64.
Neither makes W: with E = exp(S − m), m the maximum of a row or any other number, and its row sums s, W = E/s, and
dividing the smaller arrays y and g by s is cheaper, as in y = (E v)/s. And D, the sum of W ∘ grad_W over a row, is
g · y.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from minigrad.engine import Joint
from minigrad.fast.rows import ones
from minigrad.fast.switch import faster
from minigrad.ops.attention import attention
from minigrad.ops.attention_weights import check_shapes, scale_of_scores
from minigrad.ops.heads import from_heads, to_heads
from minigrad.ops.masks import allowed_pairs, attending_and_attended, check_no_more_queries
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
    product to the last. Causal attention leaves out the keys behind a block's last query. Results are laid out in
    memory as q, k and v are, so that splitting and merging heads costs no copy.
    """
    check_shapes(q, k, v, n_heads)
    allowed = None
    if mask is not None or key_mask is not None:
        allowed = allowed_pairs(q, k, v, n_heads=n_heads, mask=mask, key_mask=key_mask, causal=causal)
    q, k, v = (to_heads(a, n_heads) for a in (q, k, v))
    q, k, v, lead = _one_lead(q, k, v)
    n_queries, n_keys, d = q.shape[-2], k.shape[-2], q.shape[-1]
    attending, kept = None, None  # kept: False for scores that are forbidden, keys-first
    if allowed is not None:
        attending, attended = attending_and_attended(allowed)
        q, k, v = np.where(attending, q, 0), np.where(attended, k, 0), np.where(attended, v, 0)
        kept = np.broadcast_to(np.ascontiguousarray(allowed.mT), (*lead, n_keys, n_queries))
    elif causal:
        check_no_more_queries("causal=True", n_queries, n_keys)

    scale = scale_of_scores(scale, q)
    q = q * scale  # a smaller array than the scores
    s = np.empty((*lead, 1, n_queries), q.dtype)
    y = _empty_like(q, v.shape[-1])
    blocks = _blocks(lead, n_queries, n_keys, skip_later=causal and allowed is None)
    E = []
    for block in blocks:
        e = k[block.keys] @ q[block.queries].mT  # (..., keys, queries)
        if kept is not None:
            _exp_of_scores(e, kept[block.scores])
        else:
            _exp_of_scores(e, _not_later(e.shape[-1], e.dtype) if causal else None)
        np.matmul(ones(e.shape[-2], e.dtype)[None, :], e, out=s[block.sums])
        np.matmul(e.mT, v[block.keys], out=y[block.queries])
        E.append(e)
    s[s == 0] = 1  # nothing to attend to
    y /= s.mT

    def vjp_qkv(grad_y):
        grad_y = to_heads(grad_y, n_heads) / s.mT
        if attending is not None:
            grad_y = np.where(attending, grad_y, 0)
        grad_q, grad_k, grad_v = _empty_like(q, d), np.empty_like(k), np.empty_like(v)
        for block, e in zip(reversed(blocks), reversed(E), strict=True):
            g, k_ = grad_y[block.queries], k[block.keys]
            grad_s = v[block.keys] @ g.mT
            grad_s -= np.vecdot(g, y[block.queries])[..., None, :]
            grad_s *= e
            np.matmul(grad_s.mT, k_, out=grad_q[block.queries])
            if block.last:  # comes first and has all keys: there is nothing to add to yet
                np.matmul(grad_s, q[block.queries], out=grad_k[block.keys])
                np.matmul(e, g, out=grad_v[block.keys])
            else:
                grad_k[block.keys] += grad_s @ q[block.queries]
                grad_v[block.keys] += e @ g
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


def _exp_of_scores(e, kept):
    """exp(scores − m), in place. `kept` says which scores of the last keys count: 0 or False for those that do not.

    Softmax does not depend on m, which is there against overflow. So m is the maximum only in a block that has scores
    beyond ±10; else it is 0, and saves two passes. As exp(10) is 2e4, even float32 overflows no sooner than from values
    of about 1e32. In the last digits, a result may depend on what else is in its block.
    """
    part = e if kept is None else e[..., -kept.shape[-2] :, :]
    if e.min(initial=0) > -10 and e.max(initial=0) < 10:
        np.exp(e, out=e)
        if kept is not None:
            part *= kept
        return
    if kept is not None:  # written over, not added to: nan − inf would be nan
        np.copyto(part, -np.inf, where=kept == 0)
    e -= np.maximum(e.max(-2, keepdims=True), np.finfo(e.dtype).min)  # −inf − (−inf) would be nan
    np.exp(e, out=e)


@functools.lru_cache(maxsize=8)
def _not_later(n, dtype):
    """0 for the scores of keys later than the query, else 1, where the last n queries meet the last n keys."""
    kept = np.tri(n, dtype=dtype).T.copy()
    kept.flags.writeable = False
    return kept


def _empty_like(a, width):
    """An array for results, (..., T, width), with its axes in memory in the order of a's."""
    if width == a.shape[-1]:
        return np.empty_like(a)
    return np.empty_like(np.broadcast_to(a[..., :1], (*a.shape[:-1], width)))


class Block(NamedTuple):
    """A part of the scores, and the index of what belongs to it in each array."""

    queries: tuple[Any, ...]  # q, y and their gradients
    keys: tuple[Any, ...]  # k, v and their gradients
    sums: tuple[Any, ...]  # s
    scores: tuple[Any, ...]  # keys-first
    last: bool  # has the last queries


@functools.lru_cache(maxsize=64)
def _blocks(lead, n_queries, n_keys, skip_later, budget=2**16, width=64):
    """Blocks that cover all scores, a few batch entries and some queries each, small enough to stay in cache.

    Of causal attention's scores those behind the last query of a block are left out: nothing may look there. The
    queries are the last of the positions.
    """
    size = max(1, math.prod(lead[1:]) * min(n_queries, width) * n_keys)
    step = max(1, budget // size)
    blocks, all_features = [], slice(None)
    for start in range(0, lead[0] if lead else 1, step):
        entries = (slice(start, start + step), ...) if lead else (...,)
        for first in range(0, n_queries, width):
            queries = slice(first, min(first + width, n_queries))
            keys = slice(queries.stop + n_keys - n_queries if skip_later else n_keys)
            blocks.append(
                Block(
                    queries=(*entries, queries, all_features),
                    keys=(*entries, keys, all_features),
                    sums=(*entries, queries),
                    scores=(*entries, keys, queries),
                    last=queries.stop == n_queries,
                )
            )
    return tuple(blocks)
