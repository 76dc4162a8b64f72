"""The other normalizers, and what each gives up. A normalizer turns scores into weights, as softmax does.

All are called as softmax is, (scores, *, axis=-1, mask=None), and can stand in its place in attention. Masked scores
get weight 0 and gradient 0; where everything is masked, all weights are 0.

    hardmax             all weight on the largest score: gradient exactly 0, so the scores never learn
    uniform             ignores the scores: a control
    sum_normalize       x / Σx: negative scores break it
    sigmoid_normalize   each score alone through a sigmoid, then normalized
    top_k_softmax       softmax over the k largest scores
    sparsemax           of all weights that sum to 1 those nearest to the scores: piecewise linear, with exact zeros
    entmax15            1.5-entmax, between softmax and sparsemax
    softmax1            softmax with a 1 in the denominator: where nothing fits, all weights may be near 0
"""

import numpy as np

from minigrad.engine import op
from minigrad.ops.softmax import exp_shifted, masked, total_or_one
from minigrad.tensors.arguments import check_count


@op
def hardmax(x, *, axis=-1, mask=None):
    """1 for the largest score, 0 for all others: hard attention. Of equal scores the first wins.

        yᵢ = 1 if i = argmaxⱼ xⱼ else 0

    Backward.  Nudge any score a little: the largest is still the largest, and y is the same. Only where two scores tie
    for the largest does y jump. So argmax is not "hard to differentiate"; it is piecewise constant: its derivative
    exists almost everywhere, and is 0.
        grad_x = 0
    The scores therefore never learn by backpropagation. Nor does the *router*, the part of a model that computes them
    and so decides what goes where; in attention that is the query and key projections. Hard attention was first
    trained by sampling its choices (Mnih et al. 2014; Xu et al. 2015), as `estimators.reinforce` does.
    """
    y = one_hot_max(x, axis, mask)

    def vjp_x(grad_y):
        return np.zeros_like(grad_y)

    return y, vjp_x


@op
def uniform(x, *, axis=-1, mask=None):
    """The same weight for all, whatever the scores: yᵢ = 1/n, n the number not masked.

    Backward.  y does not depend on x:
        grad_x = 0
    """
    allowed = _allowed(x, axis, mask)
    n = allowed.sum(axis, keepdims=True, dtype=x.dtype)

    def vjp_x(grad_y):
        return np.zeros_like(grad_y)

    return allowed / np.maximum(n, 1), vjp_x


@op
def sum_normalize(x, *, axis=-1, mask=None):
    """Each score's part of the total: yᵢ = xᵢ / s,  s = Σⱼ xⱼ

    This is fine for positive scores. A negative score gets a negative weight, and where the sum passes through 0 the
    weights have a pole: they are inf or nan there, and huge nearby.

    Backward.  By the quotient rule, where δᵢⱼ is 1 for i = j and 0 otherwise,
        ∂yᵢ/∂xⱼ = (δᵢⱼ s − xᵢ)/s² = (δᵢⱼ − yᵢ)/s
    With g = grad_y,
        grad_xⱼ = (gⱼ − Σᵢ gᵢ yᵢ) / s
    """
    allowed = _allowed(x, axis, mask)
    x = np.where(allowed, x, 0)
    s = x.sum(axis, keepdims=True)
    s = np.where(allowed.any(axis, keepdims=True), s, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = x / s

    def vjp_x(grad_y):
        g = np.where(allowed, grad_y, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(allowed, (g - (g * y).sum(axis, keepdims=True)) / s, 0)

    return y, vjp_x


@op
def sigmoid_normalize(x, *, axis=-1, mask=None):
    """Each score alone through a sigmoid σ, which does not make weights that sum to 1, so they are normalized after.

        yᵢ = σ(xᵢ) / Σⱼ σ(xⱼ)

    Large scores all saturate at σ = 1, and differences between them are lost. For very negative scores it is softmax,
    since there σ(x) is nearly exp(x).

    Backward.  y is the softmax of ln σ(x), and the slope of ln σ(x) is σ(1 − σ)/σ = 1 − σ(x). With g = grad_y, by the
    chain rule,
        grad_xⱼ = yⱼ (gⱼ − Σᵢ gᵢ yᵢ) (1 − σ(xⱼ))

    Numerics.  Computed as that softmax, with ln σ(x) = −ln(1 + exp(−x)), since all σ may round to 0 at once.
    """
    allowed = _allowed(x, axis, mask)
    x = np.where(allowed, x, 0)  # whatever stands behind the mask, nan included
    y, _ = exp_shifted(-np.logaddexp(0, -x), axis, allowed)
    y /= total_or_one(y, axis)
    one_minus_sigmoid = np.exp(-np.logaddexp(0, x))

    def vjp_x(grad_y):
        return y * (grad_y - (grad_y * y).sum(axis, keepdims=True)) * one_minus_sigmoid

    return y, vjp_x


@op
def top_k_softmax(x, *, k=4, axis=-1, mask=None):
    """Softmax over the k largest scores, weight 0 for the rest. Of equal scores the first are kept, exactly k.

    It jumps where places k and k + 1 tie. With k = 1 this is hardmax, and its gradient is exactly 0 as well.

    Backward.  Softmax with all but those k masked: the formula is the same, and where y is 0 so is the gradient.
        grad_xⱼ = yⱼ (gⱼ − Σᵢ gᵢ yᵢ)
    """
    _check_one_axis(axis)
    check_count("k", k)
    scores = masked(x, axis, mask)
    order = np.argsort(-scores, axis, kind="stable")
    best = np.take(order, range(min(k, x.shape[axis])), axis)
    kept = np.full(x.shape, False)
    np.put_along_axis(kept, best, True, axis)
    kept |= np.isnan(scores)  # a nan shows, it is not sorted away

    y, _ = exp_shifted(scores, axis, kept)
    y /= total_or_one(y, axis)

    def vjp_x(grad_y):
        return y * (grad_y - (grad_y * y).sum(axis, keepdims=True))

    return y, vjp_x


@op
def sparsemax(x, *, axis=-1, mask=None):
    """The weights nearest to the scores, in the Euclidean sense: many are exactly 0.  (Martins & Astudillo 2016)

        y = argmin ‖p − x‖² over p ≥ 0, Σp = 1
        yᵢ = max(xᵢ − τ, 0), with the threshold τ that makes them sum to 1

    Finding τ: if the support (where y > 0) were the k largest scores, Σ_support (xᵢ − τ) = 1 gives
    τₖ = (Σ_support xᵢ − 1)/k. The true support is the largest k whose smallest score is still above its τₖ.

    Backward.  On a support S of size k, yᵢ = xᵢ − (Σ_S xⱼ − 1)/k, so ∂yᵢ/∂xⱼ = δᵢⱼ − 1/k for i, j in S, else 0. With
    g = grad_y,
        grad_xⱼ = Σ_S gᵢ (δᵢⱼ − 1/k) = gⱼ − mean_S(g)    for j in S, else 0
    With a single survivor that is exactly 0: sparsemax can saturate for good. y is continuous but not smooth: the
    Jacobian jumps where a score enters the support.

    Numerics.  τ ≥ max(x) − 1, so after subtracting the maximum nothing below −1 matters; we clip there, and scores of
    any size are safe. τ is found in float64: with 10,000 scores in float32, their sum is off by so much that the
    weights may sum to 1.6. A score of inf or nan makes all weights nan, as in softmax.
    """
    z, allowed = _shifted_and_clipped(x, axis, mask)
    descending, k = _descending(z, axis)
    tau_k = (np.cumsum(descending, axis) - 1) / k
    size = (descending > tau_k).sum(axis, keepdims=True)
    tau = np.take_along_axis(tau_k, size - 1, axis)
    y = np.where(allowed, np.maximum(z - tau, 0), 0).astype(x.dtype)
    support = np.sign(y)  # 1 or 0, and nan where y is

    def vjp_x(grad_y):
        g = np.where(support == 0, 0, grad_y)
        mean = (support * g).sum(axis, keepdims=True) / total_or_one(support, axis)
        return np.where(support == 0, 0, g - mean)

    return y, vjp_x


@op
def entmax15(x, *, axis=-1, mask=None):
    """1.5-entmax: α-entmax halfway between softmax (α = 1) and sparsemax (α = 2).  (Peters, Niculae & Martins 2019)

        yᵢ = uᵢ²,  uᵢ = max(xᵢ/2 − τ, 0), with the threshold τ that makes Σ uᵢ² = 1

    Finding τ: with z = x/2, if the support were the k largest, Σ (zᵢ − τ)² = 1 is a quadratic in τ: with the mean M
    and the summed squared deviations V of those k, k (M − τ)² + V = 1, so τₖ = M − √((1 − V)/k). The true support is
    the largest k whose smallest z is still above its τₖ.

    Backward.  dyᵢ = 2uᵢ (dxᵢ/2 − dτ) = uᵢ (dxᵢ − 2dτ). The weights keep summing to 1, so Σ dyᵢ = 0, which gives
    2dτ = Σ uⱼ dxⱼ / Σ uⱼ. Therefore ∂yᵢ/∂xⱼ = uᵢ δᵢⱼ − uᵢ uⱼ / Σ u, which is symmetric, and with g = grad_y
        grad_xⱼ = uⱼ (gⱼ − Σᵢ uᵢ gᵢ / Σᵢ uᵢ)

    Numerics.  As sparsemax: maximum subtracted, clipped at −1 (τ ≥ max(z) − 1), τ found in float64. V is the difference
    of two sums; in float32, with 1,000 scores, it loses so many digits that the weights may sum to 1.001.
    """
    z, allowed = _shifted_and_clipped(x / 2, axis, mask)
    descending, k = _descending(z, axis)
    mean = np.cumsum(descending, axis) / k
    deviations = np.cumsum(descending * descending, axis) - k * mean * mean
    tau_k = mean - np.sqrt(np.maximum((1 - deviations) / k, 0))
    size = (descending > tau_k).sum(axis, keepdims=True)
    tau = np.take_along_axis(tau_k, size - 1, axis)
    u = np.where(allowed, np.maximum(z - tau, 0), 0).astype(x.dtype)
    total = total_or_one(u, axis)

    def vjp_x(grad_y):
        g = np.where(u > 0, grad_y, 0)
        return u * (g - (u * g).sum(axis, keepdims=True) / total)

    return u * u, vjp_x


@op
def softmax1(x, *, axis=-1, mask=None):
    """Softmax that may choose nothing: a 1 in the denominator takes what no score claims.  (Miller 2023)

        yᵢ = exp(xᵢ) / (1 + Σⱼ exp(xⱼ))

    This is softmax over the scores and one more score of 0, whose weight is then left out. So the weights sum to less
    than 1, and to nearly 0 where all scores are very negative. Softmax must give its weight to some position even where
    none is wanted; trained models then give it to one that does no harm, such as the first (the attention sink, Xiao
    et al. 2024). The price is that adding a constant to all scores now changes y.

    Backward.  With s = 1 + Σⱼ exp(xⱼ), ∂s/∂xⱼ is still exp(xⱼ), so the quotient rule gives what it gives for softmax,
        ∂yᵢ/∂xⱼ = yᵢ (δᵢⱼ − yⱼ)
    and with g = grad_y
        grad_xⱼ = yⱼ (gⱼ − Σᵢ gᵢ yᵢ)

    Numerics.  With m = max(0, max(x)), yᵢ = exp(xᵢ − m) / (exp(−m) + Σⱼ exp(xⱼ − m)): no exponent is above 0, and one
    of them is 0, so nothing overflows and the denominator is at least 1. Where everything is masked, y is 0.
    """
    scores = masked(x, axis, mask)
    m = np.maximum(scores.max(axis, keepdims=True), 0)
    e = np.exp(scores - m)
    y = e / (np.exp(-m) + e.sum(axis, keepdims=True))

    def vjp_x(grad_y):
        return y * (grad_y - (grad_y * y).sum(axis, keepdims=True))

    return y, vjp_x


def one_hot_max(x, axis, mask=None):
    """1 at the first largest score along `axis`, 0 elsewhere; all 0 where everything is masked."""
    _check_one_axis(axis)
    scores = masked(x, axis, mask)
    y = np.zeros_like(scores)
    np.put_along_axis(y, np.expand_dims(scores.argmax(axis), axis), 1, axis)
    y[np.broadcast_to(np.isnan(scores).any(axis, keepdims=True), y.shape)] = np.nan  # as with every normalizer
    return np.where(np.isneginf(scores), 0, y)


def _allowed(x, axis, mask):
    """Which scores take part: those not masked, nor −inf, which is the same."""
    return ~np.isneginf(masked(x, axis, mask))


def _shifted_and_clipped(x, axis, mask):
    """max(x − max(x), −1) in float64, and which scores take part; masked ones, at −1, never reach the support."""
    _check_one_axis(axis)
    scores = masked(x, axis, mask)
    m = scores.max(axis, keepdims=True)
    m = np.where(np.isneginf(m), 0, np.where(np.isposinf(m), np.nan, m))
    return np.maximum(scores - m, -1).astype(np.float64), ~np.isneginf(scores)


def _check_one_axis(axis):
    if type(axis) is not int:
        raise TypeError(f"works along one axis, an integer, not axis={axis!r}; to take several together, reshape first")


def _descending(z, axis):
    """z from largest to smallest along `axis`, and the counts 1, 2, ... n in the shape that fits it."""
    shape = [1] * z.ndim
    shape[axis] = -1
    return -np.sort(-z, axis), np.arange(1, z.shape[axis] + 1, dtype=z.dtype).reshape(shape)
