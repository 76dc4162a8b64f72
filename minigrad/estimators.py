"""Gradients through a discrete choice. Hard attention's own gradient is 0; these put something else in its place.

The loss of a hard choice is piecewise constant in the scores, but averaging over random choices makes the *expected*
loss smooth. That idea unites softmax, REINFORCE and Gumbel-softmax; they differ in how they estimate its slope.

Two are ops whose VJP is, on purpose, not the derivative of what they compute (`@op(estimator=True)`): gradcheck finds
that they differ. The third, REINFORCE, is the true gradient of another loss, made for this purpose.
"""

import math

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
    It has no variance, as nothing is drawn, but it is biased: the gradient is that of a soft choice, and g comes from
    a hard one. This holds for both losses that one may want to lower: f(w), the loss of the soft choice, whose g would
    be taken at w, and Σᵢ wᵢ f(eᵢ), the expected loss of a choice eᵢ drawn with probability wᵢ, whose gᵢ would be f(eᵢ).
    If f is linear, all three gradients are the same. (The loss of the hard choice itself has gradient 0.)

    Bengio, Léonard & Courville 2013 copied the gradient through a binary stochastic neuron as if it were not there.
    Choosing one of n by argmax, with the Jacobian of softmax, came later (Jang et al. 2017).
    """
    w = _softmax(scores, axis, mask)

    def vjp_scores(grad_y):
        return w * (grad_y - (grad_y * w).sum(axis, keepdims=True))

    return one_hot_max(scores, axis, mask), vjp_scores


@op(estimator=True)
def gumbel_softmax(scores, *, rng, tau=1.0, hard=True, axis=-1, mask=None):
    """A random choice with probabilities softmax(scores), made differentiable.  (Jang et al., Maddison et al. 2017)

        w = softmax((scores + γ) / τ),   γᵢ = −ln(−ln uᵢ),  uᵢ uniform on (0, 1)

    hard=True returns the choice, one-hot at the largest of scores + γ; hard=False returns w, which softens it.

    The Gumbel-max trick.  The largest of scores + γ is number i with probability softmax(scores)ᵢ exactly. Let
    rᵢ = exp(scoresᵢ). Since −ln uᵢ is exponentially distributed, Tᵢ = −ln(uᵢ)/rᵢ is the waiting time for an event that
    happens at rate rᵢ, and scoresᵢ + γᵢ = −ln Tᵢ. So the largest of these belongs to the event that comes first. Event
    i comes first, at some time t, if it happens then and none of the others has happened before:
        P(i is first) = ∫ rᵢ exp(−rᵢ t) · Πⱼ≠ᵢ exp(−rⱼ t) dt = rᵢ / Σⱼ rⱼ = softmax(scores)ᵢ

    Backward.  With hard=False, the derivative for the noise drawn; with hard=True the same, straight through:
        grad_scoresⱼ = wⱼ (gⱼ − Σᵢ gᵢ wᵢ) / τ

    Bias and variance, as an estimate of the gradient of E[f], the expected loss of a hard choice.  A small τ means a
    large variance. With hard=False it also means little bias; with hard=True a bias remains. As τ → 0, w moves only
    while the two largest of scores + γ change places, and then along the edge from one choice to the other:
    w = eᵢ + p (eⱼ − eᵢ), where p goes from 0 to 1 as scoreⱼ + γⱼ overtakes scoreᵢ + γᵢ. By this the loss changes by
    f(eⱼ) − f(eᵢ). The estimate is ∇f · (eⱼ − eᵢ) ∂p/∂scoreⱼ, and its mean over the noise integrates that over p. With
    hard=False ∇f is taken at w, and the integral is f(eⱼ) − f(eᵢ). With hard=True it is taken at eᵢ while p < ½, at eⱼ
    while p > ½, and the integral is
        ½ (∇f(eᵢ) + ∇f(eⱼ)) · (eⱼ − eᵢ)
    This is the trapezoid rule for f(eⱼ) − f(eᵢ). It is exact where f is linear or quadratic along the edge.

    Arguments.  rng: a numpy Generator.  tau: the temperature τ > 0.
    """
    if not 0 < tau < math.inf:
        raise ValueError(f"needs a finite temperature tau > 0, not {tau}")
    scores = masked(scores, axis, None)
    noisy = (scores + rng.gumbel(size=scores.shape).astype(scores.dtype)) / tau
    w = _softmax(noisy, axis, mask)

    def vjp_scores(grad_y):
        return w * (grad_y - (grad_y * w).sum(axis, keepdims=True)) / tau

    return (one_hot_max(noisy, axis, mask) if hard else w), vjp_scores


def reinforce(log_prob: ArrayLike | Tensor, reward: ArrayLike | Tensor, baseline: ArrayLike | Tensor = 0.0) -> Tensor:
    """A loss whose gradient is, on average, that of −E[reward]: the score-function estimator.  (Williams 1992)

        loss = −mean((reward − baseline) · log_prob)

    With p the probability of each choice, and since ∇ln p = ∇p / p,
        ∇E[reward] = ∇ Σ p · reward = Σ p · reward · ∇ln p = E[reward · ∇ln p]
    So it makes the choices that were drawn more likely, in proportion to what they earned. A baseline that does not
    depend on the choice leaves the average as it is, since E[∇ln p] = Σ ∇p = ∇ Σ p = ∇1 = 0. A good one, near the
    reward to be expected, shrinks the variance.

    Arguments.  log_prob: a Tensor, ln p of the choices drawn.  reward: an array of its shape, taken as a constant (a
    Tensor is detached).  baseline: the reward to be expected, a number or an array.
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
