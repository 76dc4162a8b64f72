"""How reliable minigrad is, in figures. Not part of the test run.

    python tests/benchmarks/reliability.py [--quick] [kills] [damage] [ops]

kills: a process that saves one checkpoint after another is killed (kill -9) 200 times at a random moment. A checkpoint
    is lost if load() refuses it, or returns one older than the last save that had ended.
damage: 2,000 checkpoint files are damaged: bytes changed, cut off, inserted or a stretch zeroed. load() must read the
    file or raise CheckpointError. Counted: every other exception, hangs, and files that ran code; and the peak memory.
ops: 10,000 random cases of arithmetic, reductions and softmax against PyTorch: mixed dtypes, axes, broadcasting, raw
    arrays beside Tensors, sizes 0 and 1. Counted: values or gradients that are off by more than 1e-10 (float64), or
    1e-4 where a float32 takes part, relative to the largest number.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import checkpoint, nn, optim

HANG = 10  # seconds for a file of 20 kB


def small_run() -> tuple[nn.Module, optim.Optimizer]:
    model = nn.Linear(32, 32, rng=np.random.default_rng(0))
    return model, optim.Adam(model.parameters(), lr=0.01)


# --- kill -9 while saving --------------------------------------------------------------------------------------------


def save_for_ever(path: Path) -> None:
    """Print each step once its checkpoint has been saved, until killed."""
    model, optimizer = small_run()
    step = 0
    while True:
        step += 1
        checkpoint.save(path, model, optimizer=optimizer, step=step)
        print(step, flush=True)


def kills(times: int) -> dict[str, int]:
    rng = random.Random(0)
    lost = saves = half_written = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        for _ in range(times):
            command = [sys.executable, __file__, "--save-for-ever", str(path)]
            writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
            writer.send_signal(signal.SIGKILL)
            reported = [first, *writer.stdout.read().splitlines()]
            writer.wait()
            last = int(reported[-1])
            saves += last
            try:
                lost += checkpoint.load(path).step < last
            except (OSError, ValueError):
                lost += 1
            leftovers = [file for file in Path(folder).iterdir() if file != path]
            half_written += bool(leftovers)
            for file in leftovers:
                file.unlink()
    return {"kills": times, "saves": saves, "killed in the middle of a save": half_written, "lost": lost}


# --- damaged files ---------------------------------------------------------------------------------------------------


def damaged(whole: bytes, rng: random.Random) -> bytes:
    data, at = bytearray(whole), rng.randrange(len(whole))
    match rng.choice(["bytes", "cut", "insert", "zeros", "directory"]):
        case "bytes":
            for _ in range(rng.choice([1, 8, 64])):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case "cut":
            del data[at:]
        case "insert":
            data[at:at] = rng.randbytes(rng.choice([1, 100]))
        case "zeros":
            data[at : at + 200] = bytes(len(data[at : at + 200]))
        case "directory":  # the zip's own list of members, at the end: lengths, offsets and flags
            for _ in range(4):
                data[-rng.randrange(1, 600)] = rng.randrange(256)
    return bytes(data)


class Hang(BaseException):
    """Not an Exception, so that load() cannot take it for its own."""


def _hang(*_: object) -> None:
    raise Hang


def damage(times: int) -> dict[str, object]:
    """What load() makes of each file. Code that a file ran would show as an event of Python's audit hook."""
    rng = random.Random(0)
    counts = {"files": times, "read": 0, "CheckpointError": 0, "other errors": 0, "hangs": 0, "code run": 0}
    others: list[str] = []
    ran: list[str] = []
    watching = False

    def hook(event: str, _: object) -> None:
        if watching and event in ("exec", "pickle.find_class", "os.system", "subprocess.Popen"):
            ran.append(event)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        model, optimizer = small_run()
        checkpoint.save(path, model, optimizer=optimizer, step=1)
        whole = path.read_bytes()
        checkpoint.load(path)  # what is imported on the first call is imported now
        sys.addaudithook(hook)
        signal.signal(signal.SIGALRM, _hang)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(times):
            path.write_bytes(damaged(whole, rng))
            ran.clear()
            signal.alarm(HANG)
            watching = True
            try:
                checkpoint.load(path)
                counts["read"] += 1
            except checkpoint.CheckpointError:
                counts["CheckpointError"] += 1
            except Hang:
                counts["hangs"] += 1
            except Exception as error:
                counts["other errors"] += 1
                others.append(f"{type(error).__name__}: {error}")
            finally:
                watching = False
                signal.alarm(0)
            counts["code run"] += bool(ran)
    unit = 1024 if sys.platform != "darwin" else 1024**2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**counts, "peak MiB": peak // unit, "MiB more than before": (peak - before) // unit, "others": others[:5]}


# --- random cases against PyTorch ------------------------------------------------------------------------------------

BINARY = {"add": "add", "sub": "sub", "mul": "mul", "div": "div"}
ALONG_AN_AXIS = {"sum": "sum", "mean": "mean", "softmax": "softmax", "log_softmax": "log_softmax"}
UNARY = {"exp": "exp", "tanh": "tanh", "sigmoid": "sigmoid", "relu": "relu"}


def one_case(rng: np.random.Generator, torch: Any) -> tuple[str, bool]:
    """A random call in both libraries: what it was, and whether value or gradient differ."""
    shape = tuple(int(n) for n in rng.choice([0, 1, 2, 3], size=rng.integers(1, 4), p=[0.1, 0.3, 0.3, 0.3]))
    kinds = [np.dtype(kind) for kind in rng.choice(["f4", "f8"], size=2)]
    x = rng.normal(size=shape).astype(kinds[0])
    a, ta = mg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    leaves = [(a, ta)]
    name = str(rng.choice([*BINARY, *ALONG_AN_AXIS, *UNARY]))
    what = f"{name} of {kinds[0]}{shape}"
    if name in BINARY:
        other = tuple(n if rng.random() < 0.6 else 1 for n in shape[int(rng.integers(0, len(shape))) :])
        raw = rng.random() < 0.3
        # A raw array takes the dtype of the Tensor beside it: PyTorch has to be told so.
        z = (rng.uniform(0.5, 2, other) * rng.choice([-1, 1])).astype(kinds[0] if raw else kinds[1])
        b = z if raw else mg.Tensor(z, requires_grad=True)
        tb = torch.tensor(z, requires_grad=not raw)
        if not raw:
            leaves.append((b, tb))
        operator_name = {"div": "truediv"}.get(name, name)
        y, ty = getattr(operator, operator_name)(a, b), getattr(torch, name)(ta, tb)
        what += f" and {'raw ' if raw else ''}{z.dtype}{other}"
    elif name in ALONG_AN_AXIS:
        axis = int(rng.integers(-len(shape), len(shape)))
        if name != "sum" and shape[axis] == 0:  # refused with a sentence here; nan or empty in PyTorch
            return what, False
        y, ty = getattr(mg, name)(a, axis=axis), getattr(torch, name)(ta, dim=axis)
        what += f" along {axis}"
    else:
        y, ty = getattr(mg, name)(a), getattr(torch, name)(ta)
    u = rng.normal(size=y.shape).astype(y.dtype)
    if y.shape != tuple(ty.shape):
        return what, True
    y.backward(u)
    ty.backward(torch.tensor(u, dtype=ty.dtype))
    pairs = [(y.numpy(), ty.detach().numpy()), *((t.grad, tt.grad.numpy()) for t, tt in leaves)]
    tolerance = 1e-4 if any(t.dtype == np.float32 for t, _ in leaves) else 1e-10
    return what, any(not close(np.asarray(ours), theirs, tolerance) for ours, theirs in pairs)


def close(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> bool:
    scale = max(1.0, float(np.nanmax(np.abs(theirs), initial=0.0)))
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=0, atol=tolerance * scale, equal_nan=True)


def ops(times: int) -> dict[str, object]:
    try:
        import torch
    except ImportError:
        return {"cases": 0, "off": 0, "which": [], "skipped": "PyTorch is not installed"}
    rng = np.random.default_rng(0)
    off = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mean of nothing is nan in both
        for _ in range(times):
            what, differs = one_case(rng, torch)
            if differs:
                off.append(what)
    return {"cases": times, "off": len(off), "which": off[:5]}


PARTS = {"kills": (kills, 200, 5), "damage": (damage, 2000, 100), "ops": (ops, 10_000, 300)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="a few of each, in some seconds")
    parser.add_argument("--save-for-ever", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.save_for_ever:
        save_for_ever(args.save_for_ever)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if os.name != "posix":
        parser.error("kill -9 and the alarm that ends a hang need a POSIX system")
    for name in args.parts or PARTS:
        measure, full, quick = PARTS[name]
        print(json.dumps({name: measure(quick if args.quick else full)}), flush=True)


if __name__ == "__main__":
    main()
