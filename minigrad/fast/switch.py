"""Which code an op runs: its page in ops/, or a kernel of this room."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from minigrad.tensors.modes import state

F = TypeVar("F", bound=Callable[..., Any])

# glibc hands freed arrays of megabytes back to the system, and every training step pays for getting them again, page by
# page. Having seen one block of almost 32 MiB freed, it keeps them: making and freeing eight arrays of 1.5 MB takes 0.9
# instead of 3.2 ms (tests/benchmarks/numerics.py).
np.empty(2**25 - 2**16, np.uint8)


def faster(op: Callable[..., Any]) -> Callable[[F], F]:
    """Run the decorated kernel wherever `op` is called. It takes and returns what the page of the op does."""

    def register(kernel: F) -> F:
        op.kernel = kernel  # type: ignore[attr-defined]
        return kernel

    return register


@contextlib.contextmanager
def textbook() -> Iterator[None]:
    """`with textbook():` every op runs its page in ops/, not its kernel. In this thread only."""
    before = state.textbook
    state.textbook = True
    try:
        yield
    finally:
        state.textbook = before
