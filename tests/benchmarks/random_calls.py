"""Random calls of every op that PyTorch has, in both libraries: see reliability.py.

The calls are drawn by tests/ops/torch_calls.py, one row of its table for each op, from the strategies in
light_strategies.py instead of hypothesis'. Here they are varied: sizes from 0, float32 among float64, arguments that
are raw arrays and not Tensors. PyTorch computes in float64 from the same numbers.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import hypothesis
import numpy as np
import torch
import torch_calls
from light_strategies import Draw, array_shapes, shapes_and_indices, strategies

import minigrad as mg
from minigrad.engine import OPS
from minigrad.tensors.operators import COMPOSED

MAY_BE_RAW = 0.3  # the share of arguments beside a Tensor that are raw arrays
NEVER_RAW = {"gru", "layer_norm"}  # PyTorch's own modules: their arguments are parameters
REFUSED = "an empty array refused here, in PyTorch an error, nan, or empty"
A_NUMBER = "of an empty array 0 here, in PyTorch nan"

torch_calls.st, torch_calls.hnp = strategies, shapes_and_indices
torch_calls.seeds = Draw(lambda rng: int(rng.integers(2**32)))
torch_calls.shapes, torch_calls.nonscalar = array_shapes(min_dims=0, max_dims=4), array_shapes(min_dims=1, max_dims=4)

from more_torch_calls import MORE_CALLS  # noqa: E402  (it takes these from torch_calls)

CALLS = torch_calls.CALLS | MORE_CALLS


def against_pytorch(times: int) -> dict[str, Any]:
    """`times` calls in all, shared out evenly among the ops."""
    names = [name for name, op in OPS.items() if op.__wrapped__.__module__.startswith("minigrad.")]  # type: ignore[attr-defined]
    compared = list(CALLS)  # the op's name, and after a comma which of its forms
    off, conventions, empty, kinds = [], Counter[str](), 0, Counter[str]()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the mean of nothing is nan in both
        for i, name in enumerate(compared):
            share = times // len(compared) + (i < times % len(compared))
            for call, rng in draw_calls(name, share, seed=i):
                sizes = [np.size(a) for a in call.arrays]
                empty += 0 in sizes
                dtypes, outcome = compare(name, call, rng)
                kinds[dtypes] += 1
                if outcome in (REFUSED, A_NUMBER):
                    conventions[f"{name}: {outcome}"] += 1
                elif outcome:
                    off.append(f"{name}{[np.shape(a) for a in call.arrays]} {dtypes}: {outcome}")
    return {
        "calls": kinds.total(),
        "off": len(off),
        "which": off[:10],
        "ops": len(compared),
        "not compared, PyTorch has none or draws otherwise": sorted(
            set(names) - {name.partition(",")[0] for name in compared}
        ),
        "dtypes": dict(kinds),
        "with an empty argument": empty,
        "where they differ on purpose": dict(conventions),
    }


def draw_calls(name: str, n: int, seed: int) -> Iterator[tuple[Any, np.random.Generator]]:
    """The calls of one op, each with the generator that goes on to draw dtypes."""
    drawn, ours = 0, name.partition(",")[0]
    op = COMPOSED.get(ours) or OPS[ours]
    for attempt in range(100 * n):
        rng = np.random.default_rng([seed, attempt])
        try:
            call = CALLS[name](lambda strategy, rng=rng: strategy.sample(rng), op)
        except (ValueError, IndexError, ZeroDivisionError, RuntimeError, hypothesis.errors.UnsatisfiedAssumption):
            continue  # cannot be drawn with a size of 0
        yield call, rng
        drawn += 1
        if drawn == n:
            return


def compare(name: str, call: Any, rng: np.random.Generator) -> tuple[str, str]:
    """(the dtypes, what is wrong): "" if nothing is."""
    n = len(call.arrays)
    raw = [name not in NEVER_RAW and rng.random() < MAY_BE_RAW for _ in range(n)]
    if all(raw):
        raw[int(rng.integers(n))] = False
    arrays = [np.asarray(a).astype(rng.choice(["f4", "f8"], p=[0.3, 0.7])) for a in call.arrays]
    result = np.result_type(*[a.dtype for a, is_raw in zip(arrays, raw, strict=True) if not is_raw])
    said = ", ".join(f"{'raw ' if is_raw else ''}{a.dtype}" for a, is_raw in zip(arrays, raw, strict=True))
    kind = f"{'mixed' if len({a.dtype for a in arrays}) > 1 else arrays[0].dtype}{' with raw' if any(raw) else ''}"

    ours = [a if is_raw else mg.Tensor(a, requires_grad=True) for a, is_raw in zip(arrays, raw, strict=True)]
    # A raw array takes the dtype of the Tensors beside it: what PyTorch is given is rounded to that.
    exact = [(a.astype(result) if is_raw else a).astype(np.float64) for a, is_raw in zip(arrays, raw, strict=True)]
    theirs = [torch.tensor(a, requires_grad=not is_raw) for a, is_raw in zip(exact, raw, strict=True)]
    try:
        z = call.theirs(*theirs)
    except (RuntimeError, IndexError, ValueError) as error:
        z = None
        theirs_says = str(error)
    try:
        y = call.ours(*ours)
    except (ValueError, IndexError, TypeError) as error:
        empty = any(a.size == 0 for a in arrays)
        nothing = z is None or not torch.isfinite(z).any()
        return kind, REFUSED if empty and nothing else f"refused: {error}"
    if z is None:
        return kind, f"PyTorch refuses: {theirs_says}"
    u = np.random.default_rng(0).normal(size=y.shape).astype(y.dtype)
    if y.shape != tuple(z.shape) or y.dtype != result:
        return kind, f"{y.dtype}{y.shape}, not {result}{tuple(z.shape)} ({said})"
    y.backward(u)
    if z.requires_grad:
        z.backward(torch.tensor(u.astype(np.float64)))
    if z.numel() and z.isnan().all() and np.isfinite(y.data).all() and any(a.size == 0 for a in arrays):
        return kind, A_NUMBER
    tolerance = 1e-10 if result == np.float64 else 1e-4
    if not _close(y.numpy(), z.detach().numpy(), tolerance):
        return kind, f"value ({said})"
    for i, (t, tt) in enumerate(zip(ours, theirs, strict=True)):
        if isinstance(t, mg.Tensor):
            expected = np.zeros(t.shape) if tt.grad is None else tt.grad.numpy()
            rounded = max(tolerance, 1e-6) if t.dtype == np.float32 else tolerance
            if t.grad is None or t.grad.dtype != t.dtype or not _close(t.grad, expected, rounded):
                return kind, f"gradient {i} ({said})"
    return kind, ""


def _close(ours: Any, theirs: Any, tolerance: float) -> bool:
    finite = np.abs(theirs[np.isfinite(theirs)])
    scale = max(1.0, float(finite.max(initial=0.0)))
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=0, atol=tolerance * scale, equal_nan=True)
