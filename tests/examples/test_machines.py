"""An example's runs on all ranks that MPI started, and nobody waits when one fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = """
import argparse, json, os, sys
import story

def job(settings, seed):
    if settings == "bad":
        raise ValueError("this run fails")
    return [settings * seed, os.getpid()]

if __name__ == "__main__":
    rows = {"two": 2, "three": 3 if sys.argv[1] == "good" else "bad"}
    found = story.compare(job, rows, argparse.Namespace(seeds=3, processes=2))
    print(json.dumps([found, os.getpid()]))
"""


def with_ranks(n, how, folder):
    pytest.importorskip("mpi4py", reason="runs on many machines need mpi4py: pip install 'minigrad[mpi]'")
    beside = Path(sys.executable).with_name("mpiexec")
    launcher = str(beside) if beside.exists() else shutil.which("mpiexec")
    if launcher is None:
        pytest.skip("runs on many machines need mpiexec: pip install 'minigrad[mpi]'")
    (folder / "script.py").write_text(SCRIPT)
    path = os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    command = [launcher, "-n", str(n), sys.executable, "-m", "mpi4py.futures", str(folder / "script.py"), how]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=60)


def test_runs_go_to_the_other_ranks_and_come_back_in_order(tmp_path):
    done = with_ranks(3, "good", tmp_path)
    assert done.returncode == 0, done.stderr
    found, rank_0 = json.loads(done.stdout.splitlines()[-1])
    assert {name: [value for value, _ in runs] for name, runs in found.items()} == {
        "two": [0, 2, 4],
        "three": [0, 3, 6],
    }
    processes = {process for runs in found.values() for _, process in runs}
    assert rank_0 not in processes and 1 <= len(processes) <= 2


def test_a_run_that_fails_ends_all_ranks(tmp_path):
    done = with_ranks(2, "bad", tmp_path)
    assert done.returncode != 0
    assert "this run fails" in done.stderr
