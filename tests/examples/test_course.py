"""examples/course/: each notebook runs, shows pictures, and its exercise tells unsolved from solved."""

import contextlib
import importlib
import io
import os
import re
from pathlib import Path

import pytest

COURSE = Path(__file__).parents[2] / "examples/course"
SOURCES = sorted(COURSE.glob("[1-9]_*.py"))
for needed in ("matplotlib", "jupytext", "nbclient", "ipykernel"):
    pytest.importorskip(needed, reason=f"to run the notebooks takes {needed}: pip install 'minigrad[notebook]'")

each_notebook = pytest.mark.parametrize("name", [source.stem for source in SOURCES])


@pytest.fixture(scope="module")
def modules():
    """make.py and course.py, as the notebooks import them."""
    import matplotlib

    with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context():
        patch.syspath_prepend(str(COURSE))
        yield importlib.import_module("make"), importlib.import_module("course")


@pytest.fixture(scope="module")
def made(modules, tmp_path_factory):
    """The executed notebooks by name, how many seconds of work they were, and their folder."""
    import nbformat

    make, _ = modules
    before = os.times()
    folder = tmp_path_factory.mktemp("course")
    written = make.make_all(SOURCES, folder)
    after = os.times()
    work = sum(getattr(after, part) - getattr(before, part) for part in ("children_user", "children_system"))
    return {path.stem: nbformat.read(path, as_version=4) for path, _ in written}, work, folder


def cell_of(notebook, tag):
    (cell,) = (cell for cell in notebook.cells if tag in cell.metadata.get("tags", []))
    return cell


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def printed(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


def said_of(attempt, notebook):
    """What the check says when `attempt` stands in the learner's cell."""
    names, out = {}, io.StringIO()
    with contextlib.redirect_stdout(out):
        for source in (cell_of(notebook, "setup").source, attempt, cell_of(notebook, "check").source):
            exec(source, names)
    return out.getvalue()


def test_there_are_six_and_together_they_take_less_than_two_minutes(made):
    notebooks, work, _ = made
    assert len(notebooks) == len(SOURCES) == 6
    assert work < 120  # processor time, since another program may slow the clock's


@each_notebook
def test_a_notebook_runs_without_error_and_shows_a_picture(made, name):
    notebook = made[0][name]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 5 and all(cell.execution_count for cell in code)
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    kinds = {kind for output in outputs(notebook) for kind in output.get("data", {})}
    assert kinds & {"image/png", "image/svg+xml"}


@each_notebook
def test_the_unsolved_exercise_gets_its_hint_and_the_solution_passes(made, modules, name):
    notebook, (_, course) = made[0][name], modules
    unsolved = printed(cell_of(notebook, "check"))
    hints = [" ".join(hint.split()) for hint in course.HINTS.values()]
    assert unsolved.startswith("Not yet.")
    assert [hint for hint in hints if hint in " ".join(unsolved.split())]
    (solution,) = re.findall(r"```python\n(.*?)```", cell_of(notebook, "solution").source, re.DOTALL)
    solved = said_of(solution, notebook)
    assert solved.startswith("Right.") and "Not yet" not in solved


@each_notebook
def test_the_solution_only_fills_in_the_learners_cell(modules, name):
    notebook = modules[0].read(COURSE / f"{name}.py")
    given = [line.split("#")[0].rstrip() for line in cell_of(notebook, "exercise").source.splitlines()]
    solution = cell_of(notebook, "solution").source
    if name[0] != "6":  # there the exercise is a bug, and a line of it is wrong
        assert all(line in solution for line in given if "pass" not in line)


def test_a_wrong_answer_is_told_what_gradcheck_found(modules):
    notebook = modules[0].read(next(COURSE.glob("5_*.py")))
    attempt = cell_of(notebook, "exercise").source.replace(
        "pass", "grad = np.zeros_like(table); grad[ids] += grad_y; return grad"
    )
    said = said_of(attempt, notebook)
    assert said.startswith("Not yet. gradcheck of embedding: wrong gradient") and "repeated index" in said


def test_links_lead_to_other_notebooks_of_the_course():
    names = {source.stem for source in SOURCES}
    linked = {name for source in SOURCES for name in re.findall(r"\]\((\w+)\.py\)", source.read_text(encoding="utf-8"))}
    assert linked == names - {min(names)}  # each but the first is the next of another
    assert all(f"]({name}.py)" in (COURSE / "README.md").read_text(encoding="utf-8") for name in names)


def test_a_made_notebook_links_to_made_notebooks_and_brings_what_it_imports(made):
    notebooks, _, folder = made
    links = [link for notebook in notebooks.values() for link in re.findall(r"\]\((\d\S+?)\)", str(notebook))]
    assert len(links) == 5 and all((folder / link).exists() for link in links)
    assert (folder / "course.py").exists()
