"""How the processes of a parallel run find each other, check each other, and stop together.

This is the safety of parallel.py, which is the page to read first. Two ideas are here:

- Every exchange between ranks begins with a roll call: each rank says where in the program it is, and sums up its
  parameters. So ranks that went different ways, or whose parameters drifted apart, stop with a sentence. Without it
  they would wait for each other for ever, or train different models.
- A rank that raises tells the others to stop, before it does itself. Plain `mpiexec python` leaves them waiting.

If a rank is killed, it can tell nobody. Then mpiexec ends the others and names the number of the process; at the start,
rank 0 has printed which rank that is.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.optim import Optimizer

# Where mpiexec (of Open MPI; of MPICH, Intel and Microsoft) and Slurm's srun write how many processes they start. Not
# SLURM_NTASKS: a batch script has that, too, and runs once.
ANNOUNCED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")

PLACES = ("share", "average", "sum", "save", "the end of the with block")

# How far the ranks' parameters may lie apart, as a share of their size. On processors of different kinds the same step
# rounds differently, so not 0.
APART = 1e-5


def announced() -> int:
    """How many processes were started together, as far as the environment says."""
    if "mpi4py.futures" in sys.modules:  # python -m mpi4py.futures: each process takes whole jobs
        return 1
    return max(int(os.environ.get(name, 1)) for name in ANNOUNCED)


def connect() -> Any:
    """MPI's COMM_WORLD, or None where this process was started alone; then mpi4py is not imported.

    Raises ImportError where mpi4py is needed and missing, RuntimeError where it does not see all the processes.
    """
    size = announced()
    if size == 1:
        return None
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(
            f"{size} processes were started together and need mpi4py to exchange gradients: pip install mpi4py mpich"
        ) from error
    if size != MPI.COMM_WORLD.size:
        raise RuntimeError(
            f"{size} processes were started together, but mpi4py sees {MPI.COMM_WORLD.size}: it uses another MPI than "
            f"this mpiexec. Take the mpiexec beside this Python, or pip install --force-reinstall mpi4py mpich"
        )
    return MPI.COMM_WORLD


def roll_call(comm: Any, number: int, place: str, optimizers: Iterable[Optimizer], *says: float) -> NDArray[np.float64]:
    """Wait for all ranks, make sure that they agree, and return what each of them says: (size, 2).

    Each time, `number` 1, 2, ..., it looks at other parameters, so that in the end none has been left out.

    Raises RuntimeError, on all ranks, if they are at different places or their parameters differ.
    """
    sums = [_summary(optimizer.values, number) for optimizer in optimizers]
    total, size = sum(total for total, _ in sums), sum(size for _, size in sums)
    say, said = np.zeros(4), np.empty((comm.size, 4))  # of one length, whatever the place
    say[: 2 + len(says)] = PLACES.index(place), total, *says
    comm.Allgather(say, said)
    for rank in range(1, comm.size):
        if said[rank, 0] != said[0, 0]:
            zero, other = (PLACES[int(said[r, 0])] for r in (0, rank))
            raise RuntimeError(
                f"rank 0 is at {zero}, rank {rank} at {other}: all ranks must make the same calls. Did one leave a "
                f"loop earlier, or call inside `if workers.rank == 0:`?"
            )
        apart = abs(said[rank, 1] - said[0, 1])  # nan where both are nan or inf: training has failed on both alike
        if apart > APART * size or np.isnan(said[rank, 1]) != np.isnan(said[0, 1]):
            raise RuntimeError(
                f"the parameters of rank {rank} have drifted away from those of rank 0: call "
                f"workers.average(optimizer, weight=...) before every step(), and change parameters on all ranks alike"
            )
    return said[:, 2:]


def _summary(values: NDArray[Any], number: int) -> tuple[float, float]:
    """The sum of some hundred values, and of their absolute values: a few microseconds, however many there are."""
    stride = max(values.size // 256, 1)
    sample = values[number % stride :: stride].astype(np.float64)
    return float(sample.sum()), float(np.abs(sample).sum())


def here() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def stop_all(comm: Any, error: BaseException) -> None:
    """Print the error and end all ranks, this one included."""
    if comm.rank:
        time.sleep(2)  # what all ranks raise alike, rank 0 says once for all, and ends the others meanwhile
    says = f"rank {comm.rank} of {comm.size}, {here()}, stops all: {error!r}"
    print("".join(traceback.format_exception(error)) + says, file=sys.stderr, flush=True)
    time.sleep(0.5)  # mpiexec passes on what was printed, and forgets what it has not passed on by the end
    comm.Abort(1)
    os._exit(1)  # Abort only asks mpiexec, and may return before the end comes
