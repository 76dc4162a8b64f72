import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz


def test_ops_stand_in_the_order_they_ran_with_what_they_came_from():
    a = mg.Tensor([1.0, 2.0, 3.0], requires_grad=True, name="a")
    b = mg.Tensor([1.0, 2.0, 3.0], requires_grad=True, name="b")
    assert viz.tree((a * b + a).sum()) == (
        "a      3       leaf\nb      3       leaf\n1 mul  3       ← a, b\n2 add  3       ← 1, a\n3 sum  scalar  ← 2"
    )


def test_modules_are_indented_when_opened():
    rng = np.random.default_rng(0)
    block = nn.Block(8, 2, rng=rng)
    y = block(mg.Tensor(rng.normal(size=(3, 8)).astype(np.float32)))
    assert [line.split()[1] for line in viz.tree(y).splitlines() if line[0].isdigit()] == [
        "norm1", "attn", "add", "norm2", "mlp", "add",
    ]  # fmt: skip
    assert "\nmlp:\n  9 up " in viz.tree(y, depth=2)


def test_a_recording_adds_values_gradients_and_where_they_stop():
    w = mg.Tensor([1.0, 2.0], requires_grad=True, name="w")
    with viz.record() as tape:
        loss = (mg.hardmax(w * 3.0) * [1.0, 5.0]).sum()
        loss.backward()
    lines = viz.tree(loss, tape=tape).splitlines()
    assert lines[0].split() == "w 2 leaf 1, 2 ∇ 0, 0".split()  # noqa: SIM905
    assert "← 1 (∇ exactly 0)" in lines[3] and lines[3].endswith("0, 1  ∇ 1, 5")


def test_two_leaves_of_one_name_are_told_apart():
    a, b = (mg.Tensor([1.0], requires_grad=True, name="w") for _ in "ab")
    assert "← w, w′" in viz.tree(a * b)


def test_a_tensor_without_a_graph_is_an_error():
    with pytest.raises(ValueError, match="no graph"):
        viz.tree(mg.Tensor([1.0]))


def test_one_long_name_pads_no_other_row_and_a_newline_breaks_none():
    long, two = (mg.Tensor([1.0], requires_grad=True, name=name) for name in ("w" * 300, "a\nb"))
    lines = viz.tree((long * two).sum()).splitlines()
    assert len(lines) == 4 and max(map(len, lines)) < 90
    assert lines[0].split()[0] == "w" * 31 + "…" and lines[1].startswith("a␊b")


def test_a_loop_is_one_row():
    x = mg.Tensor([1.0], requires_grad=True, name="x")
    for _ in range(60):
        x = mg.tanh(x) + 1
    assert "1 tanh, add × 60" in viz.tree(x) and len(viz.tree(x, fold_loops=False).splitlines()) == 121
