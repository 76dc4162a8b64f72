"""An example meets the terminal: Ctrl-C, letters it lacks, its width, a pipe that nobody reads."""

import contextlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

import record
import story
import terminal

EXAMPLES = Path(__file__).parents[2] / "examples"
LAST_LINE = "stopped by Ctrl-C before the end\n"
posix = pytest.mark.skipif(os.name != "posix", reason="sends the signal of Ctrl-C to a group of processes")


def start(*command, **environment):
    return subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=os.environ | environment,
    )  # fmt: skip


def press_ctrl_c(run):
    """What it says until no process is left: each of them holds the other end of its output."""
    pressed = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)
    try:
        said = run.communicate(timeout=30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    assert time.monotonic() - pressed < 4  # 2 seconds on a computer that does nothing else
    assert run.returncode == 130
    return said


@posix
@pytest.mark.parametrize(("name", "seconds"), [("long_attention", 0.5), ("memory_network", 1), ("char_gpt", 1.5)])
def test_one_ctrl_c_ends_an_example_and_its_processes_with_one_line(name, seconds, tmp_path):
    run = start(EXAMPLES / f"{name}.py", "--out", tmp_path)
    time.sleep(seconds)
    out, errors = press_ctrl_c(run)
    if "saved" in out:  # char_gpt, once it trains
        assert out.splitlines()[-1].startswith("stopped after step") and errors == ""
    else:
        assert errors == LAST_LINE
    assert [path for path in tmp_path.iterdir() if path.suffix != ".npz"] == []


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


@posix
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_no_process_outlives_the_program_whichever_signal_ends_it(end, tmp_path):
    program = tmp_path / "slow.py"
    program.write_text(SLOW_STORY.format(folder=str(EXAMPLES), out=str(tmp_path)))
    run = start(program)
    assert run.stdout.readline().startswith("running")  # two write at once
    run.send_signal(end)  # to the program alone
    _, errors = run.communicate(timeout=30)
    assert run.returncode == (130 if end == signal.SIGINT else -end)
    assert "Traceback" not in errors


@posix
def test_ctrl_c_is_heard_while_an_example_still_loads(tmp_path):
    (tmp_path / "numpy.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    run = start(EXAMPLES / "softmax_tour.py", PYTHONPATH=str(tmp_path))
    assert run.stdout.readline() == "loading\n"
    assert press_ctrl_c(run) == ("", LAST_LINE)


@posix
def test_ctrl_c_is_not_lost_where_no_exception_can_be_raised():
    """Python reports what is raised in a finalizer and goes on."""
    program = (
        f"import sys, time; sys.path.insert(0, {str(EXAMPLES)!r}); import terminal\n"
        "class Slow:\n    def __del__(self): print('deaf', flush=True); time.sleep(60)\n"
        "def main():\n    x = Slow()\n    del x\n    time.sleep(60)\n"
        "terminal.tell(main)"
    )
    run = start("-c", program)
    assert run.stdout.readline() == "deaf\n"
    assert press_ctrl_c(run) == ("", LAST_LINE)


@posix
def test_ctrl_c_ends_record_with_the_one_line_of_its_example():
    before = sorted(EXAMPLES.iterdir())
    run = start(EXAMPLES / "record.py", "memory_network")
    assert run.stdout.readline() == "\n" and "memory_network" in run.stdout.readline()
    time.sleep(1)
    assert press_ctrl_c(run) == ("", LAST_LINE)
    assert sorted(EXAMPLES.iterdir()) == before


# --- letters and width -----------------------------------------------------------------------------------------------


def test_letters_the_terminal_lacks_do_not_stop_an_example_and_a_first_look_leaves_the_full_runs_files(tmp_path):
    full = [tmp_path / "softmax_tour.png", tmp_path / "softmax_tour.json"]
    for path in full:
        path.write_text("the full run's")
    run = start(EXAMPLES / "softmax_tour.py", "--quick", "--out", tmp_path, PYTHONIOENCODING="cp1252")
    said = run.communicate(timeout=120)[0]
    assert run.returncode == 0
    assert "tau =" in said and "###" in said
    assert json.loads((tmp_path / "softmax_tour_quick.json").read_text())["in_words"]
    assert (tmp_path / "softmax_tour_quick.png").exists() == bool(find_spec("matplotlib"))
    assert all(path.read_text() == "the full run's" for path in full)


def test_letters_become_their_plain_likeness_or_a_question_mark():
    raw = io.BytesIO()
    stream = terminal.Patient(io.TextIOWrapper(raw, encoding="ascii"))
    print("1/√d → ∇ at τ ≤ 1, 中 \udc80", file=stream, flush=True)
    assert raw.getvalue() == b"1/sqrtd -> grad  at tau <= 1, ? ?\n"


def reported(name):
    found = json.loads((EXAMPLES / "results" / f"{name}.json").read_text(encoding="utf-8"))
    module = importlib.import_module(name)
    module.report(found)
    return module


REPORTS = [name for name in record.NAMES if "\ndef report(" in (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")]


@pytest.mark.parametrize("columns", [50, 80])
@pytest.mark.parametrize("name", REPORTS)
def test_the_recorded_tables_fit_the_terminal(name, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    reported(name)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= columns


@pytest.mark.parametrize("name", REPORTS)
def test_the_recorded_tables_can_be_printed_in_ascii(name, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", terminal.Patient(io.TextIOWrapper(raw, encoding="ascii")))
    monkeypatch.setenv("COLUMNS", "80")
    reported(name)
    sys.stdout.flush()
    lines = raw.getvalue().decode("ascii").splitlines()
    assert len(lines) > 5 and max(map(len, lines)) <= 80  # "tau" is longer than τ


HEAD = ["weights", "accuracy in percent", "step"]
ROWS = [["softmax", "100.0", "12"], ["hardmax, frozen", "26.1", ""]]


def printed_table(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    story.table("Title", HEAD, ROWS)
    return capsys.readouterr().out.splitlines()[2:]


def test_a_table_that_fits_has_a_line_for_each_row(monkeypatch, capsys):
    assert printed_table(80, monkeypatch, capsys) == [
        "weights          accuracy in percent  step",
        "---------------  -------------------  ----",
        "softmax                        100.0    12",
        "hardmax, frozen                 26.1",
    ]


def test_a_table_too_wide_breaks_its_heads_first(monkeypatch, capsys):
    assert printed_table(32, monkeypatch, capsys) == [
        "                 accuracy",
        "                       in",
        "weights           percent  step",
        "---------------  --------  ----",
        "softmax             100.0    12",
        "hardmax, frozen      26.1",
    ]


def test_a_table_still_too_wide_goes_on_below_beside_its_first_column(monkeypatch, capsys):
    assert printed_table(25, monkeypatch, capsys) == [
        "                 accuracy",
        "                       in",
        "weights           percent",
        "---------------  --------",
        "softmax             100.0",
        "hardmax, frozen      26.1",
        "",
        "weights          step",
        "---------------  ----",
        "softmax            12",
        "hardmax, frozen",
    ]


def test_rows_become_columns_where_that_needs_fewer_parts(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "30")
    story.table("Title", ["n", "2", "4", "8"], [["softmax", "99.4 - 100", "98.0 - 99.1", "97.1 - 98"]])
    assert capsys.readouterr().out.splitlines()[2:] == [
        "n      softmax",
        "-  -----------",
        "2   99.4 - 100",
        "4  98.0 - 99.1",
        "8    97.1 - 98",
    ]


def test_the_help_gets_new_line_ends_and_keeps_what_is_drawn(monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    doc = "A paragraph\nof two lines and more.\n\n    a   drawing\n    b   below\n"
    assert terminal.reflow(doc) == "A paragraph of two lines\nand more.\n\n    a   drawing\n    b   below"


# --- results ---------------------------------------------------------------------------------------------------------


def test_results_are_written_before_they_are_printed(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    written = []

    def report(results):
        written.extend(sorted(path.name for path in tmp_path.iterdir()))
        print("a table")

    args = story.parse(story.flags("", seeds=0), ["--out", str(tmp_path)])
    story.finish(
        "tale", args, {}, lambda results: ["Headline.", "Details."], report, lambda _, path: path.write_text("")
    )
    assert written == ["tale.json", "tale.png"]
    assert capsys.readouterr().out.splitlines()[:5] == ["", "Headline.", "a table", "", "Details."]


@posix
def test_a_closed_pipe_loses_no_result(tmp_path):
    run = start("-u", EXAMPLES / "diagnose_gradients.py", "--out", tmp_path)
    run.stdout.close()
    errors = run.stderr.read()
    run.stderr.close()
    assert run.wait(timeout=60) == 0
    assert errors == ""
    assert json.loads((tmp_path / "diagnose_gradients.json").read_text())["in_words"]
