"""Where the gradient stops: cuts are drawn as cuts, and a folded module says what is in it."""

import re

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz
from minigrad.tensors.modes import in_scope
from minigrad.viz.boxes import sketch_of


def leaf(name="w"):
    return mg.Tensor(np.ones(3, np.float32), requires_grad=True, name=name)


def edges(s):
    return {(e.tail.title, e.head.title): (e.state, e.cut) for e in s.edges}


def drawn(compute, depth=1):
    with viz.record() as tape:
        loss = compute()
        loss.backward()
    return sketch_of(loss, depth, tape), viz.graph(loss, depth, tape=tape).source


def stopped(how, y):
    with mg.no_grad():
        return {"detach()": y.detach, "numpy()": y.numpy, "no_grad()": lambda: y * 2}[how]()


@pytest.mark.parametrize("how", ["detach()", "numpy()", "no_grad()"])
def test_what_was_taken_out_of_the_graph_is_joined_to_it_by_a_cut(how):
    def compute():
        y = mg.exp(leaf())
        return (y * stopped(how, y)).sum()

    s, source = drawn(compute)
    assert [box.title for box in s.boxes] == ["w", "exp", "mul", "sum"]  # and no box of data
    cut = [e for e in s.edges if e.state == "cut"]
    assert [(e.tail.title, e.head.title, e.cut, e.norm) for e in cut] == [("exp", "mul", how, None)]
    assert f'class=cut style=dotted color="#d62f1f" penwidth=1.6 fontname=Verdana fontsize=9 fontcolor="#d62f1f" label=" {how}"' in source  # fmt: skip  # noqa: E501


def test_a_view_and_a_chain_of_cuts_are_followed_to_where_the_numbers_were_made():
    def compute():
        y = mg.exp(leaf())
        return (mg.tanh(y) * y.detach().numpy()[::-1].copy()[::-1] + mg.tanh(y) * y.detach().numpy().reshape(3)).sum()

    s, _ = drawn(compute)
    assert [e.cut for e in s.edges if e.state == "cut"] == ["detach()"]  # the first of them; a copy is new data


def test_what_stands_behind_a_cut_is_named_where_nothing_else_leads_there():
    def compute():
        return (leaf("v") * mg.exp(leaf()).detach()).sum()

    s, source = drawn(compute)
    (box,) = (box for box in s.boxes if box.kind == "input")
    assert (box.title, box.cut) == ("exp", "detach()")
    assert 'class="input silent" label="exp\\n3\\ncut by detach()' in source


def test_plain_data_is_no_cut():
    s, _ = drawn(lambda: (leaf() * mg.Tensor([1.0, 2.0, 3.0]) * np.ones(3, np.float32)).sum())
    assert [box.cut for box in s.boxes if box.kind == "input"] == ["", ""] and all(not e.cut for e in s.edges)


def attention(normalize):
    rng = np.random.default_rng(0)
    attn = nn.MultiHeadAttention(8, 2, normalize=normalize, rng=rng)
    return lambda: (
        in_scope("attn", attn, mg.Tensor(rng.normal(size=(1, 4, 8)).astype(np.float32), name="x")) ** 2
    ).sum()


def test_a_folded_module_that_stops_the_gradient_is_red_and_names_the_op():
    _, soft = drawn(attention("softmax"))
    _, hard = drawn(attention("hardmax"))
    assert "exactly 0" not in soft and "silent" not in soft
    (box,) = re.findall(r'class="module silent" label="(.*?)"', hard)
    assert "hardmax: ∇ exactly 0" in box and box.startswith("attn")


def test_a_cut_inside_a_folded_module_is_told_by_its_box():
    def gate(w):
        y = mg.exp(w)
        return mg.tanh(y) * y.detach()

    s, source = drawn(lambda: in_scope("gate", gate, leaf()).sum())
    assert [box.silent for box in s.boxes if box.call] == [["detach()"]]
    assert 'class="module silent"' in source and "cut by detach()" in source


def test_a_folded_module_may_get_the_same_box_with_and_without_a_cut():
    def compute():
        y = mg.exp(leaf())
        return in_scope("m", lambda: mg.tanh(y) * y.detach()).sum()

    s, _ = drawn(compute)
    found = [(e.state, e.cut, e.norm is not None) for e in s.edges if e.head.title == "m"]
    assert sorted(found) == [("", "", True), ("cut", "detach()", False)]


def test_folded_attention_keeps_the_box_of_its_data():
    rng = np.random.default_rng(0)
    attn = nn.MultiHeadAttention(8, 2, rng=rng)
    x = rng.normal(size=(1, 4, 8)).astype(np.float32)
    for given in (x, mg.Tensor(x, name="x")):
        s, _ = drawn(lambda given=given: in_scope("attn", attn, given).sum())
        assert [(e.tail.kind, e.head.title) for e in s.edges] == [("input", "attn"), ("module", "sum")]
    s = sketch_of(in_scope("attn", attn, x).sum(), 1, None)
    assert [(e.tail.kind, e.head.title) for e in s.edges] == [("input", "attn"), ("module", "sum")]
