"""Grading survives what somebody wrote: files that raise, print, loop for ever, or end Python. Each gets a sentence."""

import pytest
from answers import completed

from minigrad.learn.attempt import KEPT, _outcome, outcome_of

RIGHT = completed("exp", "return grad_y * y")


def said_of(tmp_path, text, name="exp"):
    """What grading says of a file, in this process."""
    path = tmp_path / "01_exp.py"
    path.write_text(text, encoding="utf-8")
    return _outcome(name, str(path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (RIGHT.replace("grad_y * y", "grad_y * z"), "`return grad_y * z`, raises NameError: name 'z' is not"),
        (RIGHT.replace("np.exp(x)", "np.exq(x)"), "`y = np.exq(x)`, raises AttributeError"),
        (RIGHT + "\nraise KeyError('here')\n", "`raise KeyError('here')`, raises KeyError: 'here'"),
        (RIGHT + "\nexit()\n", "raises SystemExit"),
        (RIGHT + "\nimport nowhere_to_be_found\n", "No module named 'nowhere_to_be_found'"),
        (RIGHT.replace("return y, vjp_x", "return y"), "exp() must return two things"),
        (RIGHT.replace("def exp(", "def epx("), "The file does not define the function exp()"),
        (RIGHT.replace("def exp(x):", "def exp(x)"), " is not Python: expected"),
        (RIGHT.replace("def exp(x):", "def exp():"), "takes 0 positional arguments"),
        ("", "The file does not define the function exp()"),
        ("exp = 3", "The file does not define the function exp()"),
        (RIGHT.replace("grad_y * y", "'text'"), "returned 'text', not an array"),
    ],
)  # fmt: skip
def test_a_broken_file_gets_a_sentence(tmp_path, text, words):
    outcome = said_of(tmp_path, text)
    assert not outcome.solved and words.lower() in outcome.said.lower()


def test_a_file_that_is_no_text_gets_a_sentence(tmp_path):
    (tmp_path / "01_exp.py").write_bytes(b"\xff\xfe\x00")
    assert _outcome("exp", str(tmp_path / "01_exp.py")).said == "The file is not text in UTF-8."


def test_what_it_prints_is_kept_apart_and_cut(tmp_path, capsys):
    outcome = said_of(tmp_path, RIGHT + "\nprint('hello')\nfor _ in range(10_000):\n    print('again')\n")
    assert outcome.solved and outcome.printed.startswith("hello\n") and len(outcome.printed) == KEPT
    assert capsys.readouterr().out == ""


# --- in a process of its own ------------------------------------------------------------------------------------------


def test_a_right_file_is_solved_although_it_prints_and_reads(tmp_path):
    path = tmp_path / "01_exp.py"
    path.write_text(
        RIGHT + "\nprint('naïve ∂')\ntry:\n    input()\nexcept EOFError:\n    print('alone')\n", encoding="utf-8"
    )
    outcome = outcome_of("exp", path)
    assert outcome.solved and outcome.said == "Right in all 3 cases." and outcome.printed == "naïve ∂\nalone\n"


def test_a_loop_that_never_ends_is_stopped(tmp_path):
    path = tmp_path / "01_exp.py"
    path.write_text("while True:\n    print('on')\n", encoding="utf-8")
    outcome = outcome_of("exp", path, limit=1)
    assert not outcome.solved and outcome.said.startswith("It was still running after 1 seconds")


def test_a_file_that_ends_python_gets_a_sentence(tmp_path):
    path = tmp_path / "01_exp.py"
    path.write_text("import os\nos._exit(3)\n", encoding="utf-8")
    outcome = outcome_of("exp", path)
    assert not outcome.solved and outcome.said == "The file ended Python itself (exit code 3)."
