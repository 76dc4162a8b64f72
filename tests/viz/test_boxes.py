"""Boxes and edges: what a picture shows, before it is one."""

import numpy as np

import minigrad as mg
from minigrad import nn, viz
from minigrad.debug.recording import norm
from minigrad.tensors.modes import in_scope
from minigrad.viz.boxes import sketch
from minigrad.viz.history import history


def leaf(name="w"):
    return mg.Tensor(np.ones(3, np.float32), requires_grad=True, name=name)


def test_the_only_edge_out_of_a_box_carries_the_gradient_of_the_box():
    rng = np.random.default_rng(0)
    model = nn.GPT(nn.GPTConfig(vocab_size=11, block_size=8, n_layers=2, n_heads=2, d_model=16), rng)
    ids = rng.integers(0, 11, (2, 6))
    with viz.record() as tape:
        result = mg.cross_entropy(model(ids), np.roll(ids, -1, 1))
        result.backward()
    several = 0
    for depth in (1, 2, 3):
        s = sketch(history(result.node), lambda call, depth=depth: call.depth < depth, tape)
        for box in s.boxes:
            out = [edge for edge in s.edges if edge.tail is box]
            if len(out) == 1 and box.kind != "input" and all(node.inputs[i] is box.node for node, i in out[0].uses):
                several += len(out[0].uses) > 1
                np.testing.assert_allclose(out[0].norm, norm(tape.grads[box.node]), rtol=1e-5)
    assert several  # norm1 goes into query, key and value of attn


def test_what_cancels_inside_a_module_is_exactly_0():
    w = leaf()
    with viz.record() as tape:
        y = mg.exp(w)
        loss = in_scope("m", lambda: y - y).sum()
        loss.backward()
    s = sketch(history(loss.node), lambda call: False, tape)
    assert [edge.state for edge in s.edges if edge.tail.node is y.node] == ["zero"]


def test_data_used_in_two_modules_stands_outside_of_both():
    x = mg.Tensor([1.0, 2.0, 3.0], name="x")
    with viz.record() as tape:
        y = in_scope("a", lambda: leaf("v") * x * 2) + in_scope("b", lambda: leaf() * x * 2)
    s = sketch(history(y.node), lambda call: True, tape)
    (data,) = (box for box in s.boxes if box.kind == "input")
    assert data.around is s.calls


def test_a_folded_module_tells_what_is_in_it():
    y = in_scope("m", lambda: mg.exp(mg.exp(leaf())) + 1)
    s = sketch(history(y.sum().node), lambda call: False)
    (box,) = (box for box in s.boxes if box.call is not None)
    assert box.contents == "2 exp, add" and box.n_parameters == 3 and box.op is None
