"""gelu, dropout, and elementwise ops on the smallest arrays."""

import math

import numpy as np
import pytest

import minigrad
from agreement import assert_close, leaf, pulled

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("kernel_and_page")]


def test_gelu_is_the_tanh_form():
    x = np.linspace(-6, 6, 101)
    expected = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    assert_close(minigrad.gelu(x).data, expected, 1e-14)


@pytest.mark.parametrize("size", [1, 32_767, 32_768, 32_769, 70_000])  # worked through 32,768 at a time
def test_gelu_of_many_numbers_is_gelu_of_each(size):
    x, u = np.random.default_rng(0).normal(0, 3, size), np.random.default_rng(1).normal(size=size)
    y, grad = pulled(minigrad.gelu, x, cotangent=u)
    parts = [
        pulled(minigrad.gelu, x[i : i + 1000], cotangent=u[i : i + 1000])  # each far smaller than a piece
        for i in range(0, size, 1000)
    ]
    assert_close(y, np.concatenate([part[0] for part in parts]), 1e-14)
    assert_close(grad, np.concatenate([part[1] for part in parts]), 1e-14)


def test_dropout_keeps_or_drops_and_scales_what_it_keeps():
    x = np.random.default_rng(1).normal(size=10_000)
    y, grad = pulled(lambda x: minigrad.dropout(x, p=0.25, rng=np.random.default_rng(0)), x, cotangent=1)
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / 0.75, rtol=1e-6)
    np.testing.assert_allclose(grad, kept / 0.75, rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 0.02
    again = minigrad.dropout(x, p=0.25, rng=np.random.default_rng(0)).data
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(minigrad.dropout(x, p=0.0, rng=np.random.default_rng(0)).data, x)


# --- the smallest arrays -----------------------------------------------------------------------------------------

ONE_INPUT = ["exp", "neg", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "abs", "sin", "cos", "erf", "softplus"]
TWO_INPUTS = ["add", "sub", "mul", "div", "pow", "maximum", "minimum"]


@pytest.mark.parametrize("name", ONE_INPUT + TWO_INPUTS)
def test_elementwise_ops_take_a_single_number_and_an_empty_array(name):
    f = getattr(minigrad, name)
    inputs = 1 if name in ONE_INPUT else 2
    single, *single_grads = pulled(f, *[np.array(0.5)] * inputs, cotangent=2.0)
    row, *row_grads = pulled(f, *[np.array([0.5])] * inputs, cotangent=2.0)
    assert single.shape == ()
    for a, b in zip([single, *single_grads], [row, *row_grads], strict=True):
        assert a.shape == ()
        assert_close(a, b[0], 1e-14)
    empty, *empty_grads = pulled(f, *[np.zeros((0, 3))] * inputs)
    assert empty.shape == (0, 3) and all(g.shape == (0, 3) for g in empty_grads)


@pytest.mark.parametrize(
    "f", [minigrad.exp, minigrad.softmax, minigrad.layer_norm, lambda x: x @ np.ones((3, 2)), minigrad.sum]
)
def test_a_batch_of_nothing_is_no_error(f):
    x = leaf(np.zeros((0, 3)))
    f(x).sum().backward()
    assert x.grad.shape == (0, 3)
