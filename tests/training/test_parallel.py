"""Training with several ranks is training with one; and whatever goes wrong, nobody hangs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from parallel_claims import ALONE, CASES, Run, alone, apart

from minigrad.training import parallel, ranks

SCRIPT = Path(__file__).with_name("parallel_claims.py")
ROOT = Path(__file__).parents[2]
# Open MPI, unlike MPICH, refuses root and more ranks than cores unless it is told to.
OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def mpiexec(n, *arguments, seconds=120):
    """(exit code, what was printed) of the script with n ranks. Fails if it is not over in time."""
    pytest.importorskip("mpi4py", reason="training in several processes needs mpi4py: pip install 'minigrad[mpi]'")
    beside = Path(sys.executable).with_name("mpiexec")
    launcher = str(beside) if beside.exists() else shutil.which("mpiexec")
    if launcher is None:
        pytest.skip("training in several processes needs mpiexec: pip install 'minigrad[mpi]'")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = os.environ | OPEN_MPI | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [launcher, "-n", str(n), sys.executable, str(SCRIPT), *map(str, arguments)]
    started = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        printed, _ = started.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        started.terminate()  # mpiexec takes its ranks along
        printed, _ = started.communicate(timeout=30)
        pytest.fail(f"{n} ranks hung:\n{printed}")
    return started.returncode, printed


@pytest.fixture(scope="module", params=[1, 2, 3])
def found(request, tmp_path_factory):
    """What all claims found with this many ranks; 3 are more than some computers have cores."""
    folder = tmp_path_factory.mktemp(f"ranks{request.param}")
    ALONE.update(ALONE or {name: alone(case) for name, case in CASES.items()})
    np.savez(folder / "values.npz", **ALONE)
    Run(CASES["uneven batches"]).train(3).save(folder / "alone.npz")
    code, printed = mpiexec(request.param, folder / "found.json", "claims", folder)
    assert code == 0, printed
    found = json.loads((folder / "found.json").read_text())
    return found | {"size": request.param, "folder": folder, "printed": printed}


# --- the same result as one process ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_20_steps_of_all_ranks_are_20_steps_of_one_process(found, case):
    assert found["same_as_one_process"][case] < (0.02 if case == "float32" else 1e-9)


def test_the_average_comes_before_clipping(found):
    """Exchanged, the two lines give another result as soon as there are two ranks: the test above would notice."""
    assert (found["clipping_before_averaging"] > 1e-3) == (found["size"] > 1)


def test_the_ranks_end_with_the_same_bits(found):
    assert found["ranks_end_alike"] is True


def test_sharing_gives_all_ranks_what_rank_0_has(found):
    assert found["share_brings_rank_0s_run"]


def test_each_rank_draws_numbers_of_its_own_and_rank_0_those_of_one_process(found):
    drawn = np.array(found["each_rank_drops_something_else"])
    np.testing.assert_array_equal(drawn[0], np.random.default_rng(7).random(5))
    assert len(np.unique(drawn)) == 5 * found["size"]


def test_every_row_is_some_ranks(found):
    assert found["rows_are_shared_out"]


def test_sums_are_over_all_ranks(found):
    assert found["sums"] == [found["size"], found["size"] / 2, [found["size"]] * 2, "int"]


def test_only_rank_0_prints(found):
    assert found["printed"].count("only once") == 1


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_a_checkpoint_resumes_to_the_last_bit_with_every_ranks_generators(found):
    assert found["a_checkpoint_resumes_on_as_many_ranks"]


def test_a_checkpoint_of_one_process_resumes_on_all_ranks(found):
    assert found["a_checkpoint_goes_to_and_fro"] < 1e-9


@pytest.mark.filterwarnings("ignore:.*saved in another environment")  # with another number of BLAS threads
def test_a_checkpoint_of_all_ranks_resumes_in_one_process(found):
    case = CASES["uneven batches"]
    path = found["folder"] / f"{found['size']}.npz"
    with parallel.Workers() as workers:
        run = Run(case, workers, seed=5).restore(path).train(17)
    assert apart(run.values, "uneven batches") < 1e-9
    assert run.states() == Run(case).train(20).states()


# --- bad input: what all ranks refuse --------------------------------------------------------------------------------

REFUSED = {
    "small_batch": "a batch of {less} rows is too small for {size} ranks: start at most {less} with mpiexec",
    "unequal_arrays": "equally many rows, not [12, 11]",
    "other_shapes": "rank 0 has a parameter of shape (3,), float64, rank 1 has a parameter of shape (4,), float64",
    "other_dtypes": "rank 0 has a parameter of shape (3,), float32, rank 1 has a parameter of shape (3,), float64",
    "other_counts": "rank 0 has AdamW over 1 parameters, rank 1 has AdamW over 2 parameters",
    "other_kinds": "rank 0 has AdamW over 1 parameters, rank 1 has SGD over 1 parameters",
    "not_shared": "call workers.share(optimizer) before training",
    "weights_of_one_each": "must sum to 1: 1.0, 1.0",
    "changed_on_one_rank": "the parameters of rank 1 have drifted away from those of rank 0",
    "nan_on_one_rank": "the parameters of rank 1 have drifted away from those of rank 0",
    "average_forgotten": "call workers.average(optimizer, weight=...) before each step()",
    "average_forgotten_until_sum": "the parameters of rank 1 have drifted away|step() without an average",
    "different_calls": "rank 0 is at average, rank 1 at sum: all ranks must make the same calls",
}


@pytest.mark.parametrize("found", [2, 3], indirect=True)
@pytest.mark.parametrize("mistake", REFUSED)
def test_every_rank_refuses(found, mistake):
    sentences = REFUSED[mistake].format(size=found["size"], less=found["size"] - 1).split("|")
    said = found["refused"][mistake]
    assert len(said) == found["size"]
    for rank in said:
        assert rank and any(sentence in rank for sentence in sentences)


@pytest.mark.parametrize("found", [2], indirect=True)
def test_a_generator_that_cannot_jump_is_refused_where_it_would_have_to(found):
    assert found["refused"]["no_jump"][0] is None
    assert "SFC64 cannot jump: use np.random.default_rng(seed)" in found["refused"]["no_jump"][1]


# --- disasters: all ranks stop, in time, and say why -----------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3])
def test_a_rank_that_raises_takes_the_others_along(n):
    code, printed = mpiexec(n, "-", "raises", seconds=60)
    assert code != 0
    assert f"rank 1 of {n}, process " in printed
    assert "stops all: ValueError('the disk of rank 1 is full')" in printed
    assert "parallel_claims.py" in printed  # the traceback


def test_a_rank_killed_in_the_middle_of_an_all_reduce_takes_the_others_along():
    code, printed = mpiexec(3, "-", "killed", seconds=60)
    assert code != 0
    processes = re.findall(r"^rank \d: process (\d+)", printed, re.MULTILINE)
    told = "\n".join(line for line in printed.splitlines() if not line.startswith("rank"))
    # MPICH names a process, Open MPI the rank: the first that is seen to have ended, nearly always the killed one.
    assert len(processes) == 3 and (any(process in told for process in processes) or "rank 1" in told)
    assert "illed" in told


def test_a_rank_that_leaves_early_is_not_waited_for():
    code, printed = mpiexec(2, "-", "leaves_early", seconds=60)
    assert code != 0
    assert "rank 0 is at sum, rank 1 at the end of the with block" in printed
    assert printed.count("Traceback") == 1  # both raise it, rank 0 says it


def test_an_average_forgotten_is_noticed_at_the_end_at_the_latest():
    code, printed = mpiexec(2, "-", "forgets", seconds=60)
    assert code != 0
    assert "step() without an average" in printed


def test_when_all_ranks_exit_nothing_is_aborted():
    code, printed = mpiexec(2, "-", "exits_alike", seconds=60)
    assert code == 3
    assert "stops all" not in printed and "Traceback" not in printed


# --- alone -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def announce(monkeypatch):
    for name in ranks.ANNOUNCED:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_alone_everything_is_as_without_it(announce):
    with parallel.Workers() as workers:
        assert (workers.rank, workers.size) == (0, 1)
        for case in CASES.values():
            np.testing.assert_array_equal(Run(case, workers).train(3).values, Run(case).train(3).values)
        batch = [1, 2, 3]
        assert workers.mine(batch) is batch
    with pytest.raises(ZeroDivisionError), parallel.Workers():
        1 / 0  # noqa: B018  errors pass


def test_without_mpi4py_there_is_silence_unless_several_processes_were_started(announce, capfd):
    announce.setitem(sys.modules, "mpi4py", None)
    for name, value in [("PMI_SIZE", "1"), ("SLURM_NTASKS", "4"), ("OMPI_COMM_WORLD_SIZE", "1")]:
        announce.setenv(name, value)
    assert parallel.Workers().size == 1
    assert capfd.readouterr() == ("", "")
    for name in ranks.ANNOUNCED:
        announce.setenv(name, "2")
        with pytest.raises(ImportError, match=r"2 processes were started together.*pip install mpi4py mpich"):
            parallel.Workers()
        announce.delenv(name)


def test_an_mpi4py_of_another_mpi_is_noticed(announce):
    announce.setenv("PMI_SIZE", "2")
    single = type("MPI", (), {"COMM_WORLD": type("Comm", (), {"size": 1})})
    announce.setitem(sys.modules, "mpi4py", type("mpi4py", (), {"MPI": single}))
    with pytest.raises(RuntimeError, match="2 processes were started together, but mpi4py sees 1: it uses another MPI"):
        parallel.Workers()


def test_jobs_of_mpi4py_futures_train_alone(announce):
    announce.setenv("PMI_SIZE", "3")
    announce.setitem(sys.modules, "mpi4py.futures", type("futures", (), {}))
    assert parallel.Workers().size == 1
