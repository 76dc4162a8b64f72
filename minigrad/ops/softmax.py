"""Softmax and its relatives: raw scores to weights, to log-probabilities, to the loss of a classifier.

softmax and log_softmax take `mask`: boolean, True = may take part; it broadcasts to the scores. A masked score counts
as −inf, and a score of −inf as masked. Its weight and its gradient are exactly 0, whatever it was, nan included.
"""

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from minigrad.engine import op


@op
def softmax(x, *, axis=-1, mask=None):
    """Turn scores into weights: none is negative, and along `axis` they sum to 1.

        yᵢ = exp(xᵢ) / s,   s = Σⱼ exp(xⱼ)

    Backward.  The score xⱼ is in the numerator of yⱼ only, but in the sum s of every yᵢ. So ∂exp(xᵢ)/∂xⱼ = δᵢⱼ exp(xᵢ),
    where δᵢⱼ is 1 for i = j and 0 otherwise, and ∂s/∂xⱼ = exp(xⱼ). The quotient rule gives
        ∂yᵢ/∂xⱼ = (δᵢⱼ exp(xᵢ) · s − exp(xᵢ) · exp(xⱼ)) / s²
                = exp(xᵢ)/s · (δᵢⱼ − exp(xⱼ)/s)
                = yᵢ (δᵢⱼ − yⱼ)
    A change of xⱼ reaches the loss by every yᵢ, so with g = grad_y
        grad_xⱼ = Σᵢ gᵢ yᵢ (δᵢⱼ − yⱼ)
                = yⱼ (gⱼ − Σᵢ gᵢ yᵢ)
    The n × n Jacobian is never built. grad_x sums to 0 along `axis`, as it must: adding a constant to every score
    leaves y unchanged.

    Numerics.  That same invariance lets us subtract m = max(x) first. Then every exponent is ≤ 0 and s ≥ 1: nothing
    overflows, and nothing is divided by zero. m depends on x as well, but y is the same for every m, so ∂y/∂m = 0 and
    no gradient comes through m. In float32 the weight of a score that lies more than 104 below the largest rounds to 0:
    exp(−104) is less than half of 2⁻¹⁴⁹, the smallest float32.
    Where everything is masked there is nothing to choose from: weights 0, gradient 0.
    """
    y, _ = exp_shifted(x, axis, mask)
    y /= total_or_one(y, axis)

    def vjp_x(grad_y):
        return y * (grad_y - (grad_y * y).sum(axis, keepdims=True))

    return y, vjp_x


@op
def log_softmax(x, *, axis=-1, mask=None):
    """The logarithm of softmax, without the detour through weights that may round to 0.

        yᵢ = ln (exp(xᵢ) / s) = xᵢ − ln s,   s = Σⱼ exp(xⱼ)

    Backward.  ∂ ln s/∂xⱼ = 1/s · ∂s/∂xⱼ = exp(xⱼ)/s, which is softmax(x)ⱼ = exp(yⱼ). So ∂yᵢ/∂xⱼ = δᵢⱼ − exp(yⱼ), where
    δᵢⱼ is 1 for i = j and 0 otherwise. With g = grad_y,
        grad_xⱼ = Σᵢ gᵢ (δᵢⱼ − exp(yⱼ))
                = gⱼ − exp(yⱼ) Σᵢ gᵢ

    Numerics.  With m = max(x), yᵢ = (xᵢ − m) − ln Σⱼ exp(xⱼ − m). A masked element is −inf and takes no part in
    backward: its g counts as 0. Where everything is masked, all are −inf.
    """
    shifted = masked(x, axis, mask)
    shifted = shifted - _finite_max(shifted, axis)
    with np.errstate(divide="ignore"):
        log_total = np.log(np.exp(shifted).sum(axis, keepdims=True))
    y = shifted - np.where(np.isneginf(log_total), 0, log_total)

    def vjp_x(grad_y):
        g = np.where(np.isneginf(y), 0, grad_y)
        return g - np.exp(y) * g.sum(axis, keepdims=True)

    return y, vjp_x


@op(indices=("targets",))
def cross_entropy(logits, targets, *, reduction="mean", ignore_index=None, label_smoothing=0.0):
    """How surprised a softmax over `logits` is by the right answers, in nats.

        lossₜ = −Σᵢ qₜᵢ ln softmax(xₜ)ᵢ
        qₜᵢ   = (1 − ε) [i = targetₜ] + ε / n_classes,   ε = label_smoothing

    [i = targetₜ] is 1 for the right class and 0 for the others, so q is one-hot unless ε takes a part of it and shares
    that equally among all classes.

    Shapes.  logits (..., n_classes), targets (...) of integers: which class is right, not how probable each is. The
    loss is a scalar (the mean) or, with reduction="none", of the shape of targets. Targets equal to ignore_index don't
    count: loss 0, gradient 0, and the mean is over the others. With none left the mean is 0.

    Backward.  ln softmax(x)ᵢ = xᵢ − ln Σⱼ exp(xⱼ) (see `log_softmax`), and Σᵢ qₜᵢ = 1. So
        lossₜ = ln Σⱼ exp(xₜⱼ) − Σᵢ qₜᵢ xₜᵢ
    The derivative of the logarithm is exp(xₜᵢ) / Σⱼ exp(xₜⱼ) = softmax(xₜ)ᵢ, that of the second sum is qₜᵢ:
        ∂lossₜ/∂xₜᵢ = softmax(xₜ)ᵢ − qₜᵢ
    This is what was predicted minus what was right: softmax minus one-hot. With gₜ the gradient of lossₜ (grad_y / n
    for the mean over n positions, 0 for an ignored one)
        grad_xₜᵢ = gₜ (softmax(xₜ)ᵢ − qₜᵢ)
    """
    check_cross_entropy(logits, targets, reduction, label_smoothing)
    counts, t = which_count(targets.reshape(-1), ignore_index, logits.shape[-1])
    positions, n, n_classes = np.arange(t.size), max(int(counts.sum()), 1), logits.shape[-1]
    x = np.where(counts[:, None], logits.reshape(t.size, n_classes), 0)  # so that no nan comes from an ignored one

    shifted = x - x.max(-1, keepdims=True)
    weights = np.exp(shifted)
    total = weights.sum(-1, keepdims=True)
    weights /= total
    loss = np.log(total[:, 0]) - (1 - label_smoothing) * shifted[positions, t]
    if label_smoothing:  # left out at 0: a class may have the score −inf, and 0 · −inf would be nan
        loss -= label_smoothing * shifted.mean(-1)
    loss = np.where(counts, loss, 0)
    y = loss.reshape(targets.shape) if reduction == "none" else loss.sum() / n
    logits_shape = logits.shape

    def vjp_logits(grad_y):
        g = np.where(counts, grad_y.reshape(-1) if reduction == "none" else grad_y / n, 0)[:, None]
        q = np.full_like(weights, label_smoothing / n_classes)
        q[positions, t] += 1 - label_smoothing
        return (g * (weights - q)).reshape(logits_shape)

    return y, (vjp_logits, None)


# --- what the pages share ---------------------------------------------------------------------------------------------


def exp_shifted(x, axis, mask=None):
    """exp(x − m) and m, for m = max(x) along `axis`: the largest is exp(0) = 1, masked ones are exp(−inf) = 0."""
    x = masked(x, axis, mask)
    m = _finite_max(x, axis)
    e = x - m
    return np.exp(e, out=e), m


def total_or_one(e, axis):
    """Σ e along `axis`, but 1 where that is 0 (everything masked), since 0/0 would be nan."""
    total = e.sum(axis, keepdims=True)
    return np.where(total == 0, 1, total)


def _finite_max(x, axis):
    """max(x), but 0 where that is −inf (everything masked), since −inf − (−inf) would be nan."""
    m = x.max(axis, keepdims=True)
    return np.where(np.isneginf(m), 0, m)


def masked(x, axis, mask):
    """The scores, with −inf wherever the mask is False."""
    if x.ndim == 0:
        raise ValueError("needs scores along an axis, not a single number")
    if isinstance(axis, int) and x.shape[normalize_axis_index(axis, x.ndim)] == 0:
        raise ValueError("there are no scores: the sequence is empty")
    if mask is None:
        return x
    mask = boolean(mask)
    try:
        return np.where(np.broadcast_to(mask, x.shape), x, np.asarray(-np.inf, x.dtype))
    except ValueError:
        raise ValueError(f"a mask of shape {mask.shape} does not broadcast to scores of shape {x.shape}") from None


def boolean(mask, true="attention is allowed"):
    """The mask as an array, if it is one of booleans; `true` says where it is True."""
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(
            f"a mask is boolean, True where {true}, not {mask.dtype}: "
            f"use mask.astype(bool) for a mask of 0 and 1, mask == 0 for a mask of 0 and −inf"
        )
    return mask


def check_cross_entropy(logits, targets, reduction, label_smoothing):
    if logits.ndim == 0 or targets.shape != logits.shape[:-1]:
        raise ValueError(
            f"needs logits (..., n_classes) and targets (...): "
            f"for these logits targets of shape {logits.shape[:-1]}, not {targets.shape}"
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is a part of 1, not {label_smoothing}")
    if reduction not in ("mean", "none"):
        raise ValueError(f"reduction is 'mean' or 'none', not {reduction!r}")


def which_count(t, ignore_index, n_classes):
    """Which targets are not ignored, and the targets, with class 0 in place of the ignored ones."""
    counts = np.full(t.shape, True) if ignore_index is None else t != ignore_index
    t = np.where(counts, t, 0)
    check_targets(t, n_classes)
    return counts, t


def check_targets(t, n_classes):
    if t.size and (t.min() < 0 or t.max() >= n_classes):
        wrong = t[(t < 0) | (t >= n_classes)][0]
        raise IndexError(f"target {wrong} is outside the vocabulary: with {n_classes} classes, 0 to {n_classes - 1}")
