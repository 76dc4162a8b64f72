"""Checkpoints under kill -9, and damaged ones: see reliability.py."""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import checkpoint, nn, optim

SECONDS, MEMORY = 10, 2**30  # for each damaged file, of 20 kB


def a_run(step: int) -> tuple[nn.Module, optim.Optimizer, np.random.Generator]:
    """A model, an optimizer and a generator whose every number depends on `step`."""
    rng = np.random.default_rng(step)
    model = nn.Sequential(nn.Linear(24, 24, rng=rng), nn.Linear(24, 24, rng=rng))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    for p in model.parameters():
        p.grad = rng.normal(size=p.shape)
    optimizer.step()
    return model, optimizer, rng


def save(path: Path, step: int) -> None:
    model, optimizer, rng = a_run(step)
    config = {"d": 24}
    checkpoint.save(
        path, model, optimizer=optimizer, step=step, generators={"rng": rng}, config=config, vocabulary="ab"
    )


def same(a: Any, b: Any) -> bool:
    """Equal, arrays by dtype, shape and every bit."""
    if isinstance(a, checkpoint.Checkpoint):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.name != "path")
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    return type(a) is type(b) and bool(a == b)


# --- kill -9 while saving --------------------------------------------------------------------------------------------


def save_for_ever(path: Path, step: int, saved: int) -> None:
    """Write each step to the pipe once its checkpoint has been saved, until killed."""
    while True:
        step += 1
        save(path, step)
        os.write(saved, step.to_bytes(8, "big"))


def kills(times: int) -> dict[str, Any]:
    rng = random.Random(0)
    lost = half_written = 0
    with tempfile.TemporaryDirectory() as folder:
        path, last = Path(folder) / "run.npz", 0
        for _ in range(times):
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                save_for_ever(path, last, writing)
            os.close(writing)
            first = os.read(reading, 8)  # from now on it is in its loop
            time.sleep(rng.uniform(0, 0.05))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            reported = first
            while chunk := os.read(reading, 2**16):
                reported += chunk
            os.close(reading)
            last = int.from_bytes(reported[-8:], "big")
            found = _step_of_a_whole_checkpoint(path, Path(folder) / "expected", last)
            lost += found is None
            last = found or last
            leftovers = [file for file in Path(folder).iterdir() if file.name.startswith(".run")]
            half_written += bool(leftovers)
            for file in leftovers:
                file.unlink()
    return {"kills": times, "saves": last, "killed in the middle of a save": half_written, "lost": lost}


def _step_of_a_whole_checkpoint(path: Path, expected: Path, last: int) -> int | None:
    """The last one saved, or the one being saved, which may be renamed and not reported yet; None: neither."""
    try:
        found = checkpoint.load(path)
    except (OSError, ValueError):
        return None
    if found.step not in (last, last + 1):
        return None
    save(expected, found.step)
    return found.step if same(found, checkpoint.load(expected)) else None


# --- damaged files ---------------------------------------------------------------------------------------------------


def flipped_bits(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 2, 8, 64])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def changed_bytes(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 8, 64])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return data


def cut(data: bytearray, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def inserted(data: bytearray, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice([1, 4, 100, 5000])) + data[at:]


def zeroed(data: bytearray, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    stretch = min(rng.choice([1, 200, 4096]), len(data) - at)
    return data[:at] + bytes(stretch) + data[at + stretch :]


def directory(data: bytearray, rng: random.Random) -> bytes:
    """The zip's own list of its members, at the end: names, lengths, offsets, checksums."""
    start = data.index(b"PK\x01\x02")
    for _ in range(rng.choice([1, 4, 16])):
        data[rng.randrange(start, len(data))] = rng.randrange(256)
    return data


def exchanged(data: bytearray, rng: random.Random) -> bytes:
    """Two members under each other's name, and the zip made anew, so that its checksums are right."""
    members = _members(data)
    a, b = rng.sample(sorted(members), 2)
    return _zip({**members, a: members[b], b: members[a]})


def dropped_or_renamed(data: bytearray, rng: random.Random) -> bytes:
    members = _members(data)
    name = rng.choice(sorted(members))
    content = members.pop(name)
    return _zip(members if rng.random() < 0.5 else {**members, name.replace("/", "|") + "x": content})


def lying(data: bytearray, rng: random.Random) -> bytes:
    """An array's header, which says shape, order and dtype, or the list of arrays; the zip's checksums are right."""
    members = _members(data)
    name = rng.choice(sorted(members))
    content = members[name]
    lies = [
        (b"(24, 24)", b"(48, 12)"), (b"(24, 24)", b"(9999999,)"), (b"(24,)", b"(8**9)"), (b"'<f4'", b"'<i4'"),
        (b"'<f4'", b"'>f4'"), (b"'<f4'", b"'|O8'"), (b"False", b"True "), (b"(24,)", b"(24,1)"),
        (b'"arrays": [', b'"arrays": [[' * 5000), (b"parameters/", b"optimizer/m"),
    ]  # fmt: skip
    fitting = [(old, new) for old, new in lies if old in content]
    if not fitting:
        return changed_bytes(data, rng)
    old, new = rng.choice(fitting)
    padded = new.ljust(len(old)) if not name.startswith("minigrad.json") else new
    return _zip({**members, name: content.replace(old, padded, 1)})


DAMAGES: list[Callable[[bytearray, random.Random], bytes]] = [
    flipped_bits, changed_bytes, cut, inserted, zeroed, directory, exchanged, dropped_or_renamed, lying,
]  # fmt: skip


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


class Hang(BaseException):
    """Not an Exception, so that load() cannot take it for its own."""


def _hang(*_: object) -> None:
    raise Hang


def damage(times: int) -> dict[str, Any]:
    """In a process of its own, whose memory is limited."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_damage, (times,))


def _damage(times: int) -> dict[str, Any]:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    rng = random.Random(0)
    ran: list[str] = []
    watching = False

    def hook(event: str, _: object) -> None:
        # Not "compile": NumPy parses an array's header, a Python literal, into a tree that is never run.
        if watching and event in ("exec", "pickle.find_class", "os.system", "subprocess.Popen"):
            ran.append(event)

    counts: dict[str, dict[str, int]] = {d.__name__: {} for d in DAMAGES}
    odd: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        save(path, 1)
        original, whole = checkpoint.load(path), path.read_bytes()
        sys.addaudithook(hook)
        signal.signal(signal.SIGALRM, _hang)
        for i in range(times):
            how = DAMAGES[i % len(DAMAGES)]
            path.write_bytes(how(bytearray(whole), rng))
            ran.clear()
            signal.alarm(SECONDS)
            watching = True
            try:
                found = checkpoint.load(path)
                watching = False
                outcome = "the original" if same(found, original) else "WRONG CONTENTS"
            except checkpoint.CheckpointError as error:
                outcome = "OUT OF MEMORY" if isinstance(error.__cause__, MemoryError) else "CheckpointError"
            except Hang:
                outcome = "HANG"
            except Exception as error:
                outcome = f"OTHER ERROR {type(error).__name__}"
            finally:
                watching = False
                signal.alarm(0)
            outcome = f"RAN CODE {ran[0]}" if ran else outcome
            counts[how.__name__][outcome] = counts[how.__name__].get(outcome, 0) + 1
            if outcome.isupper() or outcome.startswith(("OTHER", "RAN")):
                odd.append(f"file {i}, {how.__name__}: {outcome}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform != "darwin" else 1024**2)
    total: dict[str, int] = {}
    for by_outcome in counts.values():
        for outcome, n in by_outcome.items():
            total[outcome] = total.get(outcome, 0) + n
    return {"files": times, **total, "peak MiB": peak, "by damage": counts, "odd": odd[:10]}
