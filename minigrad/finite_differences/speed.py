"""How many times faster is an op's kernel (`minigrad.fast`) than its page?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from minigrad.engine import Array, Tensor, as_op
from minigrad.finite_differences.cases import Case, case

SECONDS = 0.2  # to spend on one op, if PAIRS calls of each don't take longer
PAIRS = 9
NOISE = 1.1  # two calls of the same code may differ by this factor

_rng = np.random.default_rng(0)


def _normal(*shape: int) -> Array:
    return _rng.standard_normal(shape, dtype=np.float32)


# What is timed for each op that may have a kernel: float32 arrays as a small GPT has them, made when they are needed.
SIZES: dict[str, Callable[[], Case]] = {
    "gelu": lambda: case(_normal(768, 512)),
    "erf": lambda: case(_normal(64, 512)),
    "layer_norm": lambda: case(_normal(768, 128), _normal(128), _normal(128)),
    "embedding": lambda: case(_normal(65, 128), _rng.integers(65, size=(12, 64))),
    "cross_entropy": lambda: case(_normal(12, 64, 65), _rng.integers(65, size=(12, 64))),
    "linear": lambda: case(_normal(12, 64, 128), _normal(128, 384), _normal(384)),
    "attention": lambda: case(*(_normal(12, 64, 128) for _ in "qkv"), n_heads=4, causal=True),
    "tiled_attention": lambda: case(*(_normal(4, 1024, 32) for _ in "qkv")),
    "gru": lambda: case(_normal(12, 32, 192), _normal(12, 64), _normal(64, 192) / 8, _normal(64)),
}


def speed_up(op: Callable[..., Tensor], example: Case) -> float:
    """The page's time for forward and backward, divided by the kernel's; nan where the machine is too busy to tell.

    Page and kernel take turns, and each pair of calls gives a ratio: what else the machine is doing slows both. The
    answer is the median of the ratios. Where the middle half of them reaches from clearly slower to clearly faster,
    there is none.
    """
    page = as_op(op.__wrapped__, name=op.__name__, indices=op.indices)  # type: ignore[attr-defined]
    for f in (page, op):
        seconds_for(f, example)  # the first call of each is slower
    ratios: list[float] = []
    start = time.perf_counter()
    while len(ratios) < PAIRS or time.perf_counter() - start < SECONDS:
        ratios.append(seconds_for(page, example) / seconds_for(op, example))
    return typical(ratios)


def typical(ratios: Sequence[float]) -> float:
    """The median; nan where the quartiles disagree about which is faster."""
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return math.nan if low < 1 / NOISE and high > NOISE else float(middle)


def seconds_for(op: Callable[..., Tensor], example: Case) -> float:
    """How long one call takes, forward and backward."""
    tensors = [Tensor(array, requires_grad=array.dtype.kind == "f") for array in example.arrays]
    f = example.of(op)
    start = time.perf_counter()
    y = f(*tensors)
    y.backward(np.ones_like(y.data))
    return time.perf_counter() - start
