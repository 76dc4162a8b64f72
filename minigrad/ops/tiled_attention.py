"""Attention for long sequences: a tile of scores at a time, never all of them.  (Dao et al. 2022, FlashAttention)"""

import math

import numpy as np

from minigrad.engine import Joint, op
from minigrad.ops.attention import check_mask, check_same_length, check_shapes


@op
def tiled_attention(q, k, v, *, mask=None, causal=False, window=None, tile=256):
    """What `attention` computes, in memory that grows with the length of the sequence, not with its square.

        S = q kᵀ / √d,   W = softmax(S),   y = W v          S and W are never there as a whole

    Forward.  Softmax needs a row's maximum and sum before it can weigh the first value; or so it seems. Keep for each
    query the maximum m so far, s = Σⱼ exp(Sⱼ − m) and y = Σⱼ exp(Sⱼ − m) vⱼ over the keys so far. When the next tile of
    keys raises the maximum to m′, all that was summed up is too large by one and the same factor:
        s ← s · exp(m − m′) + Σⱼ exp(Sⱼ − m′)
        y ← y · exp(m − m′) + Σⱼ exp(Sⱼ − m′) vⱼ             j over the keys of the tile
    and after the last one the answer is y / s.  (Milakov & Gimelshein 2018, Online normalizer calculation for softmax)

    Shapes.  q (..., Tq, d), k (..., Tk, d), v (..., Tk, d_v), y (..., Tq, d_v); leading axes (batch, heads) broadcast.
    mask is boolean, True = may attend, and broadcasts to (..., Tq, Tk). causal=True: position t attends to none later.
    window=w: to none w or more positions away, |t − j| < w; `window_mask(n, w)` is the same as a mask. Both need as
    many queries as keys. Keys that these put out of reach are left out, so with a window time is linear, too.
    tile: how many queries by how many keys are scored at once. There is no n_heads: split first, see `split_heads`.

    Backward.  The rows' m and s are kept, the weights are not: a tile of them is made again where it is needed,
        Wₜⱼ = exp(Sₜⱼ − mₜ) / sₜ
    at the price of computing S twice. From there on every tile adds its part to what `attention` derives:
        grad_S = W ∘ (g vᵀ − D),   Dₜ = gₜ · yₜ
        grad_v = Wᵀ g,   grad_q = grad_S k / √d,   grad_k = grad_Sᵀ q / √d

    Numerics.  As in `attention` tiles are kept keys-first, and g is divided by s instead of W. m and s apart are more
    exact than the row's logsumexp, m + ln s, in which a large m would round the digits of ln s away.
    A query with everything masked gets y = 0 and gradient 0. A nan or inf in a key and value that no query may attend,
    or in a query that may attend to nothing, goes nowhere.
    """
    check_shapes(q, k, v)
    n_queries, n_keys, d = q.shape[-2], k.shape[-2], q.shape[-1]
    if causal or window is not None:
        check_same_length("causal=True" if causal else "window", n_queries, n_keys)
    if window is not None and window < 1:
        raise ValueError(f"a window holds at least the position itself: window must be at least 1, not {window}")
    if tile < 1:
        raise ValueError(f"a tile is at least 1 query by 1 key, not {tile}")
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    q, k, v = (np.broadcast_to(a, lead + a.shape[-2:]) for a in (q, k, v))
    tiles = _tiles(n_queries, n_keys, causal, window, tile)
    if mask is not None:
        mask = np.broadcast_to(check_mask(mask, (*lead, n_queries, n_keys)), (*lead, n_queries, n_keys))
        attending, attended = _attention_paid(mask, tiles, causal, window)
        q, k, v = np.where(attending, q, 0), np.where(attended, k, 0), np.where(attended, v, 0)
    q = q * (1 / math.sqrt(d))

    def scores(queries, keys):
        """A tile of Sᵀ, (..., keys, queries)."""
        S = k[..., keys, :] @ q[..., queries, :].mT
        allowed = _allowed(mask, queries, keys, causal, window)
        return S if allowed is None else np.where(allowed.mT, S, np.asarray(-np.inf, S.dtype))

    m = np.full((*lead, 1, n_queries), -np.inf, q.dtype)
    s = np.zeros((*lead, 1, n_queries), q.dtype)
    y = np.zeros((*lead, n_queries, v.shape[-1]), q.dtype)
    for queries, all_keys in tiles:
        m_, s_, y_ = m[..., queries], s[..., queries], y[..., queries, :]  # views: what is written is written there
        for keys in all_keys:
            e = scores(queries, keys)
            larger = np.maximum(m_, e.max(-2, keepdims=True))
            finite = np.where(np.isneginf(larger), 0, larger)  # nothing to attend to so far
            e -= finite
            np.exp(e, out=e)
            shrink = np.exp(m_ - finite)
            s_ *= shrink
            s_ += e.sum(-2, keepdims=True)
            y_ *= shrink.mT
            y_ += e.mT @ v[..., keys, :]
            m_[...] = larger
    m[np.isneginf(m)] = 0  # a query with nothing to attend to
    s[s == 0] = 1
    y /= s.mT

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
        grad_q *= 1 / math.sqrt(d)
        return grad_q, grad_k, grad_v

    return y, Joint(vjp_qkv)


def _tiles(n_queries, n_keys, causal, window, tile):
    """For each slice of queries, the slices of keys that one of them may attend to."""
    tiles = []
    for start in range(0, n_queries, tile):
        stop = min(start + tile, n_queries)
        first = 0 if window is None else max(0, start - window + 1)
        last = n_keys if window is None else min(n_keys, stop - 1 + window)
        last = stop if causal else last
        tiles.append((slice(start, stop), [slice(at, min(at + tile, last)) for at in range(first, last, tile)]))
    return tiles


def _allowed(mask, queries, keys, causal, window):
    """Which pairs of one tile may attend, boolean (..., queries, keys); None where all may."""
    allowed = None if mask is None else mask[..., queries, keys]
    last, first = keys.stop - 1 - queries.start, keys.start - queries.stop + 1  # how far ahead of a query a key is
    later, far = causal and last > 0, window is not None and max(last, -first) >= window
    if later or far:
        j, t = np.arange(keys.start, keys.stop), np.arange(queries.start, queries.stop)[:, None]
        near = j <= t if later else j < t + window
        if far:
            near &= j > t - window
        allowed = near if allowed is None else allowed & near
    return allowed


def _attention_paid(mask, tiles, causal, window):
    """Which queries may attend to anything, (..., Tq, 1), and which keys any query may attend to, (..., Tk, 1)."""
    attending, attended = np.zeros((*mask.shape[:-1], 1), bool), np.zeros((*mask.shape[:-2], mask.shape[-1], 1), bool)
    for queries, all_keys in tiles:
        for keys in all_keys:
            allowed = _allowed(mask, queries, keys, causal, window)
            attending[..., queries, :] |= allowed.any(-1)[..., None]
            attended[..., keys, :] |= allowed.any(-2)[..., None]
    return attending, attended
