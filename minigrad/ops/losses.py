"""More losses: for yes-or-no questions, and for numbers. The loss of a choice among classes is in ops/softmax."""

import numpy as np
from numpy.typing import ArrayLike

from minigrad.engine import Tensor, op
from minigrad.ops.elementwise import sub
from minigrad.ops.softmax import check_reduction, reduced
from minigrad.tensors.operators import composed


@op
def binary_cross_entropy(logits, targets, *, reduction="mean"):
    """How surprised a sigmoid of `logits` is by the right answers to yes-or-no questions, in nats.

        lossᵢ = −tᵢ ln sigmoid(xᵢ) − (1 − tᵢ) ln(1 − sigmoid(xᵢ))

    Shapes.  logits x and targets t have one shape; tᵢ is 1 for yes, 0 for no, or the probability of yes. The loss is
    the mean over all, or their sum, or lossᵢ itself (reduction="none").

    Backward.  1 − sigmoid(x) = sigmoid(−x), and −ln sigmoid(x) = ln(1 + exp(−x)) = softplus(−x). So
        lossᵢ = tᵢ softplus(−xᵢ) + (1 − tᵢ) softplus(xᵢ)             with 0 · ∞ = 0
    The slope of softplus is the sigmoid. With gᵢ the gradient of lossᵢ (grad_y / n for the mean of n)
        grad_xᵢ = gᵢ ((1 − tᵢ) sigmoid(xᵢ) − tᵢ sigmoid(−xᵢ))
        grad_tᵢ = gᵢ (softplus(−xᵢ) − softplus(xᵢ)) = −gᵢ xᵢ
    The bracket is sigmoid(xᵢ) − tᵢ, what was predicted minus what was right, as in `cross_entropy`.

    Numerics.  softplus(x) = max(x, 0) + ln(1 + e) with e = exp(−|x|) ≤ 1: nothing overflows, and there is no logarithm
    of a sigmoid that has rounded to 0. Nothing cancels either: for a large x and t = 1, sigmoid(x) − 1 would round to
    0, but sigmoid(−x) = e / (1 + e) does not.
    """
    if logits.shape != targets.shape:
        raise ValueError("needs one target for each logit, and one shape for both")
    if not ((targets >= -1e-3) & (targets <= 1 + 1e-3)).all():  # sums of weights round
        raise ValueError("targets are 0, 1, or a probability in between")
    check_reduction(reduction)
    e = np.exp(-np.abs(logits))
    sigmoid, sigmoid_of_minus = np.where(logits >= 0, 1, e) / (1 + e), np.where(logits >= 0, e, 1) / (1 + e)
    softplus, softplus_of_minus = (np.maximum(x, 0) + np.log1p(e) for x in (logits, -logits))
    loss = targets * np.where(targets == 0, 0, softplus_of_minus)
    loss += (1 - targets) * np.where(targets == 1, 0, softplus)
    y, weight = reduced(loss, reduction, loss.size)

    def vjp_logits(grad_y):
        return grad_y * weight * ((1 - targets) * sigmoid - targets * sigmoid_of_minus)

    def vjp_targets(grad_y):
        return -grad_y * weight * logits

    return y, (vjp_logits, vjp_targets)


@composed
def mse_loss(predictions: ArrayLike | Tensor, targets: ArrayLike | Tensor, *, reduction: str = "mean") -> Tensor:
    """The mean squared error: the mean (or "sum", or "none") of (prediction − target)², of arrays of one shape."""
    check_reduction(reduction)
    if np.shape(predictions) != np.shape(targets):
        raise ValueError("needs one target for each prediction, and one shape for both")
    error = sub(predictions, targets)
    loss = error * error
    return loss if reduction == "none" else loss.sum() if reduction == "sum" else loss.mean()
