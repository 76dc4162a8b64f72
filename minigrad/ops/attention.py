"""Scaled dot-product attention: softmax's main use, as one op with one hand-derived backward.  (Vaswani et al. 2017)"""

import numpy as np

from minigrad.engine import Joint, op
from minigrad.ops.attention_weights import attention_weights, check_shapes, scale_of_scores
from minigrad.ops.heads import from_heads, to_heads
from minigrad.ops.masks import allowed_pairs, attending_and_attended
from minigrad.ops.softmax import exp_shifted, total_or_one


@op
def attention(q, k, v, *, n_heads=None, mask=None, key_mask=None, causal=False, scale=None):
    """Each query looks at all keys and takes the average of their values, weighted by how well the keys match it.

        S = q kᵀ / √d          scores     (Tq, Tk)
        W = softmax(S)         weights, each row sums to 1
        y = W v

    Why √d.  If the entries of q and k are independent, with mean 0 and variance 1, each product qᵢkᵢ has variance 1,
    and their sum q·k over d of them has variance d. Divided by √d, its standard deviation, it has variance 1 for any d.
    Without that, scores would grow with d, softmax would put nearly all weight on one key, and little gradient would
    come back: in grad_S below, W is near 0 at the other keys, and the bracket is near 0 at that one.

    Shapes.  q (..., Tq, d), k (..., Tk, d), v (..., Tk, d_v), y (..., Tq, d_v); leading axes (batch, heads) broadcast.
    mask is boolean, True = may attend, and broadcasts to (..., Tq, Tk). key_mask (..., Tk) is boolean, too: True = this
    key counts, False = it is padding. With causal=True position t sees only positions up to t; the queries are the last
    Tq of the Tk positions. With n_heads, q, k and v are (..., T, n_heads · d): each head attends with its own d
    features, and the results stand side by side, y (..., Tq, n_heads · d_v). A mask with as many axes as q or k is then
    for all heads; one with an axis more, (..., n_heads, Tq, Tk), is for each. scale takes the place of 1/√d.

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
    allowed = allowed_pairs(q, k, v, n_heads=n_heads, mask=mask, key_mask=key_mask, causal=causal)
    q, k, v = (to_heads(a, n_heads) for a in (q, k, v))
    attending, attended = (True, True) if allowed is None else attending_and_attended(allowed)
    q, k, v = np.where(attending, q, 0), np.where(attended, k, 0), np.where(attended, v, 0)
    scale = scale_of_scores(scale, q)

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


attention.weights = attention_weights  # type: ignore[attr-defined]  # a recording asks for them by this name
