"""What train_step.py compares, in which order, and how one figure is made of many measurements."""

from __future__ import annotations

import importlib.util
import statistics
import sys
from dataclasses import asdict, dataclass, field

import numpy as np
import step_process

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "MKL", "OMP")}
PROCESSES = 2  # of one thread each, where several train together

PEERS = {  # library: (what tables call it, the module it needs)
    "torch.compile": ("torch.compile", "torch"),
    "jax": ("JAX jit", "jax"),
    "autograd": ("HIPS autograd", "autograd"),
}


@dataclass
class Setting:
    """A library in `ranks` processes, with these environment variables; and its measurements, one a round."""

    name: str
    library: str
    env: dict[str, str] = field(default_factory=dict)
    ranks: int = 1
    rounds: list[dict] = field(default_factory=list)
    failed: str = ""

    def median(self, key):
        return statistics.median(r[key] for r in self.rounds)


def settings(kernels, libraries):
    """What is compared. `kernels`: {name: environment variables} for minigrad; `libraries`: the others; mpi4py."""
    found = [Setting(f"minigrad, {name}", "minigrad", env) for name, env in kernels.items()]
    found.append(Setting("minigrad, 1 thread", "minigrad", ONE_THREAD))
    if "mpi4py" in libraries:
        for name, env in kernels.items():
            found.append(Setting(f"minigrad, {PROCESSES} processes, {name}", "minigrad", ONE_THREAD | env, PROCESSES))
    if "torch" in libraries:
        for library, name in (("torch", "PyTorch eager"), ("torch fused", "PyTorch eager, fused AdamW")):
            found.append(Setting(f"{name}, 1 thread", library, ONE_THREAD))
            found.append(Setting(f"{name}, all threads", library))
        found.append(Setting(f"PyTorch DDP, {PROCESSES} processes", "torch ddp", ONE_THREAD, PROCESSES))
    return found + [Setting(PEERS[library][0], library) for library in libraries if library in PEERS]


def libraries_beside(peers):
    """PyTorch, MPI, and the peers if wanted, where they are installed; says which are not."""
    found = []
    if importlib.util.find_spec("torch"):
        found.append("torch")
    else:
        print("PyTorch is not installed (pip install torch): there is no comparison, minigrad is measured alone.")
    if importlib.util.find_spec("mpi4py") and step_process.mpiexec():
        found.append("mpi4py")
    else:
        print("mpi4py or mpiexec is missing (pip install mpi4py mpich): minigrad is measured in one process only.")
    for library, (name, module) in PEERS.items() if peers else ():
        if importlib.util.find_spec(module):
            found.append(library)
        else:
            print(f"{name} is not installed (pip install {module}): left out.")
    return found


def measure_row(size, found, rounds, seconds, label):
    for r in range(rounds):
        for setting in found if r % 2 == 0 else reversed(found):
            progress(f"{label}, round {r + 1} of {rounds}: {setting.name}")
            if setting.failed:
                continue
            try:
                job = ("measure", setting.library, asdict(size), seconds)
                setting.rounds.append(step_process.in_process(*job, env=setting.env, ranks=setting.ranks))
            except RuntimeError as error:
                if setting.library in ("minigrad", "torch"):
                    raise
                setting.failed = str(error)  # a peer that does not run here does not stop the others
                setting.rounds.clear()
    progress("")


def check_same_model(found):
    """All train the same number of parameters from the same losses. Raises RuntimeError."""
    first, *others = [setting for setting in found if setting.rounds]
    for other in others:
        mine, theirs = first.rounds[0], other.rounds[0]
        if mine["parameters"] != theirs["parameters"]:
            raise RuntimeError(
                f"{first.name} has {mine['parameters']} parameters, {other.name} {theirs['parameters']}: "
                f"these are different models"
            )
        if not np.allclose(mine["losses"], theirs["losses"], rtol=1e-4):
            raise RuntimeError(
                f"from the same weights {first.name} has the losses {mine['losses']}, {other.name} {theirs['losses']}: "
                f"these are different models"
            )


# --- figures of a row ---------------------------------------------------------------------------------------------


ONE_PROCESS = ("torch", "torch fused")


def milliseconds(found, libraries, ranks=1):
    """In each round, the time of the fastest setting of these libraries; [] where there is none."""
    times = [[r["step_ms"] for r in s.rounds] for s in found if s.library in libraries and s.ranks == ranks]
    return [min(round_) for round_ in zip(*(t for t in times if t), strict=True)]


def rivals(found):
    """PyTorch's time in each round: the best of eager, with either AdamW, and of DDP."""
    one, two = milliseconds(found, ONE_PROCESS), milliseconds(found, ("torch ddp",), PROCESSES)
    return [min(pair) for pair in zip(one, two or one, strict=True)]


def ratios(times, found):
    """PyTorch's best time in one process over these times, in each round: above 1, these are faster."""
    return [torch / ms for torch, ms in zip(milliseconds(found, ONE_PROCESS), times, strict=False)]


def figures(found):
    """What the README says of a row: medians over the rounds of times and of ratios within a round; None where missing.

    Each library is at its best: whichever of its settings was fastest in that round. In two processes, minigrad is
    compared with the fastest that PyTorch has, in one process or two.
    """
    mine, two = milliseconds(found, ("minigrad",)), milliseconds(found, ("minigrad",), PROCESSES)
    eager, fused = milliseconds(found, ("torch",)), milliseconds(found, ("torch fused",))
    limits = [s for s in found if s.library == "minigrad" and s.ranks == 1 and s.rounds]
    from_limit = [min(s.rounds[i]["step_ms"] / s.rounds[i]["products_ms"] for s in limits) for i in range(len(mine))]
    torch = [s.median("memory_mb") for s in found if s.library in ONE_PROCESS and s.rounds]
    memory = min(s.median("memory_mb") for s in limits)
    return {
        "ms": median(mine),
        "two processes, ms": median(two),
        "PyTorch, ms": median(eager),
        "PyTorch fused, ms": median(fused),
        "PyTorch DDP, ms": median(milliseconds(found, ("torch ddp",), PROCESSES)),
        "PyTorch / minigrad": median(over(eager, mine)),
        "PyTorch fused / minigrad": median(over(fused, mine)),
        "best of PyTorch / two processes": median(over(rivals(found), two)),
        "step / products": median(from_limit),
        "PyTorch's memory / minigrad's": min(torch) / memory if torch else None,
    }


def over(numerators, denominators):
    return [a / b for a, b in zip(numerators, denominators, strict=False)]


def median(values):
    return statistics.median(values) if values else None


def progress(text):
    if sys.stderr.isatty():
        print(f"\r{text:78.78}\r", end="", file=sys.stderr, flush=True)
