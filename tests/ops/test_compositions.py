"""Functions that are made of ops: NumPy's values, and the right gradients where the ops alone would have none."""

import numpy as np
import pytest

import minigrad
from agreement import assert_close, leaf, pulled
from minigrad import Observer, watch
from minigrad.tensors.operators import COMPOSED

pytestmark = pytest.mark.filterwarnings("error")
X = np.random.default_rng(0).normal(size=(2, 3, 4))


def test_equal_numbers_have_the_deviation_0_and_the_gradient_0():
    y, grad = pulled(lambda x: x.std(axis=1), [[3.0, 3.0], [1.0, 3.0]], cotangent=1)
    np.testing.assert_array_equal(y, [0, 1])
    np.testing.assert_allclose(grad, [[0, 0], [-0.5, 0.5]])


def test_the_norm_of_0_has_the_gradient_0():
    y, grad = pulled(lambda x: minigrad.norm(x, axis=-1), [[0.0, 0.0], [3.0, 4.0]], cotangent=[1.0, 10.0])
    np.testing.assert_array_equal(y, [0, 5])
    np.testing.assert_allclose(grad, [[0, 0], [6, 8]])


@pytest.mark.parametrize("axis", [None, 0, (1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_deviation_and_norm_are_numpys(axis, keepdims):
    assert_close(leaf(X).std(axis, keepdims).data, X.std(axis, keepdims=keepdims), 1e-14)
    ours = minigrad.norm(X, axis=axis, keepdims=keepdims)
    assert_close(ours.data, np.sqrt((X * X).sum(axis, keepdims=keepdims)), 1e-14)
    assert ours.shape == X.sum(axis, keepdims=keepdims).shape


def test_shapes_are_numpys():
    x = leaf(X[:, :1])
    assert x.squeeze().shape == (2, 4) and x.squeeze(1).shape == (2, 4) and x.squeeze(axis=(1,)).shape == (2, 4)
    assert minigrad.expand_dims(x, 0).shape == (1, 2, 1, 4) and minigrad.expand_dims(x, axis=(0, -1)).ndim == 5
    assert x.flatten().shape == (8,) and leaf(1.0).flatten().shape == (1,)


@pytest.mark.parametrize("sections", [1, 2, 4, [1], [1, 3], [], [2, 2], [3, 9]])
def test_split_is_numpys_and_each_part_gives_its_gradient_back(sections):
    x = leaf(X)
    parts = minigrad.split(x, sections, axis=-1)
    expected = np.split(X, sections, -1)
    assert [part.shape for part in parts] == [part.shape for part in expected]
    for part, theirs in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(part.data, theirs)
    sum((part * (i + 1)).sum() for i, part in enumerate(parts)).backward()
    weights = np.concatenate([np.full(part.shape, i + 1.0) for i, part in enumerate(expected)], -1)
    assert_close(x.grad, weights[..., :4], 1e-15)


def test_tril_keeps_integers_and_shuts_out_nan_above_the_diagonal():
    ids = minigrad.tril(np.arange(9).reshape(3, 3))
    np.testing.assert_array_equal(ids.data, np.tril(np.arange(9).reshape(3, 3)))
    assert ids.dtype == np.int64
    y, grad = pulled(minigrad.tril, [[1.0, np.nan], [2.0, 3.0]], cotangent=[[1.0, np.nan], [2.0, 3.0]])
    np.testing.assert_array_equal(y, [[1, 0], [2, 3]])
    np.testing.assert_array_equal(grad, y)


def test_argmax_is_an_array_and_a_cut_that_observers_see():
    cuts = []

    class Cuts(Observer):
        def cut(self, how, tensor):
            cuts.append(how)

    with watch(Cuts()):
        places = leaf(X).argmax(axis=-1)
    assert type(places) is np.ndarray and places.dtype.kind == "i" and cuts
    np.testing.assert_array_equal(places, X.argmax(-1))
    np.testing.assert_array_equal(minigrad.argmax(X, axis=0, keepdims=True), X.argmax(0, keepdims=True))
    assert leaf(X).argmax() == X.argmax()


def test_integers_and_lists_are_taken_as_by_ops():
    for f in (minigrad.std, minigrad.norm, minigrad.silu, lambda x: minigrad.mse_loss(x, x)):
        assert f([1, 3]).dtype == f(np.array([1, 3])).dtype == np.float32
    assert minigrad.squeeze(np.ones((1, 2), int)).dtype == np.int64


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: x.std(axis=3), r"^var of shape \(2, 3, 4\): axis 3 is out of bounds"),
        (lambda x: x.squeeze(1), r"^squeeze of shape \(2, 3, 4\): cannot select an axis"),
        (lambda x: minigrad.expand_dims(x, 9), r"^expand_dims of shape \(2, 3, 4\): axis 9 is out of bounds"),
        (
            lambda x: minigrad.split(x, 2, axis=1),
            r"^split of shape \(2, 3, 4\): 3 don't divide into 2 equal parts: give",
        ),
        (lambda x: minigrad.split(x, 0), r"^split of shape .*: sections must be an integer of at least 1, not 0"),
        (lambda x: minigrad.split(x, 1, axis=3), r"^split of shape .*: axis 3 is out of bounds"),
        (lambda x: minigrad.tril(x[0, 0]), r"^tril of shape \(4,\): needs a matrix"),
    ],
)
def test_errors_name_the_function_and_the_shape(call, says):
    with pytest.raises(ValueError, match=says):
        call(leaf(X))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.sum(dim=1),
        lambda x: x.mean(dim=1),
        lambda x: x.max(dim=1),
        lambda x: x.std(dim=1),
        lambda x: x.prod(dim=1),
        lambda x: x.cumsum(dim=1),
        lambda x: x.argmax(dim=1),
        lambda x: x.softmax(dim=1),
        lambda x: x.squeeze(dim=1),
        lambda x: minigrad.concat([x, x], dim=1),
        lambda x: minigrad.stack([x, x], dim=1),
        lambda x: minigrad.split(x, 2, dim=1),
        lambda x: minigrad.norm(x, dim=1),
        lambda x: minigrad.entropy(x, dim=1),
    ],
)
def test_dim_is_refused_with_the_word_for_it(call):
    with pytest.raises(
        TypeError, match=r"^\w+ of shapes? \(2, 3, 4\).*: no keyword 'dim': it has .*axis.* dim is axis here$"
    ):
        call(leaf(X))


@pytest.mark.parametrize("name", COMPOSED)
def test_every_composition_is_exported_under_its_name(name):
    assert name in minigrad.__all__ and getattr(minigrad, name) is COMPOSED[name]
