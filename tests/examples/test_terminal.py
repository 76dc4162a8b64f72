"""A program meets the terminal: Ctrl-C, letters it lacks, a pipe that nobody reads."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SLOW_STORY = """
import sys, time
sys.path.insert(0, {folder!r})
import story

def job(settings, seed):
    print("running", flush=True)
    time.sleep(60)

def main():
    args = story.parse(story.flags("slow"), ["--seeds", "2", "--out", {out!r}])
    story.compare(job, {{"row": None}}, args)

if __name__ == "__main__":
    story.tell(main)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends the signal of Ctrl-C to a group of processes")
def test_one_ctrl_c_ends_runs_in_other_processes_with_a_sentence(tmp_path):
    program = tmp_path / "slow.py"
    program.write_text(SLOW_STORY.format(folder=str(EXAMPLES), out=str(tmp_path)))
    run = subprocess.Popen(
        [sys.executable, program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert run.stdout.readline() == "running\n"
    pressed = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=30)
    assert time.monotonic() - pressed < 10  # under 2 seconds on an idle machine
    assert run.returncode == 130
    assert "stopped by Ctrl-C" in errors and "Traceback" not in errors


@pytest.mark.parametrize("name", ["softmax_tour", "diagnose_gradients"])
def test_letters_the_terminal_lacks_do_not_stop_an_example(name, tmp_path):
    command = [sys.executable, EXAMPLES / f"{name}.py", "--quick", "--out", tmp_path]
    for encoding in ("cp1252", "ascii"):
        run = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, timeout=120)
        assert run.returncode == 0, run.stderr


@pytest.mark.skipif(os.name != "posix", reason="a pipe whose reader has gone")
def test_a_closed_pipe_loses_no_result(tmp_path):
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-u", EXAMPLES / "softmax_tour.py", "--quick", "--out", tmp_path, "--json", figures]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run.stdout.close()
    errors = run.stderr.read()
    run.stderr.close()
    assert run.wait(timeout=60) == 0
    assert errors == b""
    assert json.loads(figures.read_text())["in_words"]


def test_a_quick_run_leaves_the_full_runs_picture(tmp_path):
    pytest.importorskip("matplotlib")
    full = tmp_path / "softmax_tour.png"
    full.write_bytes(b"the full run's")
    command = [sys.executable, EXAMPLES / "softmax_tour.py", "--quick", "--out", tmp_path]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert full.read_bytes() == b"the full run's"
    assert (tmp_path / "softmax_tour_quick.png").exists()
