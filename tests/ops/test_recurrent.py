"""What `gru` promises beyond its gradients: masks, long sequences, shared first states."""

import numpy as np
import pytest

import minigrad as mg
from agreement import assert_close
from minigrad.engine import Tensor

pytestmark = pytest.mark.usefixtures("kernel_and_page")

D = 3


def arrays(*lead, n_steps=6, rng=0):
    """x, h, weight and bias."""
    rng = np.random.default_rng(rng)
    shapes = [(*lead, n_steps, 3 * D), (*lead, D), (D, 3 * D), (D,)]
    return [rng.normal(size=shape) for shape in shapes]


def value_and_gradients(f, inputs, grad_y):
    leaves = [Tensor(a, requires_grad=True) for a in inputs]
    y = f(*leaves)
    y.backward(grad_y)
    return [y.data, *(leaf.grad for leaf in leaves)]


def written_out(x, h, weight, bias):
    """The docstring's formulas for one sequence, on plain arrays."""

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    states = []
    for step in x:
        (xr, xz, xn), (ur, uz, un) = np.split(step, 3), np.split(h @ weight, 3)
        r, z = sigmoid(xr + ur), sigmoid(xz + uz)
        h = (1 - z) * np.tanh(xn + r * (un + bias)) + z * h
        states.append(h)
    return np.array(states)


def test_every_state_is_as_the_formulas_say():
    x, h, weight, bias = arrays()
    assert_close(mg.gru(x, h, weight, bias).data, written_out(x, h, weight, bias), 1e-13)
    without = mg.gru(x, h, weight).data
    assert_close(without, written_out(x, h, weight, np.zeros(D)), 1e-13)


@pytest.mark.parametrize("kept", [[0, 1, 2], [3, 4, 5], [0, 2, 5], [1, 4]])
def test_a_masked_step_equals_a_deleted_step(kept):
    x, h, weight, bias = arrays(2)
    mask = np.isin(np.arange(6), kept)
    grad_y = np.random.default_rng(1).normal(size=(2, 6, D)) * mask[:, None]
    y, grad_x, *others = value_and_gradients(lambda *a: mg.gru(*a, mask=mask), [x, h, weight, bias], grad_y)
    short, grad_short, *expected = value_and_gradients(mg.gru, [x[:, kept], h, weight, bias], grad_y[:, kept])
    assert_close(y[:, kept], short, 1e-13)
    assert_close(grad_x[:, kept], grad_short, 1e-13)
    np.testing.assert_array_equal(grad_x[:, ~mask], 0)
    for a, b in zip(others, expected, strict=True):
        assert_close(a, b, 1e-13)


def test_the_state_is_carried_over_masked_steps():
    x, h, weight, bias = arrays()
    mask = np.array([False, True, False, False, True, False])
    y = mg.gru(x, h, weight, bias, mask=mask).data
    np.testing.assert_array_equal(y[0], h)
    for before, after in ((1, 2), (2, 3), (4, 5)):
        np.testing.assert_array_equal(y[after], y[before])
    assert np.abs(y[1] - y[0]).min() > 1e-3 and np.abs(y[4] - y[3]).min() > 1e-3


def test_through_a_fully_masked_sequence_the_gradient_of_h_is_the_identity():
    inputs, grad_y = arrays(2), np.random.default_rng(1).normal(size=(2, 6, D))
    y, grad_x, grad_h, grad_weight, grad_bias = value_and_gradients(
        lambda *a: mg.gru(*a, mask=np.zeros(6, bool)), inputs, grad_y
    )
    np.testing.assert_array_equal(y, np.broadcast_to(inputs[1][:, None], y.shape))
    assert_close(grad_h, grad_y.sum(axis=1), 1e-13)  # each of the 6 states is h
    for gradient in (grad_x, grad_weight, grad_bias):
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_stands_at_masked_positions_goes_nowhere(bad):
    x, *others = arrays(2)
    mask = np.array([[True, False, True, True, False, False], [False, True, True, False, True, True]])
    spoilt, grad_y = np.where(mask[..., None], x, bad), np.random.default_rng(1).normal(size=(2, 6, D))
    clean = value_and_gradients(lambda *a: mg.gru(*a, mask=mask), [x, *others], grad_y)
    found = value_and_gradients(lambda *a: mg.gru(*a, mask=mask), [spoilt, *others], grad_y)
    for a, b in zip(found, clean, strict=True):
        np.testing.assert_array_equal(a, b)


def test_each_row_of_a_batch_has_its_own_mask():
    x, h, weight, bias = arrays(2, 2)
    mask = np.random.default_rng(1).random((2, 2, 6)) < 0.5
    y = mg.gru(x, h, weight, bias, mask=mask).data
    for i in np.ndindex(2, 2):
        assert_close(y[i], mg.gru(x[i], h[i], weight, bias, mask=mask[i]).data, 1e-13)
    shared = mg.gru(x, h, weight, bias, mask=mask[:, :1]).data
    np.testing.assert_array_equal(shared, mg.gru(x, h, weight, bias, mask=mask[:, [0, 0]]).data)


@pytest.mark.parametrize("shape", [(D,), (1, D), (4, D), (2, 1, D)])
def test_h_broadcasts_and_its_gradient_adds_up(shape):
    x, _, weight, bias = arrays(2, 4)
    h, grad_y = np.random.default_rng(1).normal(size=shape), np.random.default_rng(2).normal(size=(2, 4, 6, D))
    y, _, grad_h, *_ = value_and_gradients(mg.gru, [x, h, weight, bias], grad_y)
    full = value_and_gradients(mg.gru, [x, np.broadcast_to(h, (2, 4, D)).copy(), weight, bias], grad_y)
    assert_close(y, full[0], 1e-14)
    lead = (1,) * (3 - h.ndim) + shape
    axes = tuple(i for i in range(2) if lead[i] == 1)
    assert_close(grad_h, full[2].sum(axis=axes, keepdims=True).reshape(shape), 1e-13)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_2000_steps_neither_overflow_nor_lose_the_gradient_to_nan(scale):
    x, *others = arrays(2, n_steps=2000)
    inputs = [(scale * a).astype(np.float32) for a in (x, *others)]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = value_and_gradients(mg.gru, inputs, np.ones((2, 2000, D), np.float32))
    assert all(np.isfinite(a).all() and a.dtype == np.float32 for a in found)
    assert np.abs(found[0]).max() <= max(1, np.abs(inputs[1]).max())  # a mean of h and numbers from -1 to 1


def test_backward_leaves_the_inputs_as_they_were():
    inputs = arrays(2)
    copies = [a.copy() for a in inputs]
    grad_y = np.ones((2, 6, D))
    value_and_gradients(lambda *a: mg.gru(*a, mask=np.arange(6) > 2), inputs, grad_y)
    for a, b in zip(inputs, copies, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(grad_y, 1)


def test_two_backward_passes_give_the_same_gradient():
    """The gradient is made in arrays that the forward pass keeps: a second pass must find them whole."""
    leaves = [Tensor(a, requires_grad=True) for a in arrays(2)]
    loss = (mg.gru(*leaves) ** 2).sum()
    loss.backward(retain_graph=True)
    first = [leaf.grad.copy() for leaf in leaves]
    loss.backward()
    for leaf, once in zip(leaves, first, strict=True):
        assert_close(leaf.grad, 2 * once, 1e-14)
