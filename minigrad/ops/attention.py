"""Scaled dot-product attention: softmax's main use, as one op with one hand-derived backward.  (Vaswani et al. 2017)"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from minigrad.engine import Joint, Tensor, op
from minigrad.ops.elementwise import where
from minigrad.ops.heads import check_heads, from_heads, split_heads, to_heads
from minigrad.ops.linear import matmul
from minigrad.ops.masks import allowed_pairs, attending_and_attended
from minigrad.ops.shape import swapaxes
from minigrad.ops.softmax import exp_shifted, softmax, total_or_one
from minigrad.tensors.arguments import with_context


@op
def attention(q, k, v, *, n_heads=None, mask=None, causal=False):
    """Each query looks at all keys and takes the average of their values, weighted by how well the keys match it.

        S = q kᵀ / √d          scores     (Tq, Tk)
        W = softmax(S)         weights, each row sums to 1
        y = W v

    Why √d.  If the entries of q and k are independent, with mean 0 and variance 1, each product qᵢkᵢ has variance 1,
    and their sum q·k over d of them has variance d. Divided by √d, its standard deviation, it has variance 1 for any d.
    Without that, scores would grow with d, softmax would put nearly all weight on one key, and little gradient would
    come back: in grad_S below, W is near 0 at the other keys, and the bracket is near 0 at that one.

    Shapes.  q (..., Tq, d), k (..., Tk, d), v (..., Tk, d_v), y (..., Tq, d_v); leading axes (batch, heads) broadcast.
    mask is boolean, True = may attend, and broadcasts to (..., Tq, Tk). With causal=True position t sees only positions
    up to t; this needs as many queries as keys. With n_heads, q, k and v are (..., T, n_heads · d): each head attends
    with its own d features, and the results stand side by side, y (..., Tq, n_heads · d_v). A mask with as many axes as
    q or k is then for all heads; one with an axis more, (..., n_heads, Tq, Tk), is for each.

    Backward.  Go back through the three steps, starting with the last. y = W v and S = q kᵀ / √d are matrix products
    (see `matmul`), and between them every row goes through a softmax (see `softmax`). ∘ multiplies element by element.
        grad_v = Wᵀ grad_y
        grad_W = grad_y vᵀ
        grad_S = W ∘ (grad_W − Σⱼ Wₜⱼ grad_Wₜⱼ)           the sum over each row
        grad_q = grad_S k / √d
        grad_k = grad_Sᵀ q / √d

    Example.  Causal, three positions, d = 1:  q = (1, 1, 1),  k = (0, ln 3, ln 2),  v = (0, 4, 6).
             exp(S), masked      W                  y
        t=0  1                   1                  0
        t=1  1  3                1/4  3/4           3
        t=2  1  3  2             1/6  1/2  1/3      4
    Let only the last output matter: grad_y = (0, 0, 1). Then grad_v = (1/6, 1/2, 1/3), the last row of W. In that row
    grad_W = v, so grad_S = W ∘ (v − 4) = (−2/3, 0, 2/3). To raise the output, give more weight to the 6 and less to the
    0; the 4 is what came out anyway. And as q = 1, grad_k is the same, (−2/3, 0, 2/3).

    Numerics.  A query that may attend to nothing gets y = 0 and gradient 0. A nan in a key or value that no query may
    attend to affects neither the output nor any gradient, nor does one in such a query.
    """
    check_shapes(q, k, v, n_heads)
    allowed = allowed_pairs(q, k, v, n_heads=n_heads, mask=mask, causal=causal)
    q, k, v = (to_heads(a, n_heads) for a in (q, k, v))
    attending, attended = (True, True) if allowed is None else attending_and_attended(allowed)
    q, k, v = np.where(attending, q, 0), np.where(attended, k, 0), np.where(attended, v, 0)
    scale = 1 / math.sqrt(q.shape[-1])

    W, _ = exp_shifted(q @ k.mT * scale, -1, allowed)
    W /= total_or_one(W, -1)
    y = W @ v

    def vjp_qkv(grad_y):
        grad_y = np.where(attending, to_heads(grad_y, n_heads), 0)
        grad_v = W.mT @ grad_y
        grad_W = grad_y @ v.mT
        grad_S = W * (grad_W - (W * grad_W).sum(-1, keepdims=True))
        grad_q, grad_k = grad_S @ k * scale, grad_S.mT @ q * scale
        return [from_heads(grad, n_heads) for grad in (grad_q, grad_k, grad_v)]

    return from_heads(y, n_heads), Joint(vjp_qkv)


def attention_weights(
    q: ArrayLike | Tensor,
    k: ArrayLike | Tensor,
    *,
    n_heads: int | None = None,
    mask: ArrayLike | Tensor | None = None,
    causal: bool = False,
    normalize: Callable[..., Tensor] = softmax,
) -> Tensor:
    """The weights W of `attention`, shape (..., Tq, Tk) or with n_heads (..., n_heads, Tq, Tk), in plain ops.

    `normalize` takes the place of softmax: a normalizer (scores, *, axis, mask), such as `hardmax`.
    """
    q, k = (a if isinstance(a, Tensor) else Tensor(a) for a in (q, k))
    allowed = _allowed(q, k, n_heads, mask, causal)
    q, k = split_heads(q, n_heads), split_heads(k, n_heads)
    if allowed is not None:
        attending, attended = attending_and_attended(allowed)
        q, k = where(attending, q, 0.0), where(attended, k, 0.0)
    scores = matmul(q, swapaxes(k, axis1=-1, axis2=-2)) / math.sqrt(q.shape[-1])
    return normalize(scores, axis=-1, mask=allowed)


def seen_values(q: Tensor, v: Tensor, *, n_heads: int, mask: ArrayLike | None, causal: bool) -> Tensor:
    """The values, split into heads, with 0 where no query may look: 0 times nan would be nan in the weighted sum."""
    allowed = _allowed(q, v, n_heads, mask, causal)
    v = split_heads(v, n_heads)
    return v if mask is None or allowed is None else where(attending_and_attended(allowed)[1], v, 0.0)


def _allowed(q, k, n_heads, mask, causal):
    """`allowed_pairs`, for use outside of an op: its errors say where."""
    try:
        check_shapes(q, k, k, n_heads)
        return allowed_pairs(q, k, k, n_heads=n_heads, mask=mask, causal=causal)
    except (ValueError, TypeError) as error:
        raise with_context(error, "attention", (q, k)) from error


attention.weights = attention_weights  # type: ignore[attr-defined]  # a recording asks for them by this name


def check_shapes(q, k, v, n_heads=None):
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError("needs q (..., Tq, d), k (..., Tk, d) and v (..., Tk, d_v)")
    if 0 in q.shape[-2:] or 0 in k.shape[-2:]:
        raise ValueError("the sequence is empty: there is nothing to attend to")
    if n_heads is not None:
        check_heads(q.shape, n_heads)  # k has as many features as q
        check_heads(v.shape, n_heads)
