"""Runs on many machines: the processes that MPI started for an example, if it did.

    OPENBLAS_NUM_THREADS=1 mpiexec -n 3 python -m mpi4py.futures examples/soft_vs_hard.py

Rank 0 runs the example and hands out its runs; the other ranks take one after the other.
"""

from __future__ import annotations

import sys
from typing import Any


def pool() -> Any:
    """An executor over the other ranks; None where the example was not started as above."""
    if "mpi4py.futures" not in sys.modules:
        return None
    from mpi4py.futures import MPIPoolExecutor

    return MPIPoolExecutor()
