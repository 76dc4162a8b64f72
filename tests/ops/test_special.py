"""sin, cos, erf, softplus, prod, cumsum and astype: accuracy, extremes, the smallest arrays."""

import math

import numpy as np
import pytest

import minigrad
from agreement import assert_close, leaf, pulled
from score_maps import INF, NAN

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("kernel_and_page")]
BOTH = [np.float32, np.float64]


# --- erf, and gelu by it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", BOTH)
def test_erf_is_accurate_to_two_units_of_the_last_place(dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate([10.0 ** rng.uniform(-8, 1, 20_000), np.arange(7 * 1024) / 1024]).astype(dtype)
    exact = np.array([math.erf(v) for v in x])
    y = minigrad.erf(x).data
    assert y.dtype == dtype
    assert (np.abs(y - exact) <= 2.5 * np.finfo(dtype).eps * exact).all()  # math.erf itself may be off by half of one
    np.testing.assert_array_equal(minigrad.erf(-x).data, -y)


def test_erf_and_the_erf_form_of_gelu_are_scipys():
    special = pytest.importorskip("scipy.special")
    x = np.linspace(-8, 8, 2001)
    y, grad = pulled(minigrad.erf, x, cotangent=1)
    assert_close(y, special.erf(x), 1e-15)
    assert_close(grad, 2 / math.sqrt(math.pi) * np.exp(-x * x), 1e-15)
    normal = special.ndtr(x)
    y, grad = pulled(lambda x: minigrad.gelu(x, approximate="none"), x, cotangent=1)
    assert_close(y, x * normal, 1e-15)
    assert_close(grad, normal + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi), 1e-14)


@pytest.mark.parametrize("dtype", BOTH)
def test_erf_and_gelu_reach_their_limits(dtype):
    largest = np.finfo(dtype).max
    x = np.array([largest, -largest, INF, -INF, NAN, 0.0], dtype)
    y, grad = pulled(minigrad.erf, x, cotangent=1)
    np.testing.assert_array_equal(y, [1, -1, 1, -1, NAN, 0])
    np.testing.assert_allclose(grad, [0, 0, 0, 0, NAN, 2 / math.sqrt(math.pi)], rtol=1e-6)
    y, grad = pulled(lambda x: minigrad.gelu(x, approximate="none"), x, cotangent=1)
    np.testing.assert_array_equal(y, np.array([largest, 0, INF, 0, NAN, 0], dtype))
    np.testing.assert_array_equal(grad, [1, 0, 1, 0, NAN, 0.5])


def test_the_two_forms_of_gelu_are_close_and_another_is_refused():
    x = np.linspace(-10, 10, 10_001)
    off = np.abs(minigrad.gelu(x).data - minigrad.gelu(x, approximate="none").data).max()
    assert 1e-4 < off < 5e-4
    np.testing.assert_array_equal(minigrad.gelu(x, approximate="tanh").data, minigrad.gelu(x).data)
    with pytest.raises(ValueError, match=r"gelu of shape \(10001,\): approximate is 'tanh' or 'none', not 'erf'"):
        minigrad.gelu(x, approximate="erf")


# --- the others ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", BOTH)
def test_softplus_of_huge_numbers_is_their_limit_and_of_small_ones_exact(dtype):
    x = np.array([1e30, -1e30, INF, -INF, NAN, 0.0, -40.0, 40.0], dtype)
    y, grad = pulled(minigrad.softplus, x, cotangent=1)
    np.testing.assert_allclose(y, np.array([1e30, 0, INF, 0, NAN, math.log(2), math.exp(-40), 40], dtype), rtol=1e-6)
    np.testing.assert_allclose(grad, np.array([1, 0, 1, 0, NAN, 0.5, math.exp(-40), 1], dtype), rtol=1e-6)


def test_sine_and_cosine_of_infinity_are_nan_without_a_warning():
    for f in (minigrad.sin, minigrad.cos):
        y, grad = pulled(f, [INF, -INF, NAN, 0.0], cotangent=1)
        assert np.isnan(y[:3]).all() and np.isnan(grad[:3]).all() and np.isfinite(y[3])


def test_the_gradient_of_a_product_is_right_where_factors_are_0():
    x = [[2.0, 3.0, 5.0], [2.0, 0.0, 5.0], [0.0, 3.0, 0.0]]
    y, grad = pulled(lambda x: x.prod(axis=1), x, cotangent=[1.0, 10.0, 100.0])
    np.testing.assert_array_equal(y, [30, 0, 0])
    np.testing.assert_array_equal(grad, [[15, 10, 6], [0, 100, 0], [0, 0, 0]])


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (), (2, 0, 1)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_products_over_any_axes_are_numpys(axis, keepdims):
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    y, grad = pulled(lambda x: x.prod(axis=axis, keepdims=keepdims), x, cotangent=1)
    expected = x.prod(axis=axis, keepdims=keepdims)
    assert y.shape == expected.shape
    assert_close(y, expected, 1e-14)
    assert_close(grad, x.prod(axis=axis, keepdims=True) / x, 1e-12)


def test_a_running_sum_is_numpys_and_its_gradient_runs_back():
    x = np.arange(6.0).reshape(2, 3)
    for axis, expected in [(None, [[6, 5, 4], [3, 2, 1]]), (0, [[2, 2, 2], [1, 1, 1]]), (1, [[3, 2, 1], [3, 2, 1]])]:
        y, grad = pulled(lambda x, axis=axis: x.cumsum(axis=axis), x, cotangent=1)
        np.testing.assert_array_equal(y, x.cumsum(axis=axis))
        np.testing.assert_array_equal(grad, expected)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0)])
def test_the_smallest_arrays_have_values_and_gradients(shape):
    x = np.full(shape, 0.5)
    for f in (minigrad.sin, minigrad.cos, minigrad.erf, minigrad.softplus):
        y, grad = pulled(f, x, cotangent=1)
        assert y.shape == grad.shape == shape
    y, grad = pulled(minigrad.prod, x, cotangent=2.0)
    assert y == (0.5 if x.size else 1) and grad.shape == shape and (grad == 2).all()
    y, grad = pulled(minigrad.cumsum, x, cotangent=1)
    assert y.shape == (x.size,) and grad.shape == shape


# --- astype ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", BOTH)
@pytest.mark.parametrize("after", BOTH)
def test_a_gradient_comes_back_in_the_dtype_of_its_leaf(before, after):
    x = leaf([1.0, 2.0], before)
    y = x.astype(after)
    (y * y).sum().backward()
    assert y.dtype == after and x.grad.dtype == before
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_integers_become_floats_and_floats_nothing_else():
    large = 2**24 + 1  # no float32
    assert minigrad.Tensor(np.array([large])).astype(np.float64).item() == large
    for dtype in (int, "int32", bool, np.float16):
        with pytest.raises(TypeError, match=r"astype of shape \(1,\): makes float32 or float64.*numpy\(\)\.astype"):
            leaf([1.0]).astype(dtype)
