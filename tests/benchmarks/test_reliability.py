"""The reliability figures can be had: each part runs in its quick mode, and finds nothing lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(os.name != "posix", reason="needs kill -9 and an alarm")
def test_the_quick_mode_finds_nothing_lost_and_nothing_run():
    command = [sys.executable, Path(__file__).with_name("reliability.py"), "--quick"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    kills, damage, ops = (json.loads(line) for line in run.stdout.splitlines())
    assert kills["kills"]["lost"] == 0
    assert [damage["damage"][what] for what in ("other errors", "hangs", "code run")] == [0, 0, 0]
    assert ops["ops"]["off"] == 0
