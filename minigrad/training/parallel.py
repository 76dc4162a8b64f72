"""Data-parallel training: each process takes its share of every batch, and all of them make the same step.

The loss of a batch is a mean over its n rows, and a mean can be taken in parts. MPI, which starts the processes, counts
them 0, 1, ... and calls each a rank. If rank r takes n_r of the rows, and L_r is the mean over those, then

    L  = (1/n) Σᵢ ℓᵢ = Σ_r (n_r/n) · L_r        so        ∇L = Σ_r (n_r/n) · ∇L_r

The sum of the ranks' gradients, each weighted by its share of the rows, is the gradient of the whole batch. As an
optimizer keeps all gradients in one flat array, that sum is one call, MPI's Allreduce. All ranks begin with equal
parameters and update them with equal gradients, so the parameters stay equal and are never sent again.

    with parallel.Workers() as workers:                       # first of all, so that no error is left outside
        optimizer = workers.share(optim.AdamW(model.parameters()))
        for ids, targets in batches:                          # every rank draws the same batches, with one seed
            mine, answers = workers.mine((ids, targets))      # and takes its own rows
            loss = cross_entropy(model(mine), answers)
            optimizer.zero_grad()
            loss.backward()
            workers.average(optimizer, weight=len(mine) / len(ids))
            optim.clip_grad_norm(optimizer, 1.0)              # after average: it must see the whole gradient
            optimizer.step()

    OPENBLAS_NUM_THREADS=1 mpiexec -n 2 python train.py       # pip install 'minigrad[mpi]'

Where some targets are ignored, the mean is over those that count, and so is the weight:
`workers.average(optimizer, weight=n / workers.sum(n))` for n counted targets on this rank. For micro-batches, weight
each loss by its share of this rank's rows, call backward() for each, and average once. Started without mpiexec, the
same program trains alone: there is one rank, and nothing here does anything.

What keeps ranks from waiting for each other for ever is in ranks.py.
"""

from __future__ import annotations

import builtins
import dataclasses
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from minigrad.nn.module import Module
from minigrad.optim import Optimizer
from minigrad.training import checkpoint, ranks

Generators = Mapping[str, np.random.Generator]
SomeOptimizer = TypeVar("SomeOptimizer", bound=Optimizer)


class Workers:
    """The processes that mpiexec started, or this one alone.

    Attributes:
        rank: which of them this one is, from 0.
        size: how many there are.

    All ranks must call `share`, `average`, `sum` and `save` equally often and in the same order. Where they do not, or
    their parameters differ, RuntimeError says which ranks, on all of them.

    Raises ImportError if mpiexec announces several processes and mpi4py is missing, RuntimeError if mpi4py belongs to
    another MPI than the mpiexec that was called.
    """

    def __init__(self) -> None:
        self._comm = ranks.connect()
        self.rank: int = self._comm.rank if self._comm else 0
        self.size: int = self._comm.size if self._comm else 1
        self._steps: dict[Optimizer, int] = {}  # for each shared optimizer, how many steps it may have made by now
        self._own: list[np.random.Generator] = []
        self._inside, self._roll_calls = False, 0

    def __enter__(self) -> Self:
        self._inside = True
        if self.size > 1:
            places = enumerate(self._comm.allgather(ranks.here()))
            self.print(*(f"rank {r}: {place}" for r, place in places), sep="\n", flush=True)  # before a rank may die
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self.size > 1:
            try:
                if error is None or isinstance(error, SystemExit):
                    self._roll_call("the end of the with block")
                    return
            except RuntimeError as differ:
                error = differ
            ranks.stop_all(self._comm, error)

    def _roll_call(self, place: str, *numbers: float) -> NDArray[np.float64]:
        if not self._inside:
            raise RuntimeError("several processes need the context: with parallel.Workers() as workers: ...")
        self._roll_calls += 1
        said = ranks.roll_call(self._comm, self._roll_calls, place, self._steps, *numbers)
        self._check_averaged()
        return said

    def _check_averaged(self) -> None:
        for optimizer, allowed in self._steps.items():
            if optimizer.steps > allowed:
                raise RuntimeError(
                    "step() without an average: call workers.average(optimizer, weight=...) before each step(), "
                    "or every rank trains on its own rows only"
                )

    # --- a training step ---------------------------------------------------------------------------------------------
    def share(self, optimizer: SomeOptimizer) -> SomeOptimizer:
        """Give all ranks the parameters, moments and settings that rank 0's optimizer has. Returns the optimizer.

        Raises ValueError where the ranks' optimizers differ in kind or their parameters in name, shape or dtype.
        """
        if self.size == 1:
            return optimizer
        self._roll_call("share")
        n = len(optimizer.parameters)
        words = [f"{type(optimizer).__name__} over {n} parameters", *map(_in_words, optimizer.parameters)]
        everyones = self._comm.allgather(words)
        for rank, theirs in enumerate(everyones):
            for zero, other in zip(everyones[0], theirs, strict=False):
                if zero != other:
                    raise ValueError(f"the ranks train different models: rank 0 has {zero}, rank {rank} has {other}")
        values, state = self._comm.bcast(([p.data for p in optimizer.parameters], optimizer.state_dict()))
        for parameter, value in zip(optimizer.parameters, values, strict=True):
            parameter.data = value
        optimizer.load_state_dict(state)
        self._steps[optimizer] = optimizer.steps
        return optimizer

    def mine(self, batch: Any) -> Any:
        """This rank's rows of an array; of a tuple of arrays, those rows of each. Shares differ by one row at most.

        Raises ValueError for fewer rows than ranks, and for arrays of different length.
        """
        if self.size == 1:
            return batch
        self._check_averaged()
        arrays = batch if isinstance(batch, tuple) else (batch,)
        n = len(arrays[0])
        if any(len(array) != n for array in arrays):
            raise ValueError(f"the arrays of a batch need equally many rows, not {[len(array) for array in arrays]}")
        if n < self.size:
            raise ValueError(f"a batch of {n} rows is too small for {self.size} ranks: start at most {n} with mpiexec")
        rows = slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)
        return tuple(array[rows] for array in arrays) if isinstance(batch, tuple) else batch[rows]

    def average(self, optimizer: Optimizer, *, weight: float) -> None:
        """Replace every rank's gradient by their weighted sum: Σ_r weight_r · ∇L_r. Call it before clipping.

        A parameter that the loss reached on some rank counts as reached on all: where it was not, its gradient is 0.

        Arguments:
            weight: this rank's share of the rows, or of the targets that count. Over all ranks the weights sum to 1.

        Raises ValueError if they do not, RuntimeError for an optimizer that was not shared.
        """
        if self.size == 1:
            return
        if optimizer not in self._steps:
            raise RuntimeError(
                "the ranks do not share this optimizer yet: call workers.share(optimizer) before training"
            )
        reached = np.array([p.grad is not None for p in optimizer.parameters])
        said = self._roll_call("average", weight, zlib.crc32(reached.tobytes()))
        if not abs(said[:, 0].sum() - 1) < 1e-6:
            raise ValueError(f"the weights of ranks 0, 1, ... must sum to 1: {', '.join(map(str, said[:, 0]))} do not")
        if (said[:, 1] != said[0, 1]).any():
            for i in np.flatnonzero(np.any(self._comm.allgather(reached), axis=0) & ~reached):
                optimizer.parameters[i].grad = np.zeros(optimizer.parameters[i].shape)
        self._comm.Allreduce(optimizer.gradients * float(weight), optimizer.gradients)  # adds up over ranks
        self._steps[optimizer] = optimizer.steps + 1

    def sum(self, value: Any) -> Any:
        """The sum over all ranks of a number, such as a weighted loss or a count, or of an array."""
        if self.size == 1:
            return value
        self._roll_call("sum")
        return self._comm.allreduce(value)

    def print(self, *values: Any, **options: Any) -> None:
        """Python's print, on rank 0 only."""
        if self.rank == 0:
            builtins.print(*values, **options)

    # --- random numbers and checkpoints ------------------------------------------------------------------------------
    def own(self, rng: np.random.Generator) -> np.random.Generator:
        """From here on, draw other numbers from `rng` on each rank: what dropout drops. Returns the generator.

        Call it after the model was made, for the initial weights are to be the same. Rank r jumps r times, each time
        further than any program can draw; rank 0 goes on as a process alone would.

        Raises TypeError for a generator that cannot jump (SFC64).
        """
        self._own.append(rng)
        if self.rank:
            if not hasattr(rng.bit_generator, "jumped"):
                raise TypeError(f"{type(rng.bit_generator).__name__} cannot jump: use np.random.default_rng(seed)")
            rng.bit_generator.state = rng.bit_generator.jumped(self.rank).state
        return rng

    def save(self, path: str | Path, model: Module, *, generators: Generators | None = None, **more: Any) -> None:
        """`checkpoint.save`, by rank 0. Generators that each rank has for its `own` are saved for every rank.

        All ranks return once the file is complete.
        """
        everyones = dict(generators or {})
        if self.size > 1:
            self._roll_call("save")
            own = {name: rng for name, rng in everyones.items() if any(rng is mine for mine in self._own)}
            for rank, theirs in enumerate(self._comm.allgather(own)):
                everyones |= {f"{name} of rank {rank}": rng for name, rng in theirs.items() if rank}
        if self.rank == 0:
            checkpoint.save(path, model, generators=everyones, **more)
        if self.size > 1:
            self._roll_call("save")

    def restore(
        self,
        saved: checkpoint.Checkpoint,
        model: Module,
        optimizer: Optimizer | None = None,
        generators: Generators | None = None,
    ) -> None:
        """`saved.restore`, with this rank's generators. The checkpoint may have been written by more or fewer ranks.

        A rank that it does not know jumps away from rank 0's generators, as in `own`.

        Raises CheckpointError as `restore` does.
        """
        mine = {
            name: saved.generators.get(f"{name} of rank {self.rank}", state)
            for name, state in saved.generators.items()
            if " of rank " not in name
        }
        dataclasses.replace(saved, generators=mine).restore(model, optimizer, generators)
        for name, rng in (generators or {}).items():
            if any(rng is own for own in self._own) and f"{name} of rank {self.rank}" not in saved.generators:
                self.own(rng)


def _in_words(parameter: Any) -> str:
    return f"{parameter.name or 'a parameter'} of shape {parameter.shape}, {parameter.dtype}"
