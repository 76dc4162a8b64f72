"""Attention for long sequences: a tile of scores at a time, never all of them.  (Dao et al. 2022, FlashAttention)"""

import numpy as np

from minigrad.engine import Joint, op
from minigrad.ops.attention_weights import attention_weights, check_shapes, scale_of_scores
from minigrad.ops.masks import allowed_pairs, check_no_more_queries, window_mask
from minigrad.ops.softmax import boolean
from minigrad.tensors.arguments import check_count


@op
def tiled_attention(q, k, v, *, mask=None, key_mask=None, causal=False, window=None, scale=None, tile=256):
    """What `attention` computes, in memory that grows with the length of the sequence, not with its square.

        S = q kᵀ / √d,   W = softmax(S),   y = W v          S and W are never there as a whole

    Forward.  It seems that a row's maximum and sum must be known before softmax can weigh the first value. The online
    softmax (Milakov & Gimelshein 2018) does without. For each query keep the maximum m and two sums over the keys so
    far, s = Σⱼ exp(Sⱼ − m) and a = Σⱼ exp(Sⱼ − m) vⱼ. When the next tile of keys raises the maximum to m′, all that was
    summed so far is too large by one and the same factor, exp(m′ − m):
        s ← s · exp(m − m′) + Σⱼ exp(Sⱼ − m′)
        a ← a · exp(m − m′) + Σⱼ exp(Sⱼ − m′) vⱼ             j over the keys of the tile
    After the last tile y = a / s. (Without its backward: Rabe & Staats 2021.)

    Shapes.  q (..., Tq, d), k (..., Tk, d), v (..., Tk, d_v), y (..., Tq, d_v); leading axes (batch, heads) broadcast.
    mask, key_mask, causal and scale are those of `attention`. With window=w a position sees only those less than w
    away, as `window_mask(n, w)` has it; as with causal, the queries are the last Tq of the Tk positions. Keys out of
    reach are skipped: with a window, time is linear, too. `tile` queries by `tile` keys are scored at once. There is no
    n_heads: split first, see `split_heads`.

    Backward.  m and s of each row are kept, the weights are not. A tile of them is made again where it is needed, so S
    is computed twice; then every tile adds its part to what `attention` derives:
        Wₜⱼ = exp(Sₜⱼ − mₜ) / sₜ
        grad_v = Wᵀ g,   grad_S = W ∘ (g vᵀ − D),   grad_q = grad_S k / √d,   grad_k = grad_Sᵀ q / √d
    D needs no whole row of weights:  Dₜ = Σⱼ Wₜⱼ (gₜ · vⱼ) = gₜ · Σⱼ Wₜⱼ vⱼ = gₜ · yₜ  (Dao et al. 2022).

    Numerics.  A query that may attend to nothing gets y = 0 and gradient 0; a nan in it, or in a key or value that no
    query may attend to, affects neither the output nor any gradient.
    """
    check_shapes(q, k, v)
    n_queries, n_keys, scale = q.shape[-2], k.shape[-2], scale_of_scores(scale, q)
    check_tiles(n_queries, n_keys, causal, window, tile)
    mask = allowed_pairs(q, k, v, mask=mask, key_mask=key_mask)
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    q, k, v = (np.broadcast_to(x, lead + x.shape[-2:]) for x in (q, k, v))
    tiles = tiles_within_reach(n_queries, n_keys, causal, window, tile)
    attending, attended = True, True
    if mask is not None:
        mask = np.broadcast_to(mask, (*lead, n_queries, n_keys))
        attending, attended = some_attention(mask, tiles, causal, window)
    q, k, v = np.where(attending, q, 0), np.where(attended, k, 0), np.where(attended, v, 0)

    def scores(queries, keys):
        S = q[..., queries, :] @ k[..., keys, :].mT * scale
        allowed = allowed_in_tile(mask, queries, keys, causal, window, n_keys - n_queries)
        return S if allowed is None else np.where(allowed, S, -np.inf)

    m = np.full((*lead, n_queries, 1), -np.inf, q.dtype)
    s = np.zeros((*lead, n_queries, 1), q.dtype)
    a = np.zeros((*lead, n_queries, v.shape[-1]), q.dtype)
    for queries, all_keys in tiles:
        rows = np.s_[..., queries, :]
        for keys in all_keys:
            S = scores(queries, keys)
            larger = np.maximum(m[rows], S.max(-1, keepdims=True))
            finite = np.where(np.isneginf(larger), 0, larger)  # −inf: nothing to attend to so far
            E, shrink = np.exp(S - finite), np.exp(m[rows] - finite)
            s[rows] = s[rows] * shrink + E.sum(-1, keepdims=True)
            a[rows] = a[rows] * shrink + E @ v[..., keys, :]
            m[rows] = larger
    m, s = np.where(np.isneginf(m), 0, m), np.where(s == 0, 1, s)  # a query with nothing to attend to
    y = a / s

    def vjp_qkv(grad_y):
        g = np.where(attending, grad_y, 0)
        D = (g * y).sum(-1, keepdims=True)
        grad_q, grad_k, grad_v = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
        for queries, all_keys in tiles:
            rows = np.s_[..., queries, :]
            for keys in all_keys:
                W = np.exp(scores(queries, keys) - m[rows]) / s[rows]
                grad_v[..., keys, :] += W.mT @ g[rows]
                grad_S = W * (g[rows] @ v[..., keys, :].mT - D[rows])
                grad_q[rows] += grad_S @ k[..., keys, :] * scale
                grad_k[..., keys, :] += grad_S.mT @ q[rows] * scale
        return grad_q, grad_k, grad_v

    return y, Joint(vjp_qkv)


def tiled_attention_weights(q, k, *, mask=None, key_mask=None, causal=False, window=None, scale=None):
    """The weights of `tiled_attention`, all at once, for looking at: see `attention_weights`."""
    near = None if window is None else window_mask(k.shape[-2], window)[-q.shape[-2] :]
    mask = near if mask is None else mask if near is None else boolean(mask) & near
    return attention_weights(q, k, mask=mask, key_mask=key_mask, causal=causal, scale=scale)


tiled_attention.weights = tiled_attention_weights  # type: ignore[attr-defined]


# --- which tiles, and what is allowed in each -------------------------------------------------------------------------


def tiles_within_reach(n_queries, n_keys, causal, window, tile):
    """For each slice of queries, the slices of keys that one of them may attend to."""
    tiles = []
    offset = n_keys - n_queries  # query t is at position t + offset
    for start in range(0, n_queries, tile):
        stop = min(start + tile, n_queries)
        first = 0 if window is None else max(0, start + offset - window + 1)
        last = n_keys if window is None else min(n_keys, stop + offset - 1 + window)
        last = stop + offset if causal else last
        tiles.append((slice(start, stop), [slice(at, min(at + tile, last)) for at in range(first, last, tile)]))
    return tiles


def allowed_in_tile(mask, queries, keys, causal, window, offset):
    """Which pairs of one tile may attend, boolean (..., queries, keys); None where all may."""
    allowed = None if mask is None else mask[..., queries, keys]
    start, stop = queries.start + offset, queries.stop + offset  # as positions among the keys
    j, t = np.arange(keys.start, keys.stop), np.arange(start, stop)[:, None]
    limits = []
    if causal and keys.stop - 1 > start:
        limits.append(j <= t)
    if window is not None and max(keys.stop - start, stop - keys.start) > window:
        limits.append(np.abs(j - t) < window)
    for limit in limits:
        allowed = limit if allowed is None else allowed & limit
    return allowed


def some_attention(mask, tiles, causal, window):
    """Which queries may attend to anything, (..., Tq, 1), and which keys any query may attend to, (..., Tk, 1)."""
    offset = mask.shape[-1] - mask.shape[-2]
    attending, attended = np.zeros((*mask.shape[:-1], 1), bool), np.zeros((*mask.shape[:-2], mask.shape[-1], 1), bool)
    for queries, all_keys in tiles:
        for keys in all_keys:
            allowed = allowed_in_tile(mask, queries, keys, causal, window, offset)
            attending[..., queries, :] |= allowed.any(-1)[..., None]
            attended[..., keys, :] |= allowed.any(-2)[..., None]
    return attending, attended


def check_tiles(n_queries, n_keys, causal, window, tile):
    if causal or window is not None:
        check_no_more_queries("causal=True" if causal else "window", n_queries, n_keys)
    if window is not None:
        check_count("window", window)  # 1 is the position itself
    check_count("tile", tile)
