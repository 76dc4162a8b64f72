"""A leaf changed between forward and backward: an error that names the op, never a wrong gradient."""

import numpy as np
import pytest

import minigrad
from agreement import leaf
from minigrad import Tensor, no_grad
from minigrad.ops.elementwise import exp, mul
from minigrad.tensors.modes import in_scope


def test_a_leaf_changed_after_the_forward_pass_is_caught_with_the_ops_name():
    w = leaf([1.0, 2.0], name="w")
    y = (w * np.array([3.0, 4.0])).sum()
    w.data = w.data + 1
    with pytest.raises(RuntimeError, match=r"mul used w of shape \(2,\), which was changed after the forward pass"):
        y.backward()
    assert w.grad is None
    (w * 2.0).sum().backward()  # a new forward pass is fine
    np.testing.assert_array_equal(w.grad, [2, 2])


def test_the_scope_of_the_op_is_named_too():
    w = leaf([1.0, 2.0])
    y = in_scope("blocks.0.mlp", lambda: exp(w)).sum()
    w.data = [0.0, 0.0]
    with pytest.raises(RuntimeError, match=r"in blocks\.0\.mlp: exp used a leaf of shape \(2,\)"):
        y.backward()


def memory_of(how, p):
    """A constant that shows the leaf's own memory, got in one of the ways there are."""
    if how == "detach":
        return p.detach()
    if how == "detach twice":
        return p.detach().detach()
    if how == "a view under no_grad":
        with no_grad():
            return p.reshape(2, 1).reshape(2)
    if how == "a view of a detached":
        return p.detach()[:]
    if how == "a taped view, detached":
        return p.reshape(2, 1).detach().reshape(2)
    if how == "a slice, detached":
        return p[:].detach()
    if how == "a taped view, viewed under no_grad":
        h = p[:]
        with no_grad():
            return h.reshape(2)
    assert how == "requires_grad switched off"
    p.requires_grad = False
    return p


WAYS = [
    "detach",
    "detach twice",
    "a view under no_grad",
    "a view of a detached",
    "a taped view, detached",
    "a slice, detached",
    "a taped view, viewed under no_grad",
    "requires_grad switched off",
]


@pytest.mark.parametrize("how", WAYS)
def test_a_change_of_a_leaf_is_caught_however_its_memory_was_reached(how):
    """mul keeps its other operand: if that is the leaf's own memory, a write to the leaf spoils the gradient."""
    p, q = leaf([1.0, 2.0], name="p"), leaf([1.0, 1.0])
    y = mul(q, memory_of(how, p)).sum()
    p.data = np.array([50.0, 60.0])
    try:
        y.backward()
    except RuntimeError as error:
        assert "mul used p of shape (2,)" in str(error) or "changed after the forward pass" in str(error)
    else:
        np.testing.assert_array_equal(q.grad, [1, 2])  # not caught, then it must have been a copy


def test_a_write_through_a_detached_tensor_is_seen_or_refused():
    p, q = leaf([1.0, 2.0]), leaf([1.0, 1.0])
    y = (q * p).sum()
    with pytest.raises((RuntimeError, ValueError), match=r"changed after|leaf"):
        p.detach().data = np.array([50.0, 60.0])
        y.backward()


def test_a_mask_changed_after_the_forward_pass_is_caught_or_harmless():
    x, mask = leaf([1.0, 2.0, 3.0]), Tensor(np.array([True, True, False]), name="mask")
    y = minigrad.softmax(x, mask=mask)
    mask.data = np.array([False, True, True])
    try:
        y.backward(np.array([1.0, 0.0, 0.0]))
    except RuntimeError as error:
        assert "changed after the forward pass" in str(error)
    else:
        again = leaf([1.0, 2.0, 3.0])
        minigrad.softmax(again, mask=np.array([True, True, False])).backward(np.array([1.0, 0.0, 0.0]))
        np.testing.assert_array_equal(x.grad, again.grad)


def test_an_index_changed_after_the_forward_pass_is_caught_or_harmless():
    x, index = leaf([1.0, 2.0, 3.0]), Tensor(np.array([0, 1]), name="index")
    y = x[index].sum()
    index.data = np.array([2, 2])
    try:
        y.backward()
    except RuntimeError as error:
        assert "changed after the forward pass" in str(error)
    else:
        np.testing.assert_array_equal(x.grad, [1, 1, 0])


def test_a_change_is_caught_before_a_retained_second_backward():
    w = leaf([1.0, 2.0])
    y = (w * w).sum()
    y.backward(retain_graph=True)
    w.data = w.data * 2
    with pytest.raises(RuntimeError, match="changed after the forward pass"):
        y.backward()


def test_a_changed_leaf_of_another_graph_is_no_error():
    w, other = leaf([1.0, 2.0]), leaf([3.0])
    y = (w * w).sum()
    other.data = [4.0]
    y.backward()
    np.testing.assert_array_equal(w.grad, [2, 4])


def test_setting_a_constants_data_leaves_what_was_computed_from_it_alone():
    w, c = leaf([1.0, 2.0]), Tensor(np.array([3.0, 4.0]))
    y = (w * c).sum()
    c.data = np.array([0.0, 0.0])
    y.backward()
    np.testing.assert_array_equal(w.grad, [3, 4])
