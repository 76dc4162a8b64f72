"""Gradients through a discrete choice. Hard attention's own gradient is 0; these put something else in its place.

Two are ops whose VJP is, on purpose, not the derivative of what they compute (`@op(estimator=True)`): gradcheck finds
that they differ. The third, REINFORCE, is an honest gradient of a surrogate loss.
"""

import numpy as np
from numpy.typing import ArrayLike

from minigrad.engine import Tensor, op
from minigrad.ops.elementwise import mul, neg
from minigrad.ops.normalizers import one_hot_max
from minigrad.ops.reduce import mean
from minigrad.ops.softmax import exp_shifted, masked, total_or_one


@op(estimator=True)
def straight_through(scores, *, axis=-1, mask=None):
    """Hard forward, soft backward: the one-hot choice of hardmax with the gradient of softmax.

    Backward.  Pretend that the output had been w = softmax(scores):
        grad_scoresⱼ = wⱼ (gⱼ − Σᵢ gᵢ wᵢ)
    It has no variance, as nothing is drawn. But it is biased: the loss at the hard choice has gradient 0, and the loss
    expected over choices drawn from w has another gradient than this, because g was taken at one choice only. (They
    agree where the loss is linear in y.)

    Bengio, Léonard & Courville 2013 copied a gradient straight through a binary stochastic neuron, as if it were not
    there. The choice among n by argmax, with the Jacobian of softmax, came later (Jang et al. 2017).
    """
    w = _softmax(scores, axis, mask)

    def vjp_scores(grad_y):
        return w * (grad_y - (grad_y * w).sum(axis, keepdims=True))

    return one_hot_max(scores, axis, mask), vjp_scores


@op(estimator=True)
def gumbel_softmax(scores, *, rng, tau=1.0, hard=True, axis=-1, mask=None):
    """A random choice with probabilities softmax(scores), made differentiable.  (Jang et al., Maddison et al. 2017)

        w = softmax((scores + γ) / τ),   γᵢ = −ln(−ln uᵢ),  uᵢ uniform on (0, 1)

    The Gumbel-max trick: the largest of scores + γ falls on i with probability softmax(scores)ᵢ exactly. To see it,
    call the scores x, and E = −ln u, an exponential waiting time. Then xᵢ + γᵢ = −ln(Eᵢ / exp(xᵢ)), and Eᵢ / exp(xᵢ) is a
    waiting time at the rate exp(xᵢ). The largest xᵢ + γᵢ is the shortest wait, and of several events with rates rᵢ
    number i comes first with probability rᵢ / Σⱼ rⱼ.
    w is a softened indicator of that choice. hard=True returns the one-hot choice itself, hard=False returns w.

    Backward.  With hard=False, the derivative for the noise drawn; with hard=True the same, straight through:
        grad_scoresⱼ = wⱼ (gⱼ − Σᵢ gᵢ wᵢ) / τ
    The variance grows as τ shrinks. With hard=False the bias goes to 0 with τ. With hard=True it does not: as τ → 0, w
    moves only along edges, from one choice eᵢ to another eⱼ. Where the loss f changes by f(eⱼ) − f(eᵢ), this gradient
    has ½ (∇f(eᵢ) + ∇f(eⱼ)) · (eⱼ − eᵢ) on average: the trapezoid rule, which is exact if f is quadratic.

    Arguments.  rng: a numpy Generator.  tau: the temperature τ > 0.
    """
    if tau <= 0:
        raise ValueError(f"needs a temperature tau > 0, not {tau}")
    scores = masked(scores, axis, None)
    noisy = (scores + rng.gumbel(size=scores.shape).astype(scores.dtype)) / tau
    w = _softmax(noisy, axis, mask)

    def vjp_scores(grad_y):
        return w * (grad_y - (grad_y * w).sum(axis, keepdims=True)) / tau

    return (one_hot_max(noisy, axis, mask) if hard else w), vjp_scores


def reinforce(log_prob: ArrayLike | Tensor, reward: ArrayLike | Tensor, baseline: ArrayLike | Tensor = 0.0) -> Tensor:
    """A loss whose gradient is, on average, that of −E[reward]: the score-function estimator.  (Williams 1992)

        loss = −mean((reward − baseline) · log_prob)

    With p the probability of the choice, ∇E[reward] = Σ reward ∇p = Σ p · reward ∇ln p = E[reward ∇ln p]: so make
    the choices that were drawn more likely, in proportion to what they earned. Any baseline that does not depend on
    the choice leaves the average as it is, as E[∇ln p] = ∇Σp = 0, and a good one shrinks the variance.

    Arguments.  log_prob: Tensor, ln p of the choices drawn.  reward: an array of its shape, a constant (a Tensor is
    detached).  baseline: what to expect, a number or an array.
    """
    shape = np.shape(log_prob)
    advantage = _plain(reward) - _plain(baseline)
    if _plain(reward).shape != shape or advantage.shape != shape:
        raise ValueError(
            f"reinforce: log_prob of shape {shape} needs a reward of that shape, not {_plain(reward).shape}, "
            f"and a baseline that broadcasts to it, not {_plain(baseline).shape}"
        )
    return neg(mean(mul(log_prob, advantage)))


def _plain(a):
    return a.detach().numpy() if isinstance(a, Tensor) else np.asarray(a)


def _softmax(scores, axis, mask):
    e, _ = exp_shifted(scores, axis, mask)
    return e / total_or_one(e, axis)
