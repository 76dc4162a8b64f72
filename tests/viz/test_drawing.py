"""Pictures of graphs: what stands in the DOT text. Layout is not looked at here."""

import re
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz
from minigrad.tensors.modes import in_scope
from minigrad.viz.words import plain

NEURON = r"""
digraph {
  graph [rankdir=TB nodesep=0.25 ranksep=0.3 fontname=Verdana fontsize=10 bgcolor=white pad=0.15]
  node [shape=box style="rounded,filled" fontname=Verdana fontsize=10 fontcolor="#1f2933" margin="0.14,0.07" height=0.3 width=0.3 penwidth=1.1]
  edge [color="#8793a0" arrowsize=0.6 penwidth=1.1]

  n0 [id=n0 class="leaf" label="w\n3\n∇ 2" width=0.34 fillcolor="#dcf3e0" color="#3c8d40" tooltip="w"]
  n1 [id=n1 class="input" label="x\n2" width=0.34 fillcolor="#e1edfd" color="#2f6fb5" tooltip="x"]
  n2 [id=n2 class="op" label="mul\n6\n∇ 1" width=0.53 fillcolor="#ffffff" color="#7b8794" tooltip="mul"]
  n3 [id=n3 class="loss" label="add 1\n7\n∇ 1" width=0.73 fillcolor="#ffe0db" color="#c0392b" tooltip="add 1"]
  n0 -> n2 [id=e0 tooltip="gradient going back: norm 2"]
  n1 -> n2 [id=e1]
  n2 -> n3 [id=e2 tooltip="gradient going back: norm 1"]
}
"""  # noqa: E501


def leaf(shape=(3,), name="w"):
    return mg.Tensor(np.ones(shape, np.float32), requires_grad=True, name=name)


def labels(source):
    return [label.split("\\n") for label in re.findall(r' label="([^"]*)" width', source)]


def edges(source, kind=""):
    return re.findall(rf"(n\d+) -> (n\d+) \[id=e\d+{kind}", source)


def gpt(n_layers=2, **config):
    rng = np.random.default_rng(0)
    model = nn.GPT(nn.GPTConfig(vocab_size=11, block_size=8, n_layers=n_layers, n_heads=2, d_model=16, **config), rng)
    ids = rng.integers(0, 11, (2, 6))
    return model, lambda: mg.cross_entropy(model(ids), np.roll(ids, -1, 1))


def test_a_recorded_neuron_is_drawn_like_this():
    w, x = mg.Tensor(3.0, requires_grad=True, name="w"), mg.Tensor(2.0, name="x")
    with viz.record() as tape:
        loss = w * x + 1
        loss.backward()
    assert viz.graph(loss, tape=tape).source == NEURON.lstrip()


def test_before_backward_it_draws_structure():
    w = leaf()
    assert labels(viz.graph((w * 2).sum()).source) == [["w", "3"], ["mul 2", "3"], ["sum", "scalar"]]


def test_the_same_computation_gives_the_same_text():
    def draw():
        w = leaf()
        return viz.graph(mg.exp(w * w).sum()).source

    assert draw() == draw()


def test_x_plus_x_shows_two_edges():
    x = leaf()
    assert edges(viz.graph(x + x).source) == [("n0", "n1"), ("n0", "n1")]


def test_one_array_used_twice_is_one_box_where_it_was_recorded():
    w, x = leaf(), mg.Tensor([1.0, 2.0, 3.0], name="x")
    with viz.record() as tape:
        y = w * x + x
    assert [label[0] for label in labels(viz.graph(y, tape=tape).source)] == ["w", "x", "mul", "add"]


def test_modules_fold_to_one_box_and_open_with_depth():
    _, loss = gpt()
    titles = [label[0] for label in labels(viz.graph(loss(), depth=1).source)]
    assert titles.count("blocks.0") == titles.count("blocks.1") == 1 and "attn" not in titles
    opened = viz.graph(loss(), depth=2).source
    assert [label[0] for label in labels(opened)].count("attn") == 2
    assert 'label="blocks.0" labeljust' in opened


def test_a_folded_module_tells_its_ops_and_parameters():
    model, loss = gpt()
    n = sum(p.size for p in model.blocks[0].parameters())
    folded = next(label for label in labels(viz.graph(loss()).source) if label[0] == "blocks.0")
    assert folded[1:] == ["2×6×16", f"12 ops · {n:,} parameters"]


def test_a_leaf_given_to_a_module_is_not_one_of_its_parameters():
    mlp, x = nn.MLP(4, rng=np.random.default_rng(0)), leaf((2, 4), "x")
    with viz.record() as tape:
        y = in_scope("mlp", mlp, x)
    assert labels(viz.graph(y, tape=tape).source) == [
        ["x", "2×4", "all 1"],
        ["mlp", "2×4", "3 ops · 148 parameters"],
    ]


def test_twelve_blocks_fold_to_a_page():
    _, loss = gpt(n_layers=12)
    assert len(labels(viz.graph(loss()).source)) <= 12 + 10


def test_folding_makes_no_cycle_when_a_module_is_called_again():
    w = leaf()

    def step(h):
        return in_scope("cell", lambda: mg.tanh(h * w) + h)

    h = step(w)
    h = step(h * 2)  # something in between: two calls, two boxes
    source = viz.graph(h.sum()).source
    assert [label[0] for label in labels(source)].count("cell") == 2
    assert all(int(tail[1:]) < int(head[1:]) for tail, head in edges(source))


def test_a_module_of_one_op_is_not_opened():
    source = viz.graph(gpt()[1](), depth=9).source
    query = next(label for label in labels(source) if label[0] == "query")
    assert query[1:] == ["linear · 2×6×16", "272 parameters"]


def test_zero_gradients_are_red_and_dashed_only_behind_hardmax():
    w, v = leaf((3, 3), "w"), leaf((3, 3), "v")
    with viz.record() as tape:
        loss = (mg.hardmax(w * [1.0, 2.0, 3.0]) @ v).sum()
        loss.backward()
    source = viz.graph(loss, tape=tape).source
    names = [label[0] for label in labels(source)]
    cut = [(names[int(a[1:])], names[int(b[1:])]) for a, b in edges(source, ' class=zero style=dashed color="#d62f1f"')]
    assert cut == [("w", "mul"), ("mul", "hardmax")]


def test_what_no_gradient_comes_to_is_grey_and_dotted():
    w, v = leaf(name="w"), leaf(name="v")
    with viz.record() as tape:
        loss = mg.where(w, v, 0.0).sum()
        loss.backward()
    source = viz.graph(loss, tape=tape).source
    assert len(edges(source, " class=unreached style=dotted")) == 1
    assert ["w", "3", "1, 1, 1", "no ∇"] in labels(source)


def test_nan_is_marked():
    w = mg.Tensor([0.0, 1.0], requires_grad=True, name="w")
    with viz.record() as tape:
        loss = (w / w).sum()
        loss.backward()
    source = viz.graph(loss, tape=tape).source
    assert ["div", "2", "1 of 2 nan", "∇ 1, 1"] in labels(source)
    assert 'class="op bad"' in source


def test_quotes_and_backslashes_in_names_survive():
    source = viz.graph(mg.exp(leaf(name='a "b" \\n')).sum()).source
    assert r'label="a \"b\" \\n' in source


def calls_to_draw(n):
    """How many functions it takes to draw 2n ops one below the other, whatever else the machine does."""
    x, calls = leaf(), 0
    for _ in range(n):
        x = mg.tanh(x) + x

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    y = x.sum()
    sys.setprofile(count)
    try:
        source = viz.graph(y, fold_loops=False).source
    finally:
        sys.setprofile(None)
    assert len(labels(source)) == 2 * n + 2
    return calls


def test_the_work_of_drawing_grows_with_the_number_of_ops_and_not_with_its_square():
    assert calls_to_draw(350) < 3 * calls_to_draw(175)


def test_a_picture_of_many_boxes_tells_how_to_get_fewer():
    def hint(n, **how):
        x = leaf()
        for _ in range(n // 2):
            x = mg.tanh(x) + 1
        return re.findall(r"label=(\"[^\"]*boxes.*?\") labelloc", viz.graph(x, **how).source)

    assert hint(60, fold_loops=False) == hint(1000) == []
    assert hint(100, fold_loops=False) == ['"101 boxes: fold_loops=True draws a loop as one box."']
    _, loss = gpt(n_layers=6)
    assert "boxes: depth=2 folds more of them." in viz.graph(loss(), depth=3).source


@pytest.mark.parametrize("name", ["a&lt;b", "∇w", "no ∇", "a\nb", "\x00\x1b[0m\x7f", "\ud800", '"\\', "x: ∇ exactly 0"])
def test_a_leaf_may_have_any_name(name):
    w = leaf(name=name)
    with viz.record() as tape:
        loss = mg.exp(w).sum()
        loss.backward()
    try:
        svg = viz.graph(loss, tape=tape).svg()
    except viz.layout.NoLayout as missing:
        pytest.skip(str(missing))
    titles = [e.text for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text") if e.get("class") == "title"]
    assert titles == [plain(name), "exp", "sum"]


def test_full_width_letters_get_their_room():
    def width(name):
        return float(re.search(r'label="[^"]*" width=([\d.]+)', viz.graph(leaf(name=name).sum()).source)[1])

    assert width("寿司寿司") == width("sushisus") > width("sush")


def test_bad_input_gets_one_clear_sentence():
    with pytest.raises(ValueError, match="no graph to draw: none of its inputs requires a gradient"):
        viz.graph(mg.Tensor([1.0]))
    with pytest.raises(TypeError, match="only a Tensor has a graph to draw, not float"):
        viz.graph(1.0)
    with pytest.raises(ValueError, match="depth counts"):
        viz.graph(leaf().sum(), depth=0)
    for draw in (viz.graph, viz.tree):
        with pytest.raises(TypeError, match=r"depth counts the levels .*, a whole number, not 'all'"):
            draw(leaf().sum(), depth="all")
    with pytest.raises(ValueError, match="direction is"):
        viz.graph(leaf().sum(), direction="up")
