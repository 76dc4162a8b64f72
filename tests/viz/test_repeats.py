"""Loops become one box that says how often they went round."""

import numpy as np

import minigrad as mg
from minigrad import nn, viz
from minigrad.tensors.modes import in_scope
from minigrad.viz.boxes import sketch_of


def leaf(shape=(3,)):
    return mg.Tensor(np.ones(shape, np.float32), requires_grad=True, name="w")


def titles(y, depth=1, **how):
    return [box.title for box in sketch_of(y, depth, None, **how).boxes]


def loop(times, w=None):
    w = w or leaf((3, 3))
    h = mg.Tensor(np.zeros((1, 3), np.float32))
    x = np.ones((times, 3), np.float32)
    for t in range(times):
        h = mg.tanh(h @ w + x[t] * 0.5**t)
    return h.sum()


def test_sixty_rounds_are_one_box():
    assert [t for t in titles(loop(60)) if t != "input"] == ["matmul, add, tanh × 60", "sum"]
    assert len(titles(loop(60), fold_loops=False)) > 180


def test_a_few_rounds_are_drawn_in_full():
    assert len(titles(loop(5))) == len(titles(loop(5), fold_loops=False))


def test_layers_with_names_of_their_own_are_no_loop():
    rng = np.random.default_rng(0)
    model = nn.GPT(nn.GPTConfig(vocab_size=11, block_size=8, n_layers=12, n_heads=2, d_model=16), rng)
    assert [t for t in titles(model(np.zeros((1, 8), int)).sum()) if t.startswith("blocks")] == [
        f"blocks.{i}" for i in range(12)
    ]


def test_a_module_called_in_a_loop_is_one_box_with_its_parameters():
    w = leaf()
    h = leaf() * 1
    for _ in range(20):
        h = in_scope("cell", lambda h=h: mg.tanh(h * w)) + 1
    s = sketch_of(h.sum(), 3, None)
    (box,) = (box for box in s.boxes if box.call)
    assert box.title == "cell, add × 20" and len(box.ops) == 60 and box.n_parameters == 3


def test_two_loops_are_two_boxes_and_no_edge_goes_back():
    w = leaf()
    h = mg.exp(w)
    for _ in range(15):
        h = mg.tanh(h) * w
    h = h.reshape(3, 1)
    for _ in range(15):
        h = mg.exp(-h)
    s = sketch_of(h.sum(), 1, None)
    assert [box.title for box in s.boxes if box.call] == ["tanh, mul × 15", "neg, exp × 15"]
    place = {box: i for i, box in enumerate(s.boxes)}
    assert all(place[e.tail] < place[e.head] for e in s.edges)


def test_a_recorded_loop_carries_the_gradient_of_its_box(tmp_path):
    with viz.record() as tape:
        loss = loop(60)
        loss.backward()
    (edge,) = (e for e in sketch_of(loss, 1, tape).edges if e.head.title == "sum")
    assert edge.norm is not None and edge.state == ""
    data = [box for box in sketch_of(loss, 1, tape).boxes if box.kind == "input"]
    assert len(data) == 2  # all 60 inputs of a round are one box, and the state at the start is another
    try:
        page = viz.page(tape, tmp_path / "walk.html")
    except viz.layout.NoLayout:
        return
    assert page.stat().st_size < 200_000


def test_10000_ops_are_folded_and_drawn():
    h = leaf()
    for _ in range(5_000):
        h = mg.tanh(h) + 1
    assert titles(h) == ["tanh, add × 5000"]
