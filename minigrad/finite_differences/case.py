"""What a case is: one way to call an op, as data. The cases themselves are in cases.py."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.engine import Tensor


@dataclass(frozen=True)
class Case:
    """One way to call an op.

    arrays: what stands before the keywords. Floats are differentiated; integers, booleans and None are not.
    static: the keywords. `rng` is the seed of a generator made anew for each call, so that each draws the same.
    typical_size: for gradcheck's step, where the inputs themselves don't show it.
    differs: an estimator's gradient is not the derivative here, as declared, and gradcheck must find that.
    """

    arrays: tuple[Any, ...]
    static: dict[str, Any]
    typical_size: float | None = None
    differs: bool = False

    def of(self, op: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """`op` with these keywords: what is left is a function of the arrays."""

        @functools.wraps(op)  # its name and the names of its arguments, for gradcheck's report
        def f(*arrays: Any) -> Tensor:
            return op(*arrays, **self.keywords())

        return f

    def keywords(self) -> dict[str, Any]:
        return {key: np.random.default_rng(v) if key == "rng" else v for key, v in self.static.items()}

    def __str__(self) -> str:
        arrays = ["None" if a is None else f"{np.asarray(a).dtype.kind}{np.shape(a)}" for a in self.arrays]
        static = [f"{k}={f'{v.dtype}{v.shape}' if isinstance(v, np.ndarray) else v}" for k, v in self.static.items()]
        return f"({', '.join(arrays + static)})"


def case(*arrays: Any, typical_size: float | None = None, differs: bool = False, **static: Any) -> Case:
    """`case(x, axis=0)` stands for the call `op(x, axis=0)`."""
    return Case(arrays, static, typical_size, differs)
