"""Whose memory a Tensor shows: copies, read-only arrays, detach, and who may write."""

import copy
import pickle

import numpy as np
import pytest

import minigrad
from agreement import leaf
from minigrad import Tensor, no_grad
from minigrad.ops.elementwise import where

# --- who owns the numbers ----------------------------------------------------------------------------------------


def test_a_tensor_copies_what_it_is_given():
    a = np.array([1.0, 2.0])
    x = Tensor(a, requires_grad=True)
    again = Tensor(x)
    a[:] = 9
    x.data = np.array([5.0, 5.0])
    np.testing.assert_array_equal(again.data, [1, 2])
    assert again.node is None


@pytest.mark.parametrize("requires_grad", [True, False])
def test_numbers_can_be_read_but_not_written(requires_grad):
    x = Tensor(np.ones((2, 3)), requires_grad=requires_grad)
    with no_grad():
        view = x.reshape(3, 2)
    for t in [x, x + 1, x.reshape(6), x[0], x.sum(), x.detach(), view]:
        for array in [t.data, t.numpy(), np.asarray(t)]:
            assert not array.flags.writeable
    with pytest.raises(TypeError, match="not written in place"):
        x[0] = 3.0
    free = np.array(x)
    free[:] = 7
    np.testing.assert_array_equal(x.data, 1)


def test_setting_data_writes_the_leaf_in_place():
    x = leaf([1.0, 2.0], np.float32)
    memory = x.data
    x.data = [3, 4]
    assert x.data is memory and x.dtype == np.float32
    np.testing.assert_array_equal(x.data, [3, 4])
    assert not x.data.flags.writeable


def test_a_refused_write_leaves_the_numbers_read_only():
    x = leaf([1.0, 2.0])
    with pytest.raises((ValueError, TypeError)):
        x.data = np.array(["a", "b"])
    assert not x.data.flags.writeable
    np.testing.assert_array_equal(x.data, [1, 2])


def gradient_after(scribble, forward):
    """d(loss)/d(x) of forward(x), where `scribble` spoils the caller's arrays between forward and backward."""
    x = leaf(np.linspace(-1, 1, 12).reshape(3, 4))
    y = forward(x)
    value = np.array(y)
    scribble()
    y.backward(np.arange(1.0, 1 + y.size).reshape(y.shape))
    return value, x.grad


RAW_ARRAYS = {
    "a raw operand": (np.ones(4), lambda x, a: x * a),
    "a raw base": (np.full(4, 2.0), lambda x, a: a**x),
    "a divisor": (np.full((3, 4), 2.0), lambda x, a: x / a),
    "the condition of where": (np.array([True, False, True, True]), lambda x, a: where(a, x, 0)),
    "a partner of maximum": (np.zeros(4), lambda x, a: minigrad.maximum(x, a)),
    "a matrix": (np.ones((4, 2)), lambda x, a: x @ a),
    "an index array": (np.array([0, 1, 1]), lambda x, a: x[a]),
    "an index array in a tuple": (np.array([0, 1, 1]), lambda x, a: x[:, a]),
    "a boolean index": (np.array([True, False, True]), lambda x, a: x[a]),
    "a mask": (np.array([True, True, False, True]), lambda x, a: minigrad.softmax(x, mask=a)),
    "a mask of logsumexp": (np.array([True, True, False, True]), lambda x, a: minigrad.logsumexp(x, mask=a)),
    "a mask of attention": (
        np.array([[True, False, True]] * 3),
        lambda x, a: minigrad.attention(x, x, x, mask=a),
    ),
    "targets": (np.array([0, 3, 1]), lambda x, a: minigrad.cross_entropy(x, a)),
    "ids": (np.array([[0, 2], [2, 2]]), lambda x, a: minigrad.embedding(x, a)),
    "a gain": (np.full(4, 2.0), lambda x, a: minigrad.layer_norm(x, a, a)),
    "what is concatenated": (np.ones((3, 4)), lambda x, a: minigrad.concat([x, a]) * minigrad.concat([a, x])),
}


@pytest.mark.parametrize("what", RAW_ARRAYS)
def test_the_caller_may_reuse_arrays_after_the_call(what):
    array, forward = RAW_ARRAYS[what]
    mine = array.copy()

    def scribble():
        mine[...] = ~mine if mine.dtype == bool else 0

    value, grad = gradient_after(scribble, lambda x: forward(x, mine))
    expected_value, expected = gradient_after(lambda: None, lambda x: forward(x, array))
    np.testing.assert_array_equal(value, expected_value)
    np.testing.assert_array_equal(grad, expected)


def test_the_caller_may_reuse_an_index_list():
    index = [0, 2, 2]
    _, grad = gradient_after(lambda: index.clear(), lambda x: x[index])
    _, expected = gradient_after(lambda: None, lambda x: x[[0, 2, 2]])
    np.testing.assert_array_equal(grad, expected)


def test_writing_into_a_tensor_says_what_to_do_instead():
    t = leaf(np.ones(3))
    with pytest.raises(TypeError, match=r"not written in place.*use where.*t\.data = array"):
        t[0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        t.data[0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(t)[0] = 5.0


def test_data_of_another_shape_is_refused_and_of_a_computed_tensor_always():
    t = leaf(np.ones((2, 3)))
    for values in (np.ones(3), np.ones((3, 2)), 1.0):
        with pytest.raises(ValueError, match=r"data of shape \(.*\) does not fit a Tensor of shape \(2, 3\)"):
            t.data = values
    y = t * 2
    with pytest.raises(ValueError, match=r"computed by mul; only a leaf's data can be set"):
        y.data = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"computed by mul; use \.detach\(\)"):
        y.requires_grad = False


def test_a_gradient_of_another_shape_is_refused():
    t = leaf(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"gradient of shape \(3,\) does not fit a Tensor of shape \(2, 3\)"):
        t.grad = np.ones(3)
    for target in (t * 2, Tensor(np.ones(2))):
        with pytest.raises(RuntimeError, match="only a leaf with requires_grad=True"):
            target.grad = np.ones(target.shape)


def test_a_refused_gradient_leaves_the_one_there_was():
    t = leaf(np.ones(3))
    t.grad = np.arange(3.0)
    with pytest.raises(ValueError):
        t.grad = np.ones(4)
    np.testing.assert_array_equal(t.grad, [0, 1, 2])


# --- detach, requires_grad ---------------------------------------------------------------------------------------


def test_detach_stops_the_gradient():
    x = leaf(3.0)
    (x * x.detach()).backward()
    assert x.grad == 3  # not 6


def test_a_detached_tensor_has_a_gradient_of_its_own():
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    assert x.detach().grad is None
    fresh = x.detach()
    fresh.requires_grad = True
    (fresh * 5).sum().backward()
    np.testing.assert_array_equal(fresh.grad, [5, 5])
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_a_view_taken_under_no_grad_can_become_a_leaf_of_its_own():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    with no_grad():
        row = x[0]
    row.requires_grad = True
    (row * 5).sum().backward()
    np.testing.assert_array_equal(row.grad, [5, 5])
    assert x.grad is None


def test_requires_grad_can_be_switched_on_leaves():
    x = Tensor([1.0, 2.0])
    before = x * 2
    x.requires_grad = True
    (x * 3).sum().backward()
    assert before.node is None
    np.testing.assert_array_equal(x.grad, [3, 3])
    x.requires_grad = False
    assert (x * 2).node is None
    x.requires_grad = True
    (x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad, [6, 6])  # the same leaf as before


def test_switching_requires_grad_off_does_not_cut_a_graph_that_exists():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    x.requires_grad = False
    y.backward()
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_leaves_can_be_copied_and_pickled_without_their_history():
    x = leaf([1.0, 2.0], np.float32, name="w")
    (x * 3).sum().backward()
    for other in [copy.deepcopy(x), copy.copy(x), pickle.loads(pickle.dumps(x))]:
        assert type(other) is Tensor and other.requires_grad and other.name == "w" and other.dtype == np.float32
        assert other.grad is None
        other.data = [7.0, 8.0]
        (other * 5).sum().backward()
        np.testing.assert_array_equal(other.grad, [5, 5])
    np.testing.assert_array_equal(x.data, [1, 2])
    np.testing.assert_array_equal(x.grad, [3, 3])


def test_deepcopy_keeps_shared_leaves_shared():
    x = leaf([1.0])
    a, b = copy.deepcopy([x, x])
    assert a is b and a is not x


def test_what_was_computed_cannot_be_copied_or_pickled():
    y = leaf([1.0]) * 2
    for copier in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"only leaves can be copied or pickled.*computed by mul"):
            copier(y)
