"""What stands around an update: how large the steps are, and how large a gradient may be."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from minigrad.engine import Tensor
from minigrad.optim.arguments import distinct
from minigrad.optim.flat import Optimizer


def cosine_schedule(step: int, *, lr: float, warmup: int, steps: int, lr_min: float = 0.0) -> float:
    """The learning rate of `step` = 0, 1, ...: up along a straight line, then down along half a cosine.

    step < warmup:   lr · (step + 1) / (warmup + 1)                        (Goyal et al. 2017)
    up to `steps`:   lr_min + (lr − lr_min) · (1 + cos(π p)) / 2,          (Loshchilov & Hutter 2017)
                     p = (step − warmup) / (steps − warmup)
    after that:      lr_min
    """
    if not 0 <= warmup < steps:
        raise ValueError(f"the warm-up of {warmup} steps must end before the schedule's {steps} steps do")
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    progress = min((step - warmup) / (steps - warmup), 1.0)
    return lr_min + (lr - lr_min) * (1 + math.cos(math.pi * progress)) / 2


def clip_grad_norm(parameters: Optimizer | Iterable[Tensor], max_norm: float) -> float:
    """Shrink all gradients by one factor so that their norm, taken as one vector, is at most `max_norm`.

        norm = √(Σ g²), over all parameters
        g ← g · min(1, max_norm / norm)

    Returns the norm before clipping. Give it the optimizer rather than the parameters: the optimizer's gradients lie
    side by side, so the norm is one dot product.  (Pascanu, Mikolov & Bengio 2013; PyTorch divides by norm + 1e-6.)

    Raises FloatingPointError for a gradient that contains nan or inf, and names its parameter: one step with that
    gradient would spoil every parameter.
    """
    if not max_norm > 0:
        raise ValueError(f"gradients are clipped to a norm above 0, not {max_norm}")
    if isinstance(parameters, Optimizer):
        gradients = parameters.reached_gradients()
        parameters = parameters.parameters
    else:
        parameters = distinct(parameters, whose="clip_grad_norm")
        gradients = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(math.fsum(float(np.vdot(g, g)) for g in gradients))
    if not math.isfinite(norm):
        for i, p in enumerate(parameters):
            if p.grad is not None and not np.isfinite(p.grad).all():
                raise FloatingPointError(f"the gradient of {p.path or f'parameter number {i}'} has nan or inf in it")
        largest = max(float(np.abs(g).max()) for g in gradients)  # only the squares overflowed
        norm = largest * math.sqrt(math.fsum(float(np.vdot(g / largest, g / largest)) for g in gradients))
    if norm > max_norm:
        for g in gradients:
            g *= float(max_norm) / norm
    return norm
