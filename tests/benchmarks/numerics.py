"""The figures in the `Numerics` of the ops: each choice against the plain way it replaces, on float32 arrays.

    python tests/benchmarks/numerics.py

Medians of many calls in one process; they differ between machines and NumPy versions, the order rarely does.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from embedding import add_numbers, add_rows

from minigrad import nn, optim
from minigrad.fast.elementwise import gelu_by_slices, slices_of
from minigrad.fast.rows import ones
from minigrad.ops.elementwise import gelu

rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def median_us(f: Callable[[], object], seconds: float = 0.4) -> float:
    f()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def adamw_step(piece: int) -> Callable[[], None]:
    def with_this_piece(f: Callable[[], Any]) -> Any:
        optim.flat.PIECE, before = piece, optim.flat.PIECE
        try:
            return f()
        finally:
            optim.flat.PIECE = before

    parameter = nn.Parameter(normal(800, 1000))
    optimizer = with_this_piece(lambda: optim.AdamW([parameter]))
    parameter.grad = normal(800, 1000)
    return lambda: with_this_piece(optimizer.step)


def gelu_page(x: np.ndarray) -> None:
    y, vjp = gelu.__wrapped__(x)  # type: ignore[attr-defined]
    vjp(y)


def gelu_slices(x: np.ndarray, length: int) -> None:
    before = slices_of.__defaults__
    slices_of.__defaults__ = (length,)
    try:
        y, vjp = gelu_by_slices(x)
        vjp(y)
    finally:
        slices_of.__defaults__ = before


# A process of its own each: whether freed memory is kept is decided once. Eight arrays of 1.5 MB come and go.
COME_AND_GO = """
import time, numpy as np
{keep}
x = np.ones((768, 512), np.float32)
def step():
    arrays = [x + 1 for _ in range(8)]
for _ in range(20): step()
times = []
for _ in range(200):
    start = time.perf_counter(); step(); times.append(time.perf_counter() - start)
print(1e6 * sorted(times)[100])
"""


def in_new_process(keep: str) -> float:
    program = COME_AND_GO.format(keep=keep)
    return float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    x, weight = normal(12, 64, 128), normal(128, 384)
    ids, rows = rng.integers(0, 65, 768), normal(768, 128)
    scores, short = normal(12, 4, 64, 64), normal(768, 128)
    hidden, wide, few, small = normal(768, 512), normal(768, 384), normal(32, 16), normal(16, 16)
    pairs = [
        ("linear: 12 x 64 rows, 128 -> 384", "a batch axis", lambda: x @ weight,
         "flattened", lambda: x.reshape(-1, 128) @ weight),
        ("a product of 32 x 16 and 16 x 16", "@", lambda: few @ small, ".dot", lambda: few.dot(small)),
        ("linear: 768 rows, 128 -> 384", "@", lambda: short @ weight, ".dot", lambda: short.dot(weight)),
        ("linear: the weight's gradient, 768 rows", "@", lambda: short.T @ wide, ".dot", lambda: short.T.dot(wide)),
        ("linear: the bias' gradient, 768 rows of 128", ".sum(0)", lambda: short.sum(0),
         "ones @ rows", lambda: ones(768, short.dtype) @ short),
        ("embedding: 768 ids, 65 rows of 128", "add.at by row", lambda: add_rows(65, ids, rows),
         "add.at by number", lambda: add_numbers(65, ids, rows)),
        ("layer_norm: mean of 768 rows of 128", ".mean(-1)", lambda: short.mean(-1, keepdims=True),
         "product with 1/d", lambda: short @ (ones(128, short.dtype)[:, None] / 128)),
        ("attention: maximum of 12 x 4 x 64 x 64 scores", "over axis -1", lambda: scores.max(-1, keepdims=True),
         "over axis -2", lambda: scores.max(-2, keepdims=True)),
        ("gelu: 768 x 512 forward and back", "its page", lambda: gelu_page(hidden),
         "its kernel", lambda: gelu_slices(hidden, 2**15)),
        ("gelu: the kernel, forward and back", "in one slice", lambda: gelu_slices(hidden, hidden.size),
         "by slices", lambda: gelu_slices(hidden, 2**15)),
        ("AdamW: 0.8 million parameters", "in one piece", adamw_step(800_000), "in pieces", adamw_step(2**16)),
    ]  # fmt: skip
    print(f"{'what':<48} {'plain':>16} {'µs':>7}   {'here':>16} {'µs':>7}   ratio")
    for what, plain, f, here, g in pairs:
        before, after = median_us(f), median_us(g)
        print(f"{what:<48} {plain:>16} {before:7.0f}   {here:>16} {after:7.0f}   {before / after:.1f}")
    before, after = in_new_process(""), in_new_process("np.empty(2**25 - 2**16, np.uint8)")
    what = "engine: eight arrays of 1.5 MB made and freed"
    print(f"{what:<48} {'given back':>16} {before:7.0f}   {'kept':>16} {after:7.0f}   {before / after:.1f}")


if __name__ == "__main__":
    main()
