"""The strategies that tests/ops/torch_calls.py draws from, as plain random draws: 20 times as fast as hypothesis.

Hypothesis looks for small failing examples and remembers them; for many random calls NumPy's generator does. Sizes may
be 0 here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

Rng = np.random.Generator
SIZES, SHARES = [0, 1, 2, 3, 4], [0.06, 0.24, 0.3, 0.25, 0.15]


class Draw:
    """A strategy: something that a generator can be asked for."""

    def __init__(self, sample: Callable[[Rng], Any]) -> None:
        self.sample = sample

    def filter(self, fits: Callable[[Any], bool]) -> Draw:
        def sample(rng: Rng) -> Any:
            while not fits(found := self.sample(rng)):
                pass
            return found

        return Draw(sample)


def _pick(rng: Rng, of: Sequence[Any]) -> Any:
    return of[int(rng.integers(len(of)))]


def array_shapes(min_dims: int = 1, max_dims: int = 3, min_side: int = 1, max_side: int = 4) -> Draw:
    def sample(rng: Rng) -> tuple[int, ...]:
        n = int(rng.integers(min_dims, max_dims + 1))
        return tuple(min(int(size), max_side) for size in rng.choice(SIZES, size=n, p=SHARES))

    return Draw(sample)


def mutually_broadcastable_shapes(
    num_shapes: int, base_shape: tuple[int, ...] = (), max_dims: int = 4, max_side: int = 3
) -> Draw:
    """Of a common shape, each keeps the last axes, some of them as 1."""

    def sample(rng: Rng) -> SimpleNamespace:
        whole = array_shapes(min_dims=0, max_dims=max_dims, max_side=max_side).sample(rng)
        whole = (*whole[: max(0, max_dims - len(base_shape))], *base_shape) if base_shape else whole
        inputs = []
        for _ in range(num_shapes):
            axes = whole[int(rng.integers(len(whole) + 1)) if rng.random() < 0.5 else 0 :]
            inputs.append(tuple(1 if rng.random() < 0.25 else size for size in axes))
        return SimpleNamespace(input_shapes=tuple(inputs), result_shape=np.broadcast_shapes(base_shape, *inputs))

    return Draw(sample)


def valid_tuple_axes(ndim: int, min_size: int = 0) -> Draw:
    def sample(rng: Rng) -> tuple[int, ...]:
        axes = rng.permutation(ndim)[: int(rng.integers(min_size, ndim + 1))]
        return tuple(int(axis) - (ndim if rng.random() < 0.5 else 0) for axis in axes)

    return Draw(sample)


def basic_indices(shape: tuple[int, ...], allow_newaxis: bool = False) -> Draw:
    def one(rng: Rng, size: int) -> Any:
        if size and rng.random() < 0.4:
            return int(rng.integers(-size, size))
        start, stop = rng.integers(-size - 1, size + 2, size=2)
        return slice(int(start), int(stop), int(rng.integers(1, 3))) if rng.random() < 0.7 else slice(None)

    def sample(rng: Rng) -> tuple[Any, ...]:
        index = [one(rng, size) for size in shape[: int(rng.integers(len(shape) + 1))]]
        if rng.random() < 0.3:
            index.append(...)
        if allow_newaxis and rng.random() < 0.3:
            index.insert(int(rng.integers(len(index) + 1)), None)
        return tuple(index)

    return Draw(sample)


def integer_array_indices(shape: tuple[int, ...], result_shape: Draw) -> Draw:
    def sample(rng: Rng) -> tuple[Any, ...]:
        result = result_shape.sample(rng)
        return tuple(rng.integers(-size, size, size=result) for size in shape)

    return Draw(sample)


strategies = SimpleNamespace(
    integers=lambda low, high: Draw(lambda rng: int(rng.integers(low, high, endpoint=True))),
    booleans=lambda: Draw(lambda rng: bool(rng.random() < 0.5)),
    floats=lambda low, high: Draw(lambda rng: float(rng.uniform(low, high))),
    sampled_from=lambda of: Draw(lambda rng: _pick(rng, list(of))),
    permutations=lambda of: Draw(lambda rng: [int(i) for i in rng.permutation(list(of))]),
    lists=lambda of, min_size, max_size: Draw(
        lambda rng: [of.sample(rng) for _ in range(rng.integers(min_size, max_size + 1))]
    ),
)
shapes_and_indices = SimpleNamespace(
    array_shapes=array_shapes,
    mutually_broadcastable_shapes=mutually_broadcastable_shapes,
    valid_tuple_axes=valid_tuple_axes,
    basic_indices=basic_indices,
    integer_array_indices=integer_array_indices,
)
