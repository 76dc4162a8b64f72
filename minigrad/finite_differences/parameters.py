"""A function of a model's parameters: gradcheck moves arguments, and a parameter is usually not one.

`of_parameters` makes the parameters arguments. For each call it lends every parameter the numbers, and the place in the
graph, of the Tensor that is given for it. So the model may keep its parameters where it likes, in lists or in dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minigrad.engine import Tensor

BORROWED = ("_data", "node", "leaf", "memory_of")  # all that makes one Tensor differ from another


def of_parameters(f: Callable[..., Any], model: Any) -> tuple[Callable[..., Any], list[Tensor]]:
    """`f`, which uses the model, as a function g(*parameters, *inputs); and the parameters as they are now.

    Only those that require a gradient, in the order of `model.named_parameters()` and under the names given there.
    After each call the model has its own numbers back.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    parameters = list(named.values())

    def g(*arguments: Any) -> Any:
        own = [_taken_from(parameter) for parameter in parameters]
        try:
            _lend(parameters, [_taken_from(given) for given in arguments[: len(parameters)]])
            return f(*arguments[len(parameters) :])
        finally:
            _lend(parameters, own)

    g.__name__ = getattr(f, "__name__", type(f).__name__)
    return g, [Tensor(parameter.data, name=name) for name, parameter in named.items()]


def _taken_from(tensor: Tensor) -> list[Any]:
    return [getattr(tensor, slot) for slot in BORROWED]


def _lend(parameters: Sequence[Tensor], contents: Sequence[list[Any]]) -> None:
    for parameter, content in zip(parameters, contents, strict=True):
        for slot, value in zip(BORROWED, content, strict=True):
            setattr(parameter, slot, value)
