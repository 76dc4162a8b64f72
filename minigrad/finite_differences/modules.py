"""Whole modules checked against finite differences: all that happens between a parameter and the output, at once.

gradcheck moves the arguments of a function, and a module's parameters are not among its arguments. `with_parameters`
makes them arguments: for each call it puts the given Tensors in the parameters' places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.engine import Array, Tensor


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
    parameters = dict(module.named_parameters())
    values = [Tensor(rng.normal(size=parameter.shape), name=name) for name, parameter in parameters.items()]
    places = [  # a shared parameter has several
        [(holder, name) for holder in module.modules() for name, value in vars(holder).items() if value is parameter]
        for parameter in parameters.values()
    ]
    assert all(places), "a parameter in a list or dict cannot be replaced by setattr"

    def put(tensors: Any) -> None:
        for tensor, places_of_one in zip(tensors, places, strict=True):
            for holder, attribute in places_of_one:
                setattr(holder, attribute, tensor)

    def f(*arguments: Tensor) -> Tensor:
        put(arguments[: len(places)])
        try:
            y: Tensor = module(*arguments[len(places) :])
        finally:
            put(parameters.values())
        return y

    f.__name__ = type(module).__name__
    return f, values
