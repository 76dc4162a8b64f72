"""The optimizers that the tests of this folder go through, and parameters with gradients for them."""

from __future__ import annotations

import numpy as np

from minigrad.nn import Parameter
from minigrad.optim import SGD, Adam, AdamW

# name: (ours, PyTorch's class, PyTorch's settings)
OPTIMIZERS = {
    "SGD": (lambda p: SGD(p, 0.1), "SGD", {"lr": 0.1}),
    "SGD, weight decay": (lambda p: SGD(p, 0.1, weight_decay=0.2), "SGD", {"lr": 0.1, "weight_decay": 0.2}),
    "SGD, momentum": (lambda p: SGD(p, 0.1, momentum=0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    "SGD, both": (
        lambda p: SGD(p, 0.1, momentum=0.8, weight_decay=0.2),
        "SGD",
        {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.2},
    ),
    "Adam": (lambda p: Adam(p, 0.02), "Adam", {"lr": 0.02}),
    "Adam, weight decay": (
        lambda p: Adam(p, 0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.3),
        "Adam",
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3},
    ),
    "AdamW": (lambda p: AdamW(p), "AdamW", {"lr": 1e-3, "weight_decay": 0.01}),
    "AdamW, settings": (
        lambda p: AdamW(p, 0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.3),
        "AdamW",
        {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3},
    ),
}
SHAPES = [(3,), (4, 3), (), (5, 2), (2,), (2, 2, 2)]  # biases between weights: the flat arrays are in another order


def parameters(rng, dtype=np.float64):
    return [Parameter(rng.standard_normal(shape).astype(dtype)) for shape in SHAPES]


def reached(step, i):
    """Parameters 1 and 4 are left out in some of the steps, 1 also in the first; 5 until step 10."""
    return not ((i == 1 and step % 3 == 0) or (i == 4 and 5 <= step < 9) or (i == 5 and step < 10))


def give_gradients(ps, rng, step=None):
    for i, p in enumerate(ps):
        grad = rng.standard_normal(p.shape)
        p.grad = grad if step is None or reached(step, i) else None
