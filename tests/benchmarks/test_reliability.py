"""The reliability figures can be had: each part runs in its quick mode, and finds nothing lost, wrong or unnoticed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs kill -9 and an alarm")


@pytest.fixture(scope="module")
def figures():
    command = [sys.executable, Path(__file__).with_name("reliability.py"), "--quick"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    return {part: found for line in run.stdout.splitlines() for part, found in json.loads(line).items()}


def test_no_kill_loses_a_checkpoint(figures):
    assert figures["kills"]["kills"] > 0 and figures["kills"]["lost"] == 0


def test_every_damaged_file_is_refused_or_gives_what_was_saved(figures):
    found = figures["damage"]
    assert not found["odd"]
    assert found["CheckpointError"] + found.get("the original", 0) == found["files"]


def test_no_call_differs_from_pytorchs(figures):
    if "skipped" in figures["ops"]:
        pytest.skip(figures["ops"]["skipped"])
    assert figures["ops"]["calls"] >= 200
    assert figures["ops"]["which"] == []


def test_gradcheck_kills_every_mutant_of_softmax_and_straight_through(figures):
    found = figures["mutants"]
    assert found["mutants"] > 20
    assert found["killed"] == found["mutants"]
