"""Where mathematics leaves a choice: equal numbers, corners, and the ends of what is defined."""

import numpy as np
import pytest

import minigrad
from agreement import assert_close, pulled
from score_maps import INF, MAPS, NAN

pytestmark = pytest.mark.filterwarnings("error")  # a convention is decided: NumPy has nothing to warn of

# --- ties --------------------------------------------------------------------------------------------------------


def test_max_and_min_share_the_gradient_among_equals():
    x = [[3.0, 1.0, 3.0, 3.0], [2.0, 5.0, 5.0, 2.0]]
    _, grad = pulled(lambda x: x.max(axis=1), x, cotangent=[6.0, 8.0])
    np.testing.assert_array_equal(grad, [[2, 0, 2, 2], [0, 4, 4, 0]])
    _, grad = pulled(lambda x: x.min(axis=1), x, cotangent=[6.0, 8.0])
    np.testing.assert_array_equal(grad, [[0, 6, 0, 0], [4, 0, 0, 4]])
    _, grad = pulled(lambda x: x.max(), x, cotangent=6.0)
    np.testing.assert_array_equal(grad, [[0, 0, 0, 0], [0, 3, 3, 0]])
    _, grad = pulled(lambda x: x.max(axis=(0, 1)), np.zeros((2, 4)), cotangent=8.0)
    np.testing.assert_array_equal(grad, np.ones((2, 4)))
    _, grad = pulled(lambda x: x.max(axis=0), [[INF, -INF], [INF, -INF]], cotangent=[1.0, 1.0])
    np.testing.assert_array_equal(grad, 0.5)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_maximum_and_minimum_share_equally(name):
    f = getattr(minigrad, name)
    _, grad_a, grad_b = pulled(f, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0], cotangent=[2.0, 4.0, 6.0])
    greater = np.array([0.0, 2.0, 6.0]) if name == "maximum" else np.array([2.0, 2.0, 0.0])
    np.testing.assert_array_equal(grad_a, greater)
    np.testing.assert_array_equal(grad_b, np.array([2.0, 4.0, 6.0]) - greater)
    _, grad = pulled(lambda x: f(x, x), [1.0, 2.0], cotangent=1)
    np.testing.assert_array_equal(grad, 1)


def test_hardmax_keeps_the_lowest_index_of_equals():
    ties = np.array([[1.0, 3.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    for f in (minigrad.hardmax, minigrad.straight_through):
        np.testing.assert_array_equal(f(ties).data, [[0, 1, 0, 0], [1, 0, 0, 0]])
        np.testing.assert_array_equal(f(ties, axis=0).data, [[1, 1, 1, 1], [0, 0, 0, 0]])
        masked = f(ties, mask=np.array([False, False, True, True])).data
        np.testing.assert_array_equal(masked, [[0, 0, 1, 0], [0, 0, 1, 0]])


def test_top_k_keeps_exactly_k_and_the_lowest_indices_of_equals():
    ties = np.array([[1.0, 3.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    kept = minigrad.top_k_softmax(ties, k=2).data
    np.testing.assert_array_equal(kept, [[0, 0.5, 0.5, 0], [0.5, 0.5, 0, 0]])
    many = np.random.default_rng(0).integers(0, 3, size=(50, 12)).astype(float)
    for k in (1, 3, 7):
        y = minigrad.top_k_softmax(many, k=k).data
        assert ((y > 0).sum(-1) == k).all()
        order = np.argsort(-many, axis=-1, kind="stable")[:, :k]
        np.testing.assert_array_equal(np.sort(order), np.nonzero(y)[1].reshape(50, k))


def test_equal_scores_get_equal_weights_in_the_maps_that_do_not_choose():
    for name in ("softmax", "uniform", "sum_normalize", "sigmoid_normalize", "sparsemax", "entmax15"):
        np.testing.assert_allclose(MAPS[name](np.full(3, 0.7)).data, 1 / 3, rtol=1e-14)


# --- kinks -------------------------------------------------------------------------------------------------------


def test_relu_and_abs_have_slope_0_at_0():
    for f in (minigrad.relu, minigrad.abs):
        _, grad = pulled(f, [-2.0, -0.0, 0.0, 2.0], cotangent=1)
        np.testing.assert_array_equal(grad[1:3], 0)
        assert grad[3] == 1


def test_clip_passes_at_its_bounds():
    _, grad = pulled(lambda x: minigrad.clip(x, low=-1, high=1), [-1.5, -1.0, 0.0, 1.0, 1.5], cotangent=1)
    np.testing.assert_array_equal(grad, [0, 1, 1, 1, 0])
    _, grad = pulled(lambda x: minigrad.clip(x, low=0), [-1.0, 0.0, 9.0], cotangent=1)
    np.testing.assert_array_equal(grad, [0, 1, 1])
    _, grad = pulled(lambda x: minigrad.clip(x, high=0), [-9.0, 0.0, 1.0], cotangent=1)
    np.testing.assert_array_equal(grad, [1, 1, 0])


def test_powers_of_0_give_no_gradient_to_the_exponent():
    exponents = [0.0, 0.5, 1.0, 2.0]
    y, _, grad_exponent = pulled(minigrad.pow, np.zeros(4), exponents, cotangent=1)
    np.testing.assert_array_equal(y, [1, 0, 0, 0])
    np.testing.assert_array_equal(grad_exponent, 0)
    _, grad = pulled(lambda a: a ** np.array([0.0, 1.0, 2.0, 3.0]), np.zeros(4), cotangent=1)
    np.testing.assert_array_equal(grad, [0, 1, 0, 0])
    _, grad = pulled(lambda e: 0.0**e, [1.0, 2.0], cotangent=1)
    np.testing.assert_array_equal(grad, 0)


def test_an_exponent_of_0_gives_no_gradient_to_the_base():
    _, grad = pulled(lambda a: a**0, [-2.0, 0.0, INF, 3.0], cotangent=1)
    np.testing.assert_array_equal(grad, 0)


def test_negative_bases_with_whole_exponents_are_fine():
    y, grad = pulled(lambda a: a**3, [-2.0, -1.0], cotangent=1)
    assert_close(y, [-8, -1], 1e-14)
    assert_close(grad, [12, 3], 1e-14)


def test_sqrt_at_0_has_slope_infinity_and_its_docstring_says_so():
    _, grad = pulled(minigrad.sqrt, [0.0, 4.0], cotangent=1)
    np.testing.assert_array_equal(grad, [INF, 0.25])
    assert "infinite" in minigrad.sqrt.__doc__


def test_log_and_division_at_0_are_numpys_without_a_warning():
    y, grad = pulled(minigrad.log, [0.0, 1.0], cotangent=1)
    np.testing.assert_array_equal(y, [-INF, 0])
    np.testing.assert_array_equal(grad, [INF, 1])
    y, grad_a, grad_b = pulled(minigrad.div, [1.0, -1.0, 0.0], [0.0, 0.0, 0.0], cotangent=1)
    np.testing.assert_array_equal(y, [INF, -INF, NAN])
    np.testing.assert_array_equal(grad_a, INF)
    np.testing.assert_array_equal(grad_b, [-INF, INF, NAN])


def test_where_gives_the_side_not_chosen_exactly_nothing():
    chosen = np.array([True, False])
    _, grad_a, grad_b = pulled(
        lambda a, b: minigrad.where(chosen, a, b), [1.0, NAN], [INF, 2.0], cotangent=np.array([INF, NAN])
    )
    np.testing.assert_array_equal(grad_a, [INF, 0])
    np.testing.assert_array_equal(grad_b, [0, NAN])


# --- infinities and nan ------------------------------------------------------------------------------------------


def test_the_gradient_of_an_extreme_goes_to_its_nan():
    for name in ("maximum", "minimum"):
        y, grad_a, grad_b = pulled(getattr(minigrad, name), [NAN, 1.0, NAN], [1.0, NAN, NAN], cotangent=[2.0, 4.0, 6.0])
        np.testing.assert_array_equal(y, NAN)
        np.testing.assert_array_equal(grad_a, [2, 0, 3])
        np.testing.assert_array_equal(grad_b, [0, 4, 3])
    for name in ("max", "min"):
        y, grad = pulled(lambda x, name=name: getattr(x, name)(axis=1), [[1.0, NAN, 2.0], [NAN, 0.0, NAN]], cotangent=4)
        np.testing.assert_array_equal(y, NAN)
        np.testing.assert_array_equal(grad, [[0, 4, 0], [2, 0, 2]])


def test_logsumexp_of_infinity_is_infinity():
    y = minigrad.logsumexp(np.array([[INF, 0.0], [INF, INF], [-INF, INF], [-INF, -INF], [NAN, INF]])).data
    np.testing.assert_array_equal(y, [INF, INF, INF, -INF, NAN])


@pytest.mark.parametrize("name", sorted(MAPS.keys() - {"uniform"}))
def test_one_nan_makes_all_weights_of_its_row_nan(name):
    x = [[1.0, NAN, 2.0], [1.0, 3.0, 2.0]]
    with np.errstate(invalid="ignore"):
        y, grad = pulled(MAPS[name], x, cotangent=[[1.0, 2.0, 3.0]] * 2)
    assert np.isnan(y[0]).all() and np.isfinite(y[1]).all() and np.isfinite(grad[1]).all()
    assert np.isnan(grad[0]).all() or name == "hardmax"


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "top_k_softmax", "sparsemax", "entmax15"])
def test_infinity_counts_as_nan_where_differences_to_the_largest_score_matter(name):
    with np.errstate(invalid="ignore"):
        y, grad = pulled(getattr(minigrad, name), [1.0, INF, 2.0], cotangent=[1.0, 2.0, 3.0])
    assert np.isnan(y).all() and np.isnan(grad).all()


@pytest.mark.usefixtures("kernel_and_page")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_reaches_its_limits(dtype):
    largest = np.finfo(dtype).max
    x = np.array([2e37, -2e37, largest, -largest, INF, -INF, NAN], dtype)
    y, grad = pulled(minigrad.gelu, x, cotangent=1)
    np.testing.assert_array_equal(y, np.array([2e37, 0, largest, 0, INF, 0, NAN], dtype))
    np.testing.assert_array_equal(grad, [1, 0, 1, 0, 1, 0, NAN])


@pytest.mark.usefixtures("kernel_and_page")
@pytest.mark.parametrize(("n", "d_in", "d_out"), [(2, 0, 3), (2, 3, 0), (0, 2, 3), (0, 0, 0)])
def test_linear_of_width_0_has_gradients(n, d_in, d_out):
    x, weight, bias = np.ones((n, 4, d_in)), np.ones((d_in, d_out)), np.full(d_out, 5.0)
    y, grad_x, grad_weight, grad_bias = pulled(minigrad.linear, x, weight, bias, cotangent=1)
    np.testing.assert_array_equal(y, np.full((n, 4, d_out), d_in + 5.0))
    np.testing.assert_array_equal(grad_x, np.full(x.shape, float(d_out)))
    np.testing.assert_array_equal(grad_weight, np.full(weight.shape, n * 4.0))
    np.testing.assert_array_equal(grad_bias, np.full(bias.shape, n * 4.0))


# --- axes --------------------------------------------------------------------------------------------------------


def test_a_number_has_one_axis_to_sum_over_as_in_numpy():
    for name in ("sum", "max", "min"):
        for axis in (0, -1, (), None):
            y, grad = pulled(lambda x, name=name, axis=axis: getattr(x, name)(axis=axis), 3.0, cotangent=2.0)
            assert y.shape == grad.shape == () and y == 3 and grad == 2


def test_transpose_wants_all_axes_as_numpy_does():
    with pytest.raises(ValueError, match=r"transpose of shape \(3, 4\): axes don't match array"):
        minigrad.Tensor(np.ones((3, 4))).transpose(0)


@pytest.mark.parametrize("axis", [None, (0, 1), (0,)])
@pytest.mark.parametrize("name", ["hardmax", "top_k_softmax", "sparsemax", "entmax15", "straight_through"])
def test_normalizers_that_sort_say_that_they_take_one_axis(name, axis):
    with pytest.raises(TypeError, match=rf"{name} of shape \(2, 3\): works along one axis, an integer, not axis="):
        getattr(minigrad, name)(np.ones((2, 3)), axis=axis)
