"""Softmax and its relatives: raw scores to weights, to log-probabilities, to the loss of a classifier.

softmax and log_softmax take `mask`: boolean, True = may take part; it broadcasts to the scores. A masked score counts
as −inf, and a score of −inf as masked. Its weight and its gradient are exactly 0, whatever it was, nan included.
"""

from typing import TypedDict, Unpack

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import ArrayLike

from minigrad.engine import Tensor, op
from minigrad.tensors.operators import composed


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


@op
def entropy(weights, *, axis=-1):
    """How spread out weights are, in nats: 0 where one has everything, ln n where n are equal.

        y = −Σᵢ wᵢ ln wᵢ along `axis`,   with 0 ln 0 = 0, the limit

    Backward.  ∂y/∂wᵢ = −(ln wᵢ + wᵢ · 1/wᵢ), so
        grad_wᵢ = −grad_y · (ln wᵢ + 1)

    Numerics.  At wᵢ = 0 the slope is infinite. By convention such a weight gets the gradient 0: it was masked, or has
    rounded to 0. Behind a softmax this is exact, since there the slope is multiplied by wᵢ, and wᵢ ln wᵢ goes to 0.
    """
    if weights.ndim == 0:
        raise ValueError("needs weights along an axis, not a single number")
    with np.errstate(invalid="ignore"):
        log_w = np.log(np.where(weights == 0, 1, weights))
    slope = np.where(weights == 0, 0, -(log_w + 1))

    def vjp_weights(grad_y):
        return np.expand_dims(grad_y, axis) * slope

    return 0 - (weights * log_w).sum(axis), vjp_weights  # not −0 where all is certain


class LossOptions(TypedDict, total=False):
    reduction: str
    ignore_index: int | None
    label_smoothing: float


@composed
def cross_entropy(logits: ArrayLike | Tensor, targets: ArrayLike | Tensor, **options: Unpack[LossOptions]) -> Tensor:
    """How surprised a softmax over `logits` is by the right answers, in nats: −ln of the probability it gave to them.

    Arguments:
        logits: (..., n_classes).
        targets: integers (...), which class is right; or floats (..., n_classes), how probable each class is.
        reduction: "mean" (the default), "sum", or "none" for a loss of shape (...).
        ignore_index: integer targets equal to it don't count: loss 0, gradient 0, and the mean is over the others.
        label_smoothing: the part of the probability that is shared equally among all classes; 0 by default.

    Raises ValueError for shapes that don't fit and for probabilities that don't sum to 1, IndexError for a class that
    is not there. With no target left to count, or none given, the mean is 0.
    """
    if (targets.dtype if isinstance(targets, Tensor) else np.asarray(targets).dtype).kind == "f":
        return cross_entropy_of(logits, None, targets, **options)
    return cross_entropy_of(logits, targets, **options)


@op(name="cross_entropy", indices=("classes",))
def cross_entropy_of(
    logits, classes=None, probabilities=None, *, reduction="mean", ignore_index=None, label_smoothing=0.0
):
    """The cross-entropy of right probabilities q and the softmax of logits x, for each position t.

        lossₜ = −Σᵢ qₜᵢ ln softmax(xₜ)ᵢ        with 0 · (−∞) = 0
        qₜᵢ   = (1 − ε) pₜᵢ + ε / n_classes,   ε = label_smoothing

    p are the probabilities given, or one-hot: 1 for the right class and 0 for the others. The loss is the mean over the
    n positions that count, or the sum, or lossₜ itself (reduction="none").

    Backward.  ln softmax(x)ᵢ = xᵢ − ln Σⱼ exp(xⱼ) (see `log_softmax`). So, with sₜ = Σᵢ qₜᵢ,
        lossₜ = sₜ ln Σⱼ exp(xₜⱼ) − Σᵢ qₜᵢ xₜᵢ
    The derivative of the logarithm is exp(xₜᵢ) / Σⱼ exp(xₜⱼ) = softmax(xₜ)ᵢ, that of the second sum is qₜᵢ:
        ∂lossₜ/∂xₜᵢ = sₜ softmax(xₜ)ᵢ − qₜᵢ
    As sₜ = 1, up to the rounding of given probabilities, this is what was predicted minus what was right: softmax minus
    one-hot. With gₜ the gradient of lossₜ (grad_y / n for the mean, 0 where t does not count)
        grad_xₜᵢ = gₜ (sₜ softmax(xₜ)ᵢ − qₜᵢ)
        grad_pₜᵢ = −gₜ (1 − ε) ln softmax(xₜ)ᵢ
    """
    check_cross_entropy(logits, classes, probabilities, reduction, ignore_index, label_smoothing)
    n_classes = logits.shape[-1]
    if probabilities is None:
        counts, classes = which_count(classes, ignore_index, n_classes)
        p = (classes[..., None] == np.arange(n_classes)).astype(logits.dtype)
    else:
        counts, p = np.full(logits.shape[:-1], True), probabilities
    q = (1 - label_smoothing) * p + label_smoothing / n_classes

    x = np.where(counts[..., None], logits, 0)  # so that no nan comes from a position that does not count
    shifted = x - x.max(-1, keepdims=True)
    log_softmax_x = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    loss = -(q * np.where(q == 0, 0, log_softmax_x)).sum(-1)
    y, weight = reduced(np.where(counts, loss, 0), reduction, counts.sum())

    def vjp_logits(grad_y):
        g = np.where(counts, grad_y * weight, 0)[..., None]
        return g * (q.sum(-1, keepdims=True) * np.exp(log_softmax_x) - q)

    def vjp_probabilities(grad_y):
        g = np.broadcast_to(grad_y * weight, counts.shape)[..., None] * (1 - label_smoothing)
        return -g * np.where(g == 0, 0, log_softmax_x)

    return y, (vjp_logits, None, vjp_probabilities)


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
            f"use mask.astype(bool) for a mask of 0 and 1, mask == 0 for a mask of 0 and -inf"
        )
    return mask


def reduced(loss, reduction, n):
    """The losses, or their sum, or their mean over n; and by how much each of them counts in it."""
    if reduction == "none":
        return loss, 1
    weight = 1 / max(int(n), 1) if reduction == "mean" else 1
    return loss.sum() * weight, weight


def check_reduction(reduction):
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}")


def check_cross_entropy(logits, classes, probabilities, reduction, ignore_index, label_smoothing):
    if classes is None:
        _check_probabilities(logits, probabilities, ignore_index)
    elif logits.ndim == 0 or classes.shape != logits.shape[:-1]:
        raise ValueError(
            f"needs logits (..., n_classes) and targets (...): "
            f"for these logits targets of shape {logits.shape[:-1]}, not {classes.shape}"
            + ("; if yours are one-hot, make them floats, with .astype(float)" if classes.shape == logits.shape else "")
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is a part of 1, not {label_smoothing}")
    check_reduction(reduction)


def _check_probabilities(logits, probabilities, ignore_index):
    if logits.ndim == 0 or probabilities.shape != logits.shape:
        raise ValueError(
            f"floats as targets are probabilities, of the shape {logits.shape} of the logits, not "
            f"{probabilities.shape}; if yours are classes, make them integers with .astype(int)"
        )
    if ignore_index is not None:
        raise ValueError("ignore_index is a class, and these targets are probabilities: leave their rows out instead")
    if not (probabilities >= -1e-3).all():
        bad = probabilities[~(probabilities >= -1e-3)][0]
        raise ValueError(f"floats as targets are probabilities, and {bad:.4g} is none")
    total = probabilities.sum(-1)
    wrong = ~(np.abs(total - 1) < 1e-3)
    if wrong.any():
        raise ValueError(
            f"floats as targets are probabilities: each row sums to 1, not {total[wrong][0]:.4g}, "
            f"as in targets / targets.sum(-1, keepdims=True)"
        )


def which_count(t, ignore_index, n_classes):
    """Which targets are not ignored, and the targets, with class 0 in place of the ignored ones."""
    counts = np.full(t.shape, True) if ignore_index is None else t != ignore_index
    if ignore_index is not None:
        t = np.where(counts, t, 0)
    check_targets(t, n_classes)
    return counts, t


def check_targets(t, n_classes):
    if t.size and (t.min() < 0 or t.max() >= n_classes):
        wrong = t[(t < 0) | (t >= n_classes)][0]
        raise IndexError(f"target {wrong} is outside the vocabulary: with {n_classes} classes, 0 to {n_classes - 1}")
