"""`python -m minigrad exercises`: copying, the list, one exercise, its solution; and the exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from answers import completed

from minigrad.__main__ import main
from minigrad.learn import attempt, command
from minigrad.learn.catalogue import EXERCISES


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in. Files are graded in this process, which is quicker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(command, "outcome_of", lambda name, path: attempt._outcome(name, str(path)))
    return tmp_path


@pytest.fixture
def said(here, capsys):
    """Run the command; return its exit code and what it printed."""

    def run(*arguments):
        code = main(["exercises", *arguments])
        return code, capsys.readouterr().out

    return run


def test_copying_writes_every_file_and_says_how_to_go_on(said, here):
    code, out = said("--copy")
    assert code == 0 and out.startswith("27 files copied to exercises")
    assert "python -m minigrad exercises exp" in " ".join(out.split())
    assert {path.name for path in (here / "exercises").iterdir()} == {e.file for e in EXERCISES.values()}
    assert (here / "exercises" / "09_softmax.py").read_text(encoding="utf-8") == EXERCISES["softmax"].stub


def test_copying_again_keeps_what_you_have_written_and_says_so(said, here):
    said("--copy", "work")
    own = here / "work" / "09_softmax.py"
    own.write_text("mine", encoding="utf-8")
    (here / "work" / "01_exp.py").unlink()
    code, out = said("--copy", "work")
    assert code == 0 and own.read_text(encoding="utf-8") == "mine"
    assert "1 files copied" in out and "since you have worked on them: 09_softmax.py" in out


def test_a_place_that_cannot_be_written_gets_a_sentence(said, here):
    (here / "file").write_text("", encoding="utf-8")
    code, out = said("--copy", "file")
    assert code == 1 and "Nothing can be written to file" in out


def test_the_list_counts_what_is_solved(said, here, monkeypatch):
    monkeypatch.setattr(command, "outcome_of", lambda name, path: attempt.Outcome(name != "mul", ""))
    code, out = said()
    assert code == 1 and "There is no folder exercises" in out and out.endswith("\n0 of 27 solved\n")
    said("--copy")
    for name in ("exp", "mul", "bug_nan"):
        (here / "exercises" / EXERCISES[name].file).write_text("mine", encoding="utf-8")
    code, out = said()
    lines = out.splitlines()
    assert code == 1 and lines[-1] == "2 of 27 solved"
    assert [line.split()[1] for line in lines[:27]] == list(EXERCISES)
    assert " solved " in lines[0] and " not yet " in lines[1] and " not begun " in lines[2] and " solved " in lines[24]
    assert max(map(len, lines)) <= 80


def test_when_all_is_solved_the_exit_code_is_0(said, monkeypatch):
    monkeypatch.setattr(command, "_state", lambda exercise, folder: command.SOLVED)
    code, out = said()
    assert code == 0 and out.endswith("27 of 27 solved\n")


def test_one_exercise_from_not_begun_to_solved(said, here):
    assert said("softmax")[0] == 1
    said("--copy")
    code, out = said("softmax")
    assert code == 1 and out.startswith("softmax: not begun. ")
    own = here / "exercises" / "09_softmax.py"
    own.write_text(completed("softmax", "print('here')\nreturn grad_y * y"), encoding="utf-8")
    code, out = said("softmax")
    assert (
        code == 1
        and "the cross terms are missing" in " ".join(out.split())
        and "A worked hint stands at the end" in out
    )
    assert out.startswith("Your file printed:\n    here\n") and "\nsoftmax: not yet. Right in 0 of 7 cases." in out
    own.write_text(
        completed("softmax", "return y * (grad_y - (y * grad_y).sum(axis, keepdims=True))"), encoding="utf-8"
    )
    code, out = said("softmax")
    assert code == 0 and out.startswith("softmax: solved. Right in all 7 cases.") and "Next: cross_entropy\n" in out
    assert max(map(len, out.splitlines())) <= 80


def test_an_unknown_exercise_gets_close_names(said):
    code, out = said("sofmax")
    assert code == 2 and "There is no exercise 'sofmax'. Did you mean softmax" in out


def test_another_folder_can_be_graded(said, here):
    said("--copy", "work")
    (here / "work" / "01_exp.py").write_text(completed("exp", "return grad_y * y"), encoding="utf-8")
    code, out = said("exp", "--dir", "work")
    assert code == 0 and "exercises exp --dir work --solution" in " ".join(out.split())


def test_the_solution_is_the_projects_page_beside_yours(said, here, monkeypatch):
    said("--copy")
    own = here / "exercises" / "09_softmax.py"
    own.write_text(completed("softmax", "return grad_y * y  # mine"), encoding="utf-8")
    code, below = said("softmax", "--solution")
    assert code == 0 and "The quotient rule gives" in " ".join(below.split())
    assert below.index("return grad_y * y  # mine") < below.index("y, _ = exp_shifted(x, axis, mask)")
    monkeypatch.setenv("COLUMNS", "160")
    (row,) = [line for line in said("softmax", "--solution")[1].splitlines() if "mine" in line]
    assert " │ " in row and row.endswith("return y * (grad_y - (grad_y * y).sum(axis, keepdims=True))")


@pytest.mark.parametrize("name", EXERCISES)
def test_every_exercise_has_a_solution_to_show(said, name):
    code, out = said(name, "--solution")
    assert code == 0 and ("return " in out or "+ " in out or name == "backward")


def test_the_solution_of_a_bug_is_the_change_and_your_own_changes(said, here):
    said("--copy")
    own = here / "exercises" / EXERCISES["bug_too_good"].file
    own.write_text(EXERCISES["bug_too_good"].stub.replace("np.triu(", "mg.causal_mask(t)  # ("), encoding="utf-8")
    _, out = said("bug_too_good", "--solution")
    assert "-    return np.triu(np.ones((t, t), bool))\n+    return np.tril(np.ones((t, t), bool))" in out
    assert out.index("Your own changes") < out.index("+    return mg.causal_mask(t)")


def test_the_command_works_as_a_program_in_a_terminal_of_windows(tmp_path):
    """In a folder that is no clone, with an encoding that has no ∂."""
    run = [sys.executable, "-X", "utf8=0", "-m", "minigrad", "exercises", "softmax", "--solution"]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    environment["PYTHONPATH"] = str(Path(attempt.__file__).parents[2])
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert "dexp(x_i)/dx_j" in done.stdout.decode("cp1252")
