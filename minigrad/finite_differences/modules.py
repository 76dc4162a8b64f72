"""Whole modules checked against finite differences: all that happens between a parameter and the output, at once.

`with_parameters` makes the parameters arguments, which gradcheck can move; see parameters.py for how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.engine import Array, Tensor
from minigrad.finite_differences.parameters import of_parameters


@dataclass(frozen=True)
class ModuleCase:
    """A small module, built from `nn` (which this room does not import), and what it is called with."""

    build: Callable[[Any], Any]
    inputs: tuple[Array, ...]


_rng = np.random.default_rng(0)
X = _rng.normal(size=(2, 3, 4))
IDS = np.array([[0, 3, 3], [4, 1, 0]])

MODULES = {
    "nn.MultiHeadAttention": ModuleCase(lambda nn: nn.MultiHeadAttention(4, 2, causal=True), (X,)),
    "nn.Block": ModuleCase(lambda nn: nn.Block(4, 2, causal=True), (X,)),
    "nn.GPT": ModuleCase(
        lambda nn: nn.GPT(nn.GPTConfig(vocab_size=5, block_size=3, n_layers=2, n_heads=2, d_model=4)), (IDS,)
    ),
}


def with_parameters(module: Any) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The module as a function f(*parameters, *inputs), and values for its parameters, under their dotted names.

    The values are random, of size 1 and in float64. A new module's own would hide mistakes: its biases are 0, and a
    factor forgotten there makes no difference. After each call the module has its own parameters back.
    """
    rng = np.random.default_rng(1)
    f, own = of_parameters(module, module)
    return f, [Tensor(rng.normal(size=parameter.shape), name=parameter.name) for parameter in own]
