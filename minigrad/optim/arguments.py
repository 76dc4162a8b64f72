"""What an optimizer may be given: which settings, and which parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any

from minigrad.engine import Leaf, Tensor
from minigrad.nn.module import Module, Parameter


def _from_0(x: float) -> bool:
    return 0 <= x < math.inf


def _from_0_to_1(x: float) -> bool:
    return 0 <= x < 1


# For each setting its range, in words and as a test of one number.
RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "lr": ("a finite number from 0 up", _from_0),
    "weight_decay": ("a finite number from 0 up", _from_0),
    "eps": ("a finite number from 0 up", _from_0),
    "momentum": ("a number from 0 to below 1", _from_0_to_1),
    "betas": ("two numbers from 0 to below 1", _from_0_to_1),
}


def checked(name: str, value: Any) -> Any:
    """The value of a setting as Python floats (NumPy's would widen float32). A name not in RANGES may have any value.

    Raises ValueError for a value out of range, TypeError for one that is not a number.
    """
    if name not in RANGES:
        return value
    range_, fits = RANGES[name]
    pair = name == "betas"
    if pair and not (isinstance(value, (tuple, list)) and len(value) == 2):
        raise ValueError(f"{name} must be {range_}, not {value!r}")
    numbers = tuple(value) if pair else (value,)
    if not all(isinstance(x, Real) and not isinstance(x, bool) for x in numbers):
        raise TypeError(f"{name} must be {range_}, not {value!r}")
    if not all(fits(float(x)) for x in numbers):
        raise ValueError(f"{name} must be {range_}, not {value}")
    floats = tuple(float(x) for x in numbers)
    return floats if pair else floats[0]


def distinct(parameters: Iterable[Tensor], whose: str = "an optimizer") -> list[Tensor]:
    """The parameters, each once. Raises TypeError or ValueError for what cannot be trained."""
    if isinstance(parameters, (Module, Tensor)):
        raise TypeError(
            f"{whose} takes a list of parameters, such as model.parameters(), not {type(parameters).__name__}"
        )
    found: dict[Leaf, Tensor] = {}
    for p in parameters:
        if not isinstance(p, Tensor):
            raise TypeError(f"{whose} takes Tensors, not {type(p).__name__}; for a Module give .parameters()")
        if p.node is not None and p.node.op is not None:
            raise ValueError(f"{whose} takes leaves; this Tensor of shape {p.shape} was computed by {p.node.op}")
        if p.node is None and not isinstance(p, Parameter):  # a Parameter without a Node is frozen, perhaps for now
            raise ValueError(f"{whose} takes Tensors with requires_grad=True; one of shape {p.shape} has not")
        found.setdefault(leaf_of(p), p)
    if not found:
        raise ValueError(f"{whose} needs at least one parameter")
    return list(found.values())


def check_one_dtype(parameters: list[Tensor]) -> None:
    first = parameters[0]
    for p in parameters:
        if p.dtype != first.dtype:
            raise TypeError(
                f"an optimizer needs parameters of one dtype, but {p.path or 'one'} is {p.dtype} and "
                f"{first.path or 'the first'} {first.dtype}: use model.astype(np.float32)"
            )


def leaf_of(p: Tensor) -> Leaf:
    assert p.leaf is not None
    return p.leaf
