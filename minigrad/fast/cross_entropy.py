"""cross_entropy in place: no array for what was right, which differs from 0 in one place of each row."""

import numpy as np

from minigrad.fast.switch import faster
from minigrad.ops.linear import as_rows
from minigrad.ops.softmax import check_cross_entropy, cross_entropy_of, reduced, which_count


@faster(cross_entropy_of)
def cross_entropy_in_place(
    logits, classes=None, probabilities=None, *, reduction="mean", ignore_index=None, label_smoothing=0.0
):
    """As on its page, for the positions that count alone: ignoring is deleting. Of q, the one-hot part is subtracted
    where it is, the smoothed part as a number. Probabilities leave nothing to save, and go by the page.
    """
    if probabilities is not None:
        return cross_entropy_of.__wrapped__(
            logits, None, probabilities, reduction=reduction, ignore_index=ignore_index, label_smoothing=label_smoothing
        )
    check_cross_entropy(logits, classes, None, reduction, ignore_index, label_smoothing)
    logits_shape, n_classes = logits.shape, logits.shape[-1]
    counts, t = which_count(classes, ignore_index, n_classes)
    counting = ... if counts.all() else counts.reshape(-1)
    x, t = as_rows(logits)[counting], t.reshape(-1)[counting]
    rows = np.arange(t.size)
    shifted = x - x.max(-1, keepdims=True)
    weights = np.exp(shifted)
    total = weights.sum(-1, keepdims=True)
    weights /= total
    loss = np.log(total[:, 0])
    if label_smoothing < 1:
        loss -= (1 - label_smoothing) * shifted[rows, t]
    if label_smoothing:
        loss -= label_smoothing * shifted.mean(-1)
    y, weight = reduced(with_zeros(loss, counting, counts.shape), reduction, t.size)

    def vjp_logits(grad_y):
        g = np.broadcast_to(grad_y * weight, counts.shape).reshape(-1, 1)[counting]
        grad = weights * g
        grad[rows, t] -= (1 - label_smoothing) * g[:, 0]
        if label_smoothing:
            grad -= g * (label_smoothing / n_classes)
        return with_zeros(grad, counting, logits_shape)

    return y, (vjp_logits, None, None)


def with_zeros(part, counting, shape):
    """The rows that count in their places among all, and 0 in the others."""
    if counting is ...:
        return part.reshape(shape)
    whole = np.zeros((counting.size, *part.shape[1:]), part.dtype)
    whole[counting] = part
    return whole.reshape(shape)
