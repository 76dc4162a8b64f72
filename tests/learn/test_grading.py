"""Every exercise: the file as copied fails, the project's own answer passes, and wrong ones get the hint that fits."""

import inspect
import re
import textwrap

import numpy as np
import pytest
from answers import WRONG_ATTEMPTS, WRONG_REPAIRS, completed, mended, solution

import minigrad
from minigrad import viz
from minigrad.learn.catalogue import EXERCISES, MENDED, STUBS
from minigrad.learn.grading import GRADERS, grade
from minigrad.learn.op_grader import Unsolved, grade_page
from minigrad.tensors.operators import OPS


def told(name, text):
    """What is said of an attempt that is not right."""
    with pytest.raises(Unsolved) as found:
        grade(name, text, f"{name}.py")
    return str(found.value)


@pytest.mark.parametrize("name", EXERCISES)
def test_every_file_fails_as_it_is_copied(name):
    assert told(name, EXERCISES[name].stub)


@pytest.mark.parametrize("name", EXERCISES)
def test_every_solution_passes(name):
    answer = solution(name)
    if isinstance(answer, str):
        said = grade(name, answer, f"{name}.py")
    else:
        said = GRADERS[name](answer) if name in GRADERS else grade_page(name, answer)
    assert said


@pytest.mark.parametrize(("name", "answers", "words"), WRONG_ATTEMPTS, ids=[row[0] for row in WRONG_ATTEMPTS])
def test_a_wrong_attempt_gets_the_hint_that_fits_and_not_the_answer(name, answers, words):
    said = told(name, completed(name, *answers))
    assert any(word in said for word in words.split("|"))
    if name in OPS:
        page = inspect.getsource(inspect.unwrap(OPS[name]))
        right = {line.strip() for line in page.splitlines() if re.match(r"\s+return .*grad_y", line)}
        assert not [line for line in right if line in said and line not in answers]


@pytest.mark.parametrize(("name", "bad", "repair", "words"), WRONG_REPAIRS, ids=[row[0] for row in WRONG_REPAIRS])
def test_a_repair_of_something_else_is_no_solution(name, bad, repair, words):
    assert words in told(name, EXERCISES[name].stub.replace(bad, repair))


def test_a_changed_value_is_noticed():
    text = completed("exp", "return grad_y * y").replace("y = np.exp(x)", "y = np.exp(x) + 1")
    assert "The value of exp() is not what it was" in told("exp", text)


def test_fewer_arguments_do_not_make_fewer_cases():
    text = completed("softmax", "return grad_y").replace(", *, axis=-1", "").replace("axis", "-1")
    assert "Right in 0 of 7 cases" in told("softmax", text)


def test_a_file_that_enters_an_op_leaves_none_behind():
    before = dict(OPS)
    grade("bug_gradcheck_fails", mended("bug_gradcheck_fails"), "file.py")
    assert before == OPS


# --- the files themselves ---------------------------------------------------------------------------------------------


def test_there_is_an_exercise_for_each_op_worth_deriving_and_six_bugs():
    assert len(EXERCISES) == 27 and len(MENDED) == 6
    assert [path.stem[:2] for path in sorted(STUBS.glob("*.txt"))] == [f"{n:02}" for n in range(1, 28)]
    assert set(GRADERS) <= set(EXERCISES)


@pytest.mark.parametrize("name", EXERCISES)
def test_each_says_what_to_do_how_to_ask_and_ends_with_a_worked_hint(name):
    text = EXERCISES[name].stub
    assert 10 < len(EXERCISES[name].about) <= 43  # fits the list in a terminal of 80 columns
    assert f"Then ask:  python -m minigrad exercises {name}\n" in text
    assert "\n\n\n# A worked hint" in text and text.splitlines()[-1].startswith("# ")
    assert max(map(len, text.splitlines())) <= 120
    assert all(page for page in EXERCISES[name].pages) or name in MENDED


def test_names_in_the_files_exist_in_minigrad():
    for exercise in EXERCISES.values():
        for name in re.findall(r"\bmg\.(\w+)", exercise.stub):
            assert hasattr(minigrad, name), (exercise.file, name)


SAID_BY_THE_TOOL = {
    "bug_stands_still": "cut off from the loss by numpy()",
    "bug_hardly_learns": "of the units of `tanh` of shape (64, 16) are saturated",
    "bug_gradcheck_fails": "`center` of shape (6, 5)",
    "bug_nan": "`log` of shape (2, 3): 1 of 6 values",
    "bug_never_fits": "8×8",
    "bug_too_good": "",
}


@pytest.mark.parametrize("name", MENDED)
def test_the_tool_that_a_bugs_file_names_finds_it_when_called_as_the_file_says(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, names = EXERCISES[name].stub, {"__name__": "exercise"}
    before = dict(OPS)
    try:
        exec(text, names)
        for build in {"Classifier", "Model", "make_model"} & set(names):
            names["model"] = names[build](np.random.default_rng(1))
        names["scores"] = names.get("make_scores", lambda: None)()
        lines = [line for line in text.split('"""')[1].splitlines() if line[:4] == "    " and "viz.graph" not in line]
        try:
            exec(textwrap.dedent("\n".join(lines)), names | {"viz": viz, "mg": minigrad})
        except FloatingPointError as error:
            print(error)
    finally:
        OPS.clear()
        OPS.update(before)
    assert lines and SAID_BY_THE_TOOL[name] in capsys.readouterr().out
    assert name != "bug_too_good" or (tmp_path / "who_sees_whom.svg").stat().st_size > 1000
