"""Methods of a Tensor, indexing, and joining: NumPy's words and NumPy's values."""

import numpy as np
import pytest

import minigrad
from agreement import assert_close, leaf
from minigrad import Tensor

# --- methods -----------------------------------------------------------------------------------------------------

X = (np.random.default_rng(24).permutation(24) - 11.75).reshape(2, 3, 4) / 24  # no two equal, none 0
AXES = [None, 0, 1, 2, -1, -2, -3, (0, 1), (0, 2), (-1, 0), (0, 1, 2), ()]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["sum", "mean", "var", "max", "min"])
def test_reductions_in_numpys_words_have_numpys_values(name, axis, keepdims):
    y = getattr(leaf(X), name)(axis=axis, keepdims=keepdims)
    expected = getattr(X, name)(axis=axis, keepdims=keepdims)
    assert y.shape == expected.shape
    assert_close(y.data, expected, 1e-13)
    positional = getattr(leaf(X), name)(axis, keepdims)
    np.testing.assert_array_equal(positional.data, y.data)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["sum", "mean", "var", "max", "min"])
def test_keepdims_changes_no_gradient(name, axis):
    x, kept = leaf(X), leaf(X)
    y = getattr(x, name)(axis=axis)
    u = np.random.default_rng(0).normal(size=y.shape)
    y.backward(u)
    z = getattr(kept, name)(axis=axis, keepdims=True)
    z.backward(u.reshape(z.shape))
    np.testing.assert_array_equal(x.grad, kept.grad)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("reshape", (6, 4)),
        ("reshape", ((4, 6),)),
        ("reshape", (-1,)),
        ("reshape", ((2, -1),)),
        ("reshape", (24,)),
        ("transpose", ()),
        ("transpose", (0, 2, 1)),
        ("transpose", ((1, 2, 0),)),
        ("transpose", (-1, 0, 1)),
        ("swapaxes", (0, 2)),
        ("swapaxes", (-1, 0)),
        ("swapaxes", (1, 1)),
    ],
)
def test_shape_methods_move_values_and_gradients_alike(name, arguments):
    """Each is a permutation of elements: the gradient of element i is what arrived where it went."""
    x = leaf(X)
    y = getattr(x, name)(*arguments)
    np.testing.assert_array_equal(y.data, getattr(X, name)(*arguments))
    u = np.random.default_rng(0).permutation(X.size) * 1.0
    y.backward(u.reshape(y.shape))
    went_to = dict(zip(y.data.ravel(), u, strict=True))
    np.testing.assert_array_equal(x.grad, np.vectorize(went_to.get)(X))


def test_transposes_as_attributes():
    x = leaf(X)
    np.testing.assert_array_equal(x.mT.data, X.mT)
    np.testing.assert_array_equal(x.T.data, X.T)
    np.testing.assert_array_equal(x.transpose(None).data, X.T)
    assert leaf([1.0, 2.0]).T.shape == (2,)


def test_broadcast_to():
    x = leaf([[1.0], [2.0]])
    y = x.broadcast_to((3, 2, 4))
    np.testing.assert_array_equal(y.data, np.broadcast_to(x.data, (3, 2, 4)))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [[12], [12]])


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "sigmoid", "relu", "abs"])
def test_elementwise_methods_are_the_ops(name):
    x = leaf(np.abs(X) + 0.5)
    np.testing.assert_array_equal(getattr(x, name)().data, getattr(minigrad, name)(x).data)


def test_clip_and_softmax_methods():
    x = leaf(X)
    np.testing.assert_array_equal(x.clip(-0.2, 0.3).data, X.clip(-0.2, 0.3))
    np.testing.assert_array_equal(x.clip(low=0.1).data, X.clip(0.1, None))
    np.testing.assert_array_equal(x.clip(high=0.1).data, X.clip(None, 0.1))
    np.testing.assert_array_equal(x.softmax(axis=1).data, minigrad.softmax(x, axis=1).data)


# --- indexing ----------------------------------------------------------------------------------------------------

INDICES = {
    "an integer": 1,
    "a negative integer": -1,
    "a NumPy integer": np.int64(1),
    "integers": (1, -1, 0),
    "a slice": slice(0, 1),
    "steps": (slice(None), slice(None, None, 2)),
    "backwards": (slice(None, None, -1), slice(2, None, -2)),
    "an empty slice": slice(2, 2),
    "ellipsis": (..., 0),
    "only ellipsis": ...,
    "a new axis": (None, slice(None), None, 1),
    "an empty tuple": (),
    "a boolean": True,
    "a mask of all axes": X > 0,
    "a mask of the first axis": np.array([True, False]),
    "a mask of a later axis": (slice(None), np.array([True, False, True])),
    "a mask with nothing in it": np.zeros(2, bool),
    "a list": [1, 0],
    "repeated rows": np.array([1, 1, 1, 0]),
    "negative repeats": np.array([1, -1, -1]),
    "an array of 2 axes": np.array([[0, 1], [1, 1]]),
    "arrays paired up": (np.array([0, 1, 0]), np.array([2, 0, 2])),
    "arrays broadcast": (np.array([[0], [1]]), np.array([2, 0, 2])),
    "arrays around a slice": (np.array([0, 1, 1]), slice(None), np.array([3, 3, 3])),
    "array and ellipsis": (..., np.array([3, 3])),
    "array and new axis": (None, np.array([0, 0]), 1),
    "an empty array": np.array([], int),
    "array of no axes": np.array(1),
}


@pytest.mark.parametrize("what", INDICES)
def test_indexing_is_numpys_and_repeated_indices_add_up(what):
    index = INDICES[what]
    x = leaf(X)
    y = x[index]
    expected = X[index]
    assert y.shape == expected.shape
    np.testing.assert_array_equal(y.data, expected)
    u = np.random.default_rng(0).normal(size=y.shape)
    y.backward(u)
    grad = np.zeros(X.shape)
    np.add.at(grad, index, u)
    assert_close(x.grad, grad, 1e-14)


def test_a_tensor_of_integers_indexes_like_an_array():
    x, i = leaf(X), np.array([1, 1, 0])
    np.testing.assert_array_equal(x[Tensor(i)].data, X[i])
    np.testing.assert_array_equal(x[:, Tensor(i)].data, X[:, i])


def test_repeated_indices_add_up_by_hand():
    x = leaf([1.0, 2.0, 3.0])
    x[np.array([0, 0, 2])].backward(np.array([1.0, 10.0, 100.0]))
    np.testing.assert_array_equal(x.grad, [11, 0, 100])


# --- joining -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_concat_and_stack_are_numpys_and_hand_back_each_part(axis):
    parts = [X + i for i in range(3)]
    leaves = [leaf(p) for p in parts]
    mixed = [leaves[0], parts[1], leaves[2]]
    for join, numpys in [(minigrad.concat, np.concatenate), (minigrad.stack, np.stack)]:
        y = join(mixed, axis=axis)
        expected = numpys(parts, axis=axis)
        np.testing.assert_array_equal(y.data, expected)
        y.backward(expected * 2)
        np.testing.assert_array_equal(leaves[0].grad, parts[0] * 2)
        np.testing.assert_array_equal(leaves[2].grad, parts[2] * 2)
        leaves[0].grad = leaves[2].grad = None


def test_parts_of_different_length_are_concatenated():
    a, b, c = leaf(np.ones((2, 1))), leaf(np.ones((2, 3))), leaf(np.ones((2, 0)))
    y = minigrad.concat([a, b, c, a], axis=1)
    y.backward(np.arange(10.0).reshape(2, 5))
    np.testing.assert_array_equal(a.grad, [[0 + 4], [5 + 9]])
    np.testing.assert_array_equal(b.grad, [[1, 2, 3], [6, 7, 8]])
    assert c.grad.shape == (2, 0)


def test_a_generator_or_a_tensors_rows_can_be_joined():
    x = leaf(X)
    np.testing.assert_array_equal(minigrad.stack(list(x)).data, X)
    np.testing.assert_array_equal(minigrad.concat(row for row in x).data, np.concatenate(list(X)))
