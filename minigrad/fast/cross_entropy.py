"""cross_entropy in place: no array for what was right, which differs from 0 in one place of each row."""

import numpy as np

from minigrad.fast.switch import faster
from minigrad.ops.softmax import check_cross_entropy, check_targets, cross_entropy, which_count


@faster(cross_entropy)
def cross_entropy_in_place(logits, targets, *, reduction="mean", ignore_index=None, label_smoothing=0.0):
    """The one-hot part of q is subtracted where it is, the smoothed part as a number."""
    check_cross_entropy(logits, targets, reduction, label_smoothing)
    n_classes = logits.shape[-1]
    if ignore_index is None:
        counts, t = None, targets.reshape(-1)
        check_targets(t, n_classes)
    else:
        counts, t = which_count(targets.reshape(-1), ignore_index, n_classes)
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
