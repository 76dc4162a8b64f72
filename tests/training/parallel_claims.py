"""What test_parallel.py starts under mpiexec, alone or with several ranks. Each function is a claim that it checks.

mpiexec -n 3 python parallel_claims.py FILE claims FOLDER      all claims; rank 0 writes what they found to FILE
mpiexec -n 2 python parallel_claims.py FILE killed             one of the disasters; these end all ranks
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from minigrad import checkpoint, cross_entropy, optim
from minigrad.nn import GPT, GPTConfig, Module, Parameter
from minigrad.training import parallel

CONFIG = GPTConfig(vocab_size=11, block_size=8, n_layers=1, n_heads=2, d_model=16)


@dataclass(frozen=True)
class Case:
    """How a run trains."""

    rows: int = 12
    ignored: bool = False  # some targets are; in whole rows, so that the ranks have unequal shares
    micro: int = 1  # in how many parts each rank takes its rows
    seldom: bool = False  # there is a parameter that only some rows reach
    clip: float = 0.2
    optimizer: str = "AdamW"
    dropout: float = 0.0
    dtype: type = np.float64


CASES = {
    "even batches": Case(),
    "uneven batches": Case(rows=13),
    "ignored targets": Case(rows=13, ignored=True),
    "micro-batches": Case(micro=2),
    "no clipping": Case(rows=13, clip=1e9),
    "a parameter reached on some ranks": Case(rows=6, seldom=True),
    "SGD": Case(rows=13, optimizer="SGD"),
    "float32": Case(rows=13, dtype=np.float32),
}


class Model(Module):
    def __init__(self, config, rng):
        self.gpt = GPT(config, rng)
        self.seldom = Parameter(np.full(3, 0.5))


class Run:
    """A small GPT in training. Without `workers` it is written as for one process, and knows nothing of parallel.py."""

    def __init__(self, case, workers=None, seed=0):
        self.case, self.workers = case, workers
        self.generators = {"model": np.random.default_rng(seed), "data": np.random.default_rng(seed + 1)}
        self.model = Model(replace(CONFIG, dropout=case.dropout), self.generators["model"]).astype(case.dtype)
        parameters = self.model.parameters()
        if case.optimizer == "AdamW":
            self.optimizer = optim.AdamW(parameters, 1e-2, weight_decay=0.1)
        else:
            self.optimizer = optim.SGD(parameters, 0.5, momentum=0.9)
        if workers:
            workers.own(self.generators["model"])
            workers.share(self.optimizer)

    def batch(self):
        ids = self.generators["data"].integers(0, 11, (self.case.rows, 9))
        ids, targets = ids[:, :-1], ids[:, 1:].copy()
        if self.case.ignored:
            targets[self.generators["data"].random(len(targets)) < 0.4] = -100
            targets[0, 0] = 3  # never all of them
        return ids, targets

    def loss(self, ids, targets):
        """The mean over the targets that count; `seldom` adds to it where a row begins with 0, 1 or 2."""
        loss = cross_entropy(self.model.gpt(ids), targets, ignore_index=-100)
        few = int((ids[:, 0] < 3).sum())
        if self.case.seldom and few:
            loss = loss + (self.model.seldom**2).sum() * (few / len(ids))
        return loss

    def step(self):
        ids, targets = self.workers.mine(self.batch()) if self.workers else self.batch()
        counted = int((targets != -100).sum())
        self.optimizer.zero_grad()
        for x, y in zip(np.array_split(ids, self.case.micro), np.array_split(targets, self.case.micro), strict=True):
            share = (y != -100).sum() / max(counted, 1)
            (self.loss(x, y) * float(share)).backward()
        if self.workers:
            self.workers.average(self.optimizer, weight=counted / self.workers.sum(counted))
        optim.clip_grad_norm(self.optimizer, self.case.clip)
        self.optimizer.step()

    def train(self, steps):
        for _ in range(steps):
            self.step()
        return self

    def save(self, path):
        save = self.workers.save if self.workers else checkpoint.save
        save(path, self.model, optimizer=self.optimizer, generators=self.generators)
        return self

    def restore(self, path):
        saved = checkpoint.load(path)
        restore = self.workers.restore if self.workers else saved.restore
        restore(*([saved] if self.workers else []), self.model, self.optimizer, self.generators)
        return self

    @property
    def values(self):
        return self.optimizer.values.copy()

    def states(self):
        return json.dumps([rng.bit_generator.state for rng in self.generators.values()])


def alone(case, steps=20):
    """The parameters of one process, before and after training: (2, n)."""
    run = Run(case)
    return np.stack([run.values, run.train(steps).values])


ALONE: dict[str, np.ndarray] = {}  # the same by the name of the case: test_parallel.py computes it once for all


def apart(values, name):
    """How far parameters lie from those of one process after 20 steps, as a share of how far these moved at most."""
    start, end = ALONE[name]
    return float(np.abs(values - end).max() / np.abs(end - start).max())


# --- claims ----------------------------------------------------------------------------------------------------------


def same_as_one_process(workers, folder):
    """For each case, how far 20 steps of all ranks end from 20 steps of one process."""
    return {name: apart(Run(case, workers).train(20).values, name) for name, case in CASES.items()}


def clipping_before_averaging(workers, folder):
    """What the explicit line is for: the same run with the two lines exchanged."""
    case = CASES["uneven batches"]
    run = Run(case, workers)
    average, clip = workers.average, optim.clip_grad_norm
    workers.average = lambda optimizer, weight: (clip(optimizer, case.clip), average(optimizer, weight=weight))
    try:
        return apart(run.train(20).values, "uneven batches")
    finally:
        del workers.average


def ranks_end_alike(workers, folder):
    """Every rank has the same bits, with dropout, uneven batches and ignored targets."""
    run = Run(Case(rows=13, ignored=True, dropout=0.2, dtype=np.float32), workers).train(5)
    return workers.sum(run.values * (workers.rank + 1)).tolist() == (
        run.values * (workers.size * (workers.size + 1) // 2)
    ).tolist() or float(np.ptp(workers.sum(one_hot(workers, run.values)), axis=0).max())


def one_hot(workers, values):
    rows = np.zeros((workers.size, len(values)))
    rows[workers.rank] = values
    return rows


def share_brings_rank_0s_run(workers, folder):
    """Values, moments, counts and settings; here each rank begins with others."""
    run = Run(Case(), seed=workers.rank).train(workers.rank + 1)
    run.optimizer.lr = 0.1 / (workers.rank + 1)
    workers.share(run.optimizer)
    zero = Run(Case()).train(1)
    zero.optimizer.lr = 0.1
    mine, its = run.optimizer.state_dict(), zero.optimizer.state_dict()
    same = all(np.array_equal(a, b) for key in "mv" for a, b in zip(mine.pop(key), its.pop(key), strict=True))
    return bool(np.array_equal(run.values, zero.values) and same and mine == its)


def each_rank_drops_something_else(workers, folder):
    rng = workers.own(np.random.default_rng(7))
    drawn = one_hot(workers, rng.random(5))
    return workers.sum(drawn).tolist()


def rows_are_shared_out(workers, folder):
    """Each row on one rank, in order; shares differ by one at most; tuples keep together."""
    ids = np.arange(26).reshape(13, 2)
    mine, same = workers.mine((ids, list(range(13))))
    counts = workers.sum(one_hot(workers, [len(mine)])).ravel()
    seen = workers.sum(one_hot(workers, np.bincount(same, minlength=13)))
    return bool((seen.sum(0) == 1).all() and np.ptp(counts) <= 1 and (mine[:, 0] == 2 * np.array(same)).all())


def sums(workers, folder):
    return [workers.sum(1), workers.sum(0.5), workers.sum(np.ones(2)).tolist(), type(workers.sum(1)).__name__]


def a_checkpoint_resumes_on_as_many_ranks(workers, folder):
    """With dropout: to the last bit, so the generators of all ranks were in it. Uneven rows: they draw unequally."""
    case = Case(rows=13, dropout=0.3, dtype=np.float32)
    unbroken = Run(case, workers).train(3).save(folder / f"dropout{workers.size}.npz").train(3)
    resumed = Run(case, workers, seed=5).restore(folder / f"dropout{workers.size}.npz").train(3)
    same = np.array_equal(unbroken.values, resumed.values) and unbroken.states() == resumed.states()
    return workers.sum(int(same)) == workers.size


def a_checkpoint_goes_to_and_fro(workers, folder):
    """alone.npz was written by one process after 3 steps: make the other 17 here. Write one for the reverse."""
    Run(CASES["uneven batches"], workers).train(3).save(folder / f"{workers.size}.npz")
    run = Run(CASES["uneven batches"], workers, seed=5).restore(folder / "alone.npz").train(17)
    return apart(run.values, "uneven batches")


def what_it_refuses(workers, folder):
    """The sentences of errors that all ranks raise alike. With one rank there are none: nothing is to be agreed on."""

    def small_batch():
        workers.mine(np.zeros((workers.size - 1, 2)))

    def unequal_arrays():
        workers.mine((np.zeros((12, 2)), np.zeros(11)))

    def other_shapes():
        workers.share(optim.AdamW([Parameter(np.zeros(3 + workers.rank))]))

    def other_dtypes():
        workers.share(optim.AdamW([Parameter(np.zeros(3), dtype=[np.float32, np.float64][workers.rank > 0])]))

    def other_counts():
        workers.share(optim.AdamW([Parameter(np.zeros(3)) for _ in range(1 + workers.rank)]))

    def other_kinds():
        parameters = [Parameter(np.zeros(3))]
        workers.share(optim.SGD(parameters, 0.1) if workers.rank else optim.AdamW(parameters))

    def not_shared():
        workers.average(Run(Case()).optimizer, weight=1 / workers.size)

    def weights_of_one_each():
        workers.average(Run(Case(), workers).optimizer, weight=1.0)

    def changed_on_one_rank(number=0.9):
        run = Run(Case(), workers)
        if workers.rank:
            run.model.gpt.norm.weight.data = np.full(16, number)
        try:
            workers.sum(1)
        finally:
            workers._steps.clear()

    def nan_on_one_rank():
        changed_on_one_rank(np.nan)

    def forgotten(act):
        run = Run(Case(), workers)
        run.loss(*run.batch()).backward()
        run.optimizer.step()
        try:
            act()
        finally:
            workers._steps.clear()

    def average_forgotten():
        forgotten(lambda: workers.mine(np.zeros((12, 2))))

    def average_forgotten_until_sum():
        forgotten(lambda: workers.sum(1))

    def different_calls():
        workers.sum(1) if workers.rank else workers._roll_call("average", 1.0, 0.0)

    def no_jump():
        workers.own(np.random.Generator(np.random.SFC64(0)))

    claims = [small_batch, unequal_arrays, other_shapes, other_dtypes, other_counts, other_kinds, not_shared,
              weights_of_one_each, changed_on_one_rank, nan_on_one_rank, average_forgotten, average_forgotten_until_sum,
              different_calls, no_jump]  # fmt: skip
    return {claim.__name__: sentence(claim) for claim in claims}


def sentence(claim):
    try:
        claim()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


CLAIMS = [same_as_one_process, clipping_before_averaging, ranks_end_alike, share_brings_rank_0s_run,
          each_rank_drops_something_else, rows_are_shared_out, sums, a_checkpoint_resumes_on_as_many_ranks,
          a_checkpoint_goes_to_and_fro]  # fmt: skip


def claims(workers, file, folder):
    ALONE.update(np.load(Path(folder) / "values.npz"))
    found = {claim.__name__: claim(workers, Path(folder)) for claim in CLAIMS}
    if workers.size > 1:
        refused = what_it_refuses(workers, Path(folder))
        found["refused"] = dict(
            zip(refused, zip(*workers._comm.allgather([*refused.values()]), strict=True), strict=True)
        )
    workers.print("only once")
    if workers.rank == 0:
        Path(file).write_text(json.dumps(found))


# --- disasters: each ends all ranks ----------------------------------------------------------------------------------


def raises(workers, file):
    run = Run(Case(), workers).train(2)
    if workers.rank == 1:
        raise ValueError("the disk of rank 1 is full")
    run.train(10_000)


def killed(workers, file):
    """Rank 1 is killed when it is to bring its gradient; the others are in the middle of the Allreduce."""
    run = Run(Case(), workers).train(2)
    if workers.rank == 1:
        comm = workers._comm

        class Killed:
            def __getattr__(self, name):
                return getattr(comm, name)

            def Allreduce(self, *_):
                time.sleep(1)  # mpiexec passes on what rank 0 has printed
                os.kill(os.getpid(), signal.SIGKILL)

        workers._comm = Killed()
    run.train(10_000)


def leaves_early(workers, file):
    Run(Case(), workers).train(2 + 3 * (workers.rank == 0))


def exits_alike(workers, file):
    Run(Case(), workers).train(1)
    sys.exit(3)


def forgets(workers, file):
    """Nothing else of workers is used, so the end of the with block must notice."""
    run = Run(Case(), workers)
    for _ in itertools.repeat(None, 3):
        run.loss(*run.batch()).backward()
        run.optimizer.step()


if __name__ == "__main__":
    with parallel.Workers() as workers:
        globals()[sys.argv[2]](workers, sys.argv[1], *sys.argv[3:])
