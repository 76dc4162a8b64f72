"""Softmax and its relatives: raw scores to weights, to log-probabilities, to the loss of a classifier.

softmax and log_softmax take `mask`: boolean, True = may take part; it broadcasts to the scores. A masked score counts
as −inf, and a score of −inf as masked. Its weight and its gradient are exactly 0, whatever it was, nan included.
"""

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from minigrad.engine import op


@op
def softmax(x, *, axis=-1, mask=None):
    """Turn scores into weights that are positive and sum to 1 along `axis`.

        yᵢ = exp(xᵢ) / s,   s = Σⱼ exp(xⱼ)

    Backward.  A score xⱼ is in the numerator of yⱼ alone, and in the sum s of every yᵢ. By the quotient rule, with δᵢⱼ
    for 1 where i = j, else 0,
        ∂yᵢ/∂xⱼ = (δᵢⱼ exp(xᵢ) s − exp(xᵢ) exp(xⱼ)) / s²
                = yᵢ (δᵢⱼ − yⱼ)
    With g = grad_y, the chain rule sums over all weights that xⱼ changes:
        grad_xⱼ = Σᵢ gᵢ yᵢ (δᵢⱼ − yⱼ)
                = yⱼ (gⱼ − Σᵢ gᵢ yᵢ)
    The n × n Jacobian is never built. grad_x sums to 0 along `axis`, as it must: adding a constant to every score
    leaves y unchanged.

    Numerics.  That same invariance lets us subtract m = max(x) first. Then every exponent is ≤ 0 and the sum is ≥ 1, so
    nothing overflows and nothing is divided by zero. m depends on x, too, but backward may take it for a constant: y is
    the same for every m, so ∂y/∂m = 0 and nothing comes back through it.
    A weight may still round to 0, where a score is about 100 (in float32) below the largest. Where everything is masked
    there is nothing to choose from: weights 0, gradient 0.
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

    Backward.  ∂(ln s)/∂xⱼ = exp(xⱼ)/s, which is softmax(x)ⱼ = exp(yⱼ). So ∂yᵢ/∂xⱼ = δᵢⱼ − exp(yⱼ), and with g = grad_y
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
              = ln Σⱼ exp(xₜⱼ) − Σᵢ qₜᵢ xₜᵢ                       since Σᵢ qₜᵢ = 1
        qₜᵢ   = (1 − ε) [i = targetₜ] + ε / n_classes,   ε = label_smoothing

    Shapes.  logits (..., n_classes), targets (...) of integers; the loss is a scalar (the mean) or, with
    reduction="none", of the shape of targets. Targets equal to ignore_index don't count: loss 0, gradient 0,
    and the mean is over the others. With none left the mean is 0.

    Backward.  Of the second form of lossₜ, the logarithm has the derivative exp(xₜᵢ) / Σⱼ exp(xₜⱼ) = softmax(xₜ)ᵢ, and
    the sum has qₜᵢ. So ∂lossₜ/∂xₜᵢ is what was predicted minus what was right: without smoothing, softmax minus
    one-hot. With gₜ the gradient of each position (for the mean grad_y / n, n how many count; 0 for the ignored)
        grad_xₜᵢ = gₜ (softmax(xₜ)ᵢ − qₜᵢ)
    """
    n_classes = logits.shape[-1] if logits.ndim else 0
    if targets.shape != logits.shape[:-1]:
        raise ValueError(
            f"needs logits (..., n_classes) and targets (...): "
            f"for these logits targets of shape {logits.shape[:-1]}, not {targets.shape}"
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is a part of 1, not {label_smoothing}")
    if reduction not in ("mean", "none"):
        raise ValueError(f"reduction is 'mean' or 'none', not {reduction!r}")
    t = targets.reshape(-1)
    counts = None if ignore_index is None else t != ignore_index
    if counts is not None:
        t = np.where(counts, t, 0)
    if t.size and (t.min() < 0 or t.max() >= n_classes):
        bad = t[(t < 0) | (t >= n_classes)][0]
        raise IndexError(f"target {bad} is outside the vocabulary: with {n_classes} classes, 0 to {n_classes - 1}")

    rows = np.arange(t.size)
    x = logits.reshape(t.size, n_classes)
    if counts is not None:
        x = np.where(counts[:, None], x, 0)  # whatever stands in the ignored rows, nan included
    shifted = x - x.max(-1, keepdims=True)
    weights = np.exp(shifted)
    total = weights.sum(-1, keepdims=True)
    weights /= total
    loss = np.log(total[:, 0]) - (1 - label_smoothing) * shifted[rows, t]
    if label_smoothing:
        loss -= label_smoothing * shifted.mean(-1)
    if counts is not None:
        loss = np.where(counts, loss, 0)
    n = t.size if counts is None else int(counts.sum())
    logits_shape = logits.shape

    def vjp_logits(grad_y):
        g = grad_y.reshape(-1, 1) if reduction == "none" else np.full((t.size, 1), grad_y / (n or 1))
        if counts is not None:
            g = np.where(counts[:, None], g, 0)
        grad = weights * g
        grad[rows, t] -= (1 - label_smoothing) * g[:, 0]
        if label_smoothing:
            grad -= g * (label_smoothing / n_classes)
        return grad.reshape(logits_shape)

    y = loss.reshape(targets.shape) if reduction == "none" else loss.sum() / (n or 1)
    return y, (vjp_logits, None)


def masked(x, axis, mask):
    """The scores as floats, with −inf wherever the mask is False."""
    if x.ndim == 0:
        raise ValueError("needs scores along an axis, not a single number")
    if isinstance(axis, int) and x.shape[normalize_axis_index(axis, x.ndim)] == 0:
        raise ValueError("there are no scores: the sequence is empty")
    if x.dtype.kind != "f":
        x = x.astype(np.float32)
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
            f"use mask == 0 for a mask of 0 and −inf, mask == 1 for one of 0 and 1"
        )
    return mask


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
