"""One measurement of train_step.py: a library in a process of its own, or in several that train together.

    python tests/benchmarks/step_process.py '["measure", "minigrad", {"batch": 4, ...}, 1.0, 1]'

`in_process` starts that, and reads what it prints. Several processes of minigrad are started by mpiexec; those of
PyTorch start each other.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import step_models
from step_models import Size

IDLE = 0.3  # seconds before a timed block
WARM_UP = 4  # steps; their losses are compared between libraries

MODULES = {  # what each library imports, at once or later
    "minigrad": ["minigrad"],
    "torch": ["torch", "torch._dynamo"],  # the first optimizer imports it, 72 MB, which we do not count as the step's
    "jax": ["jax"],
    "autograd": ["autograd.numpy"],
}


# --- inside -----------------------------------------------------------------------------------------------------------


def measure(library, size, seconds, ranks=1):
    """Milliseconds per step and for the products alone, peak memory above import (MB), and what to check it by.

    With several processes, memory is that of all together, and the other figures are those of one of them.
    """
    started = time.perf_counter()
    first, *later = MODULES[library.split()[0].split(".")[0]]
    importlib.import_module(first)
    import_ms = 1000 * (time.perf_counter() - started)
    for name in later:
        importlib.import_module(name)

    memory_after_import = peak_memory()
    with joined(library, ranks) as workers:
        run = step_models.training(library, size, workers, ranks)
        losses = [run.sum(float(run.step(*run.pairs[i])) * run.weight) for i in range(WARM_UP)]
        steps = timed(run.step, run.pairs, seconds, run)
        memory = run.sum(peak_memory() - memory_after_import)
        alone = timed(step_models.products_alone(step_models.share_of(size, ranks), library), [()], seconds / 2, run)
    return run.rank, {
        "step_ms": statistics.median(steps),
        "fastest_step_ms": min(steps),
        "products_ms": statistics.median(alone),
        "memory_mb": memory,
        "import_ms": import_ms,
        "parameters": run.parameters,
        "losses": losses,
    }


def joined(library, ranks):
    """The context in which several processes train; PyTorch's need none."""
    if library != "minigrad":
        return contextlib.nullcontext()
    from minigrad.training import parallel

    return parallel.Workers()


def timed(f, arguments, seconds, run=None, at_least=10, at_most=300):
    """The times of single calls, in milliseconds, after a rest: as many as fit into `seconds`, within these limits.

    Processes that train together must make equally many calls: as many as the first of them decides.
    """
    f(*arguments[0])
    started = time.perf_counter()
    f(*arguments[0])
    calls = min(max(int(seconds / (time.perf_counter() - started)), at_least), at_most)
    if run is not None:
        calls = int(run.sum(calls if run.rank == 0 else 0))
    time.sleep(IDLE)
    times = []
    for i in range(calls):
        before = time.perf_counter()
        f(*arguments[i % len(arguments)])
        times.append(1000 * (time.perf_counter() - before))
    return times


def peak_memory():
    """The most memory this process has had so far, in MB; nan where the system does not say (Windows)."""
    try:  # Linux's getrusage also remembers the process that started this one
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return math.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def profiled(size, steps=20):
    """The table of `minigrad.debug.profile` over some steps."""
    from minigrad.debug.profile import Profile

    run = step_models.training("minigrad", size)
    for i in range(WARM_UP):
        run.step(*run.pairs[i])
    time.sleep(IDLE)
    with Profile() as profile:
        for i in range(steps):
            run.step(*run.pairs[i % len(run.pairs)])
    return 0, f"{steps} steps:\n{profile}"


def environment():
    """What minigrad says its numbers depend on: NumPy, BLAS and its kernels, threads, CPU features."""
    from minigrad.training.checkpoint import environment

    return 0, environment()


def run_job(text):
    job, *arguments = json.loads(text)
    jobs = {"measure": measure, "profiled": profiled, "environment": environment}
    arguments = [Size(**a) if isinstance(a, dict) else a for a in arguments]
    rank, found = jobs[job](*arguments)
    if rank == 0:
        print(json.dumps(found), flush=True)


# --- outside ----------------------------------------------------------------------------------------------------------


def in_process(job, *arguments, env=(), ranks=1):
    """job(*arguments), a function of this file by name, in a new process, or in `ranks` of them. Returns its result.

    Raises RuntimeError, with the end of what it printed, if it fails.
    """
    chosen_here = ("_NUM_THREADS", "OPENBLAS_CORETYPE")  # whatever the user's shell says about threads and kernels
    clean = {name: value for name, value in os.environ.items() if not name.endswith(chosen_here)}
    command = [sys.executable, __file__, json.dumps([job, *arguments, *([ranks] if ranks > 1 else [])])]
    if ranks > 1 and "minigrad" in arguments:
        command = [mpiexec(), "-n", str(ranks), *command]
    with tempfile.TemporaryDirectory() as meeting_place:
        env = clean | {"STEP_MEETING_PLACE": meeting_place} | dict(env)
        done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{job}{arguments} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def mpiexec():
    """The mpiexec beside this Python, or another; None where there is none."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


if __name__ == "__main__":
    run_job(sys.argv[1])
