"""The update rules on one parameter, as their papers have them. Where PyTorch's form differs, we take that and say so.

θ is the parameter, g the gradient of the loss with respect to it, and lr the learning rate. A rule takes the old values
and returns the new ones; what it remembers from one update to the next (u, or the moments m and v) starts at 0.

`flat.py` runs these rules over all parameters at once and in place, and decays only those with two or more axes. A test
holds the two to the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sgd(
    theta: Array, g: Array, u: Array, *, lr: float, momentum: float = 0.0, weight_decay: float = 0.0
) -> tuple[Array, Array]:
    """Stochastic gradient descent, with momentum (Polyak 1964) along a decaying sum of all gradients so far.

        g ← g + weight_decay · θ
        u ← momentum · u + g
        θ ← θ − lr · u

    Weight decay adds weight_decay/2 · ‖θ‖² to the loss, and the gradient of that is the term added to g. In
    Polyak's form lr is inside of u; outside, as in PyTorch, a change of lr acts at once.
    """
    g = g + weight_decay * theta
    u = momentum * u + g
    theta = theta - lr * u
    return theta, u


def adam(
    theta: Array, g: Array, m: Array, v: Array, t: int,
    *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float = 0.0,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Divide the running mean of the gradient by its running size, so that a step is about lr whatever its scale.

        g ← g + weight_decay · θ
        m ← β₁ m + (1 − β₁) g           m̂ = m / (1 − β₁ᵗ)
        v ← β₂ v + (1 − β₂) g²          v̂ = v / (1 − β₂ᵗ)
        θ ← θ − lr · m̂ / (√v̂ + ε)

    m is the first moment of the gradient (its mean), v the second (the mean of its square), and t = 1, 2, ... counts
    the updates. Usual are betas = (0.9, 0.999) and eps = 1e-8, which only matters where v̂ is nearly 0. m and v start at
    0, so at first they are too small: if g were always the same, m would be (1 − β₁ᵗ) g. The divisions by 1 − β₁ᵗ and
    1 − β₂ᵗ correct this.  (Kingma & Ba 2015, Adam.)
    """
    beta1, beta2 = betas
    g = g + weight_decay * theta
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    theta = theta - lr * m_hat / (np.sqrt(v_hat) + eps)
    return theta, m, v


def adamw(
    theta: Array, g: Array, m: Array, v: Array, t: int,
    *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Shrink the parameter itself, then update it as Adam does.

        θ ← θ − lr · weight_decay · θ
        θ, m, v ← adam(θ, g, m, v, t)

    In Adam the decay is part of g, so it is divided by √v̂ like the rest, and weights with large gradients hardly decay.
    Here all weights shrink at the same rate.  (Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization. They
    keep the decay apart from lr; we multiply the two, as PyTorch does.)
    """
    theta = theta - lr * weight_decay * theta
    return adam(theta, g, m, v, t, lr=lr, betas=betas, eps=eps)
