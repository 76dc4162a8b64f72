"""gradcheck and `python -m minigrad`: what passes, what is noticed, and what the report says.

That gradcheck notices damage to every VJP of every op is in test_all_ops.py.
"""

import dataclasses
import math

import numpy as np
import pytest

import minigrad
from minigrad import __main__ as command
from minigrad.engine import Joint, Tensor, as_op
from minigrad.finite_differences import GradientError, gradcheck
from minigrad.finite_differences.cases import CASES, Case, case
from minigrad.tensors.modes import no_grad
from minigrad.tensors.operators import OPS

rng = np.random.default_rng(0)
X = rng.normal(size=(3, 4))


def report_of(f, *inputs, **how):
    return gradcheck(f, *inputs, raise_error=False, **how)


# --- what passes -------------------------------------------------------------------------------------------------


def test_a_right_gradient_passes_to_many_digits():
    report = gradcheck(minigrad.softmax, X)
    assert report.ok
    assert 0 < report.relative_error < 1e-9


def test_composed_ops_and_several_arguments_are_checked_together():
    report = gradcheck(lambda x, w, b: minigrad.gelu(x @ w + b).mean(axis=0), X, rng.normal(size=(4, 2)), [1.0, -1.0])
    assert report.ok
    assert [a.shape for a in report.arguments] == [(3, 4), (4, 2), (2,)]


def test_arrays_lists_numbers_and_tensors_are_inputs():
    for x in (np.ones(3), np.ones(3, np.float32), [1.0, 1.0, 1.0], [1, 1, 1], 1.0, Tensor([1.0]), np.ones((0, 3))):
        assert gradcheck(lambda x: minigrad.exp(x), x).ok


def test_float32_inputs_are_checked_in_float64():
    assert gradcheck(minigrad.tanh, X.astype(np.float32)).relative_error < 1e-9
    assert gradcheck(minigrad.tanh, Tensor(X.astype(np.float32), requires_grad=True)).relative_error < 1e-9


def test_integers_booleans_and_none_pass_through_undifferentiated():
    report = gradcheck(minigrad.cross_entropy, X, np.array([0, 3, 1]))
    assert [a.position for a in report.arguments] == [0]
    report = gradcheck(minigrad.where, X > 0, X, 2 * X)
    assert [a.position for a in report.arguments] == [1, 2]
    report = gradcheck(minigrad.layer_norm, X, None, np.ones(4))
    assert [a.position for a in report.arguments] == [0, 2]


def test_log_at_1e_5_passes():
    assert gradcheck(minigrad.log, np.array([1e-5])).ok
    assert gradcheck(minigrad.log, np.array([1e-5, 1.0])).ok  # the step fits the 1 and is halved for the 1e-5
    assert gradcheck(minigrad.log, np.array([1e-7, 1.0])).ok  # where x − h was below 0
    assert gradcheck(minigrad.log, np.array([1e-5, 1e3]), typical_size=1e-5).ok


@pytest.mark.parametrize("size", [1e-9, 1e-5, 1.0, 1e5])
def test_the_step_fits_the_size_of_the_argument(size):
    """Then two calls an element are enough, after the two at the start: no step has to be halved."""
    calls = []

    def f(x):
        calls.append(x)
        return x**3

    assert gradcheck(f, size * np.array([1.0, -2.0, 0.0])).relative_error < 1e-9
    assert len(calls) == 2 + 2 * 3


def test_a_zero_among_the_inputs_passes():
    assert gradcheck(minigrad.layer_norm, np.array([[0.0, 1.0, 2.0]])).ok
    assert gradcheck(minigrad.exp, np.zeros(3)).ok


def test_a_kink_nearby_is_not_a_kink():
    assert gradcheck(minigrad.relu, np.array([4e-6, 1.0])).ok  # within the first step
    assert gradcheck(lambda x: minigrad.abs(x) ** 1.5, np.array([0.0, 1.0])).ok  # slope 0 from both sides


def test_minus_infinity_behind_a_mask_is_a_constant():
    mask = np.array([[True, False, True, True], [False] * 4, [True] * 4])
    assert gradcheck(lambda x: minigrad.log_softmax(x, mask=mask), X).ok


def test_leaves_used_inside_f_keep_their_gradients():
    fresh = Tensor(X, requires_grad=True)
    trained = Tensor(X, requires_grad=True)
    trained.sum().backward()
    gradcheck(lambda x: x * fresh * trained, X)
    assert fresh.grad is None
    np.testing.assert_array_equal(trained.grad, np.ones((3, 4)))


def test_an_input_keeps_its_gradient_and_its_numbers():
    x = Tensor(X, requires_grad=True)
    gradcheck(minigrad.exp, x)
    assert x.grad is None
    np.testing.assert_array_equal(x.data, X)


# --- what is noticed ---------------------------------------------------------------------------------------------


def wrong(f):
    """The functions below are rules of ops, each with a VJP that somebody once wrote."""
    return as_op(f)


@wrong
def tiny_with_the_wrong_sign(x):
    return 1e-8 * x * x, lambda g: -g * 2e-8 * x


@wrong
def softmax_without_its_second_term(x):
    y = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    return y, lambda g: g * y


@wrong
def softmax_as_if_each_weight_stood_alone(x):
    y = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    return y, lambda g: g * y * (1 - y)


@wrong
def softmax_right_only_for_a_constant_gradient(x):
    y = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    return y, lambda g: y * (g - g.mean(-1, keepdims=True))


@wrong
def softmax_summed_over_the_wrong_axis(x):
    y = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    return y, lambda g: y * (g - (g * y).sum(0, keepdims=True))


@wrong
def log_softmax_without_the_sum_of_g(x):
    y = x - np.log(np.exp(x).sum(-1, keepdims=True))
    return y, lambda g: g - np.exp(y)


@wrong
def cross_entropy_that_ignores_what_comes_in(x):
    log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
    return -log_p[:, 0].mean(), lambda g: (np.exp(log_p) - np.eye(4)[0]) / len(x)


@wrong
def cross_entropy_not_divided_by_the_batch(x):
    log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
    return -log_p[:, 0].mean(), lambda g: g * (np.exp(log_p) - np.eye(4)[0])


@wrong
def matmul_without_a_transpose(a, b):
    return a @ b, (lambda g: g @ b, lambda g: a.T @ g)


@wrong
def matmul_in_the_wrong_order(a, b):
    return a @ b, (lambda g: g @ b.T, lambda g: g.T @ a)


@wrong
def linear_with_the_bias_of_one_row(x, weight, bias):
    return x @ weight + bias, (lambda g: g @ weight.T, lambda g: x.T @ g, lambda g: g[0])


@wrong
def linear_with_the_mean_bias(x, weight, bias):
    return x @ weight + bias, (lambda g: g @ weight.T, lambda g: x.T @ g, lambda g: g.mean(0))


@wrong
def sum_to_the_first_element_only(x):
    return x.sum(-1), lambda g: np.eye(4)[0] * g[:, None]


@wrong
def sum_spread_along_the_wrong_axis(x):
    return x.sum(-1), lambda g: np.broadcast_to(g, x.shape)


@wrong
def mean_not_divided_by_n(x):
    return x.mean(-1), lambda g: np.broadcast_to(g[:, None], x.shape)


@wrong
def mean_divided_by_all(x):
    return x.mean(-1), lambda g: np.broadcast_to(g[:, None], x.shape) / x.size


@wrong
def variance_without_its_2(x):
    return x.var(-1), lambda g: g[:, None] * (x - x.mean(-1, keepdims=True)) / 4


@wrong
def variance_divided_by_n_minus_1(x):
    return x.var(-1), lambda g: g[:, None] * 2 * (x - x.mean(-1, keepdims=True)) / 3


@wrong
def max_to_every_element(x):
    return x.max(-1), lambda g: np.broadcast_to(g[:, None], x.shape)


@wrong
def logsumexp_not_normalized(x):
    return np.log(np.exp(x).sum(-1)), lambda g: g[:, None] * np.exp(x)


@wrong
def layer_norm_that_forgets_the_variance(x):
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return (x - x.mean(-1, keepdims=True)) * r, lambda g: r * (g - g.mean(-1, keepdims=True))


@wrong
def layer_norm_that_forgets_the_mean(x):
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    x_hat = (x - x.mean(-1, keepdims=True)) * r
    return x_hat, lambda g: r * (g - x_hat * (g * x_hat).mean(-1, keepdims=True))


@wrong
def layer_norm_with_the_gradient_of_y_for_that_of_x_hat(x, weight):
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    x_hat = (x - x.mean(-1, keepdims=True)) * r

    def vjp_x(g):
        return weight * r * (g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True))

    return x_hat * weight, (vjp_x, lambda g: g * x_hat)


@wrong
def attention_without_the_scale_backward(q, k, v):
    s = q @ k.T / math.sqrt(q.shape[-1])
    w = np.exp(s) / np.exp(s).sum(-1, keepdims=True)

    def vjp(g):
        grad_w = g @ v.T
        grad_s = w * (grad_w - (grad_w * w).sum(-1, keepdims=True))
        return grad_s @ k, grad_s.T @ q, w.T @ g

    return w @ v, Joint(vjp)


@wrong
def attention_with_keys_for_queries(q, k, v):
    s = q @ k.T / math.sqrt(q.shape[-1])
    w = np.exp(s) / np.exp(s).sum(-1, keepdims=True)

    def vjp(g):
        grad_w = g @ v.T
        grad_s = w * (grad_w - (grad_w * w).sum(-1, keepdims=True)) / math.sqrt(q.shape[-1])
        return grad_s.T @ k, grad_s @ q, w.T @ g

    return w @ v, Joint(vjp)


@wrong
def mul_by_itself(a, b):
    return a * b, (lambda g: g * a, lambda g: g * b)


@wrong
def sub_without_the_minus(a, b):
    return a - b, (lambda g: g, lambda g: g)


@wrong
def div_without_the_square(a, b):
    return a / b, (lambda g: g / b, lambda g: -g * a / b)


@wrong
def square_counted_once(x):
    return x * x, lambda g: g * x


@wrong
def add_counted_twice(a, b):
    return a + b, (lambda g: 2 * g, lambda g: g)


@wrong
def tanh_of_x_for_tanh_of_y(x):
    return np.tanh(x), lambda g: g * (1 - x * x)


@wrong
def sigmoid_without_1_minus_y(x):
    y = 1 / (1 + np.exp(-x))
    return y, lambda g: g * y


@wrong
def relu_by_the_sign_of_the_gradient(x):
    return np.maximum(x, 0), lambda g: np.maximum(g, 0) * (x > 0)


@wrong
def relu_passing_everything(x):
    return np.maximum(x, 0), lambda g: g


@wrong
def gelu_without_the_slope_of_its_gate(x):
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return x * (1 + t) / 2, lambda g: g * (1 + t) / 2


@wrong
def rows_overwritten_where_they_repeat(x):
    picked = np.array([0, 2, 2])

    def vjp(g):
        grad = np.zeros_like(x)
        grad[picked] = g
        return grad

    return x[picked], vjp


@wrong
def rows_added_without_add_at(x):
    picked = np.array([0, 2, 2])

    def vjp(g):
        grad = np.zeros_like(x)
        grad[picked] += g
        return grad

    return x[picked], vjp


@wrong
def transpose_not_inverted(x):
    return x.transpose(1, 2, 0), lambda g: g.transpose(1, 2, 0)


@wrong
def square_matrix_not_transposed_back(x):
    return x.T * 1.0, lambda g: g


@wrong
def reshape_in_column_order(x):
    return x.reshape(-1), lambda g: g.reshape(x.shape, order="F")


@wrong
def concat_cut_in_the_wrong_order(a, b):
    return np.concatenate([a, b]), Joint(lambda g: (g[len(b) :], g[: len(b)]))


@wrong
def right_but_for_an_eps(x):
    return np.log(x * x), lambda g: g * 2 * x / (x * x + 1e-4)


SQUARE, CUBE = rng.normal(size=(3, 3)), rng.normal(size=(3, 3, 3))
WRONG = [
    (tiny_with_the_wrong_sign, [X]),
    (softmax_without_its_second_term, [X]),
    (softmax_as_if_each_weight_stood_alone, [X]),
    (softmax_right_only_for_a_constant_gradient, [X]),
    (softmax_summed_over_the_wrong_axis, [X]),
    (log_softmax_without_the_sum_of_g, [X]),
    (cross_entropy_that_ignores_what_comes_in, [X]),
    (cross_entropy_not_divided_by_the_batch, [X]),
    (matmul_without_a_transpose, [SQUARE, SQUARE + 1]),
    (matmul_in_the_wrong_order, [SQUARE, SQUARE + 1]),
    (linear_with_the_bias_of_one_row, [X, X.T, np.ones(3)]),
    (linear_with_the_mean_bias, [X, X.T, np.ones(3)]),
    (sum_to_the_first_element_only, [X]),
    (sum_spread_along_the_wrong_axis, [SQUARE]),
    (mean_not_divided_by_n, [X]),
    (mean_divided_by_all, [X]),
    (variance_without_its_2, [X]),
    (variance_divided_by_n_minus_1, [X]),
    (max_to_every_element, [X]),
    (logsumexp_not_normalized, [X]),
    (layer_norm_that_forgets_the_variance, [X]),
    (layer_norm_that_forgets_the_mean, [X]),
    (layer_norm_with_the_gradient_of_y_for_that_of_x_hat, [X, np.arange(1.0, 5)]),
    (attention_without_the_scale_backward, [X, X + 1, X[::-1]]),
    (attention_with_keys_for_queries, [X, X + 1, X[::-1]]),
    (mul_by_itself, [X, X + 1]),
    (sub_without_the_minus, [X, X + 1]),
    (div_without_the_square, [X, X * X + 0.5]),
    (square_counted_once, [X]),
    (add_counted_twice, [X, X]),
    (tanh_of_x_for_tanh_of_y, [X]),
    (sigmoid_without_1_minus_y, [X]),
    (relu_by_the_sign_of_the_gradient, [X]),
    (relu_passing_everything, [X]),
    (gelu_without_the_slope_of_its_gate, [X]),
    (rows_overwritten_where_they_repeat, [X]),
    (rows_added_without_add_at, [X]),
    (transpose_not_inverted, [CUBE]),
    (square_matrix_not_transposed_back, [SQUARE]),
    (reshape_in_column_order, [X]),
    (concat_cut_in_the_wrong_order, [SQUARE, 2 * SQUARE]),
    (right_but_for_an_eps, [X]),
]


@pytest.mark.parametrize(("f", "inputs"), WRONG, ids=[f.__name__ for f, _ in WRONG])
def test_a_classic_wrong_vjp_is_noticed(f, inputs):
    with pytest.raises(GradientError, match=f"gradcheck of {f.__name__}: wrong gradient"):
        gradcheck(f, *inputs)


@pytest.mark.parametrize("seed", range(5))
def test_they_are_noticed_whatever_u_is_drawn(seed):
    for f, inputs in WRONG:
        assert report_of(f, *inputs, rng=np.random.default_rng(seed)).verdict == "wrong gradient", f.__name__


def test_a_softmax_that_passes_for_u_equal_1_is_caught():
    """The commonest vacuous test: the sum of a softmax, whose gradient is 0 for the true VJP and for many others."""
    f = softmax_right_only_for_a_constant_gradient
    vacuous = gradcheck(lambda x: f(x).sum(), X)
    assert vacuous.ok
    assert "nothing was tested" in str(vacuous)
    assert not report_of(f, X).ok


def test_scale_does_not_matter():
    """Every size of f and of x: right passes, a ten-thousandth too much does not."""

    def cube(factor, claimed):
        return as_op(lambda x: (factor * x**3, lambda g: g * claimed * factor * x * x))

    for size in (1e-12, 1e-4, 1.0, 1e4, 1e12):
        for factor in (1e-30, 1e-8, 1.0, 1e8, 1e30):
            assert report_of(cube(factor, 3), size * X).ok
            assert report_of(cube(factor, 3.0003), size * X).verdict == "wrong gradient"


def test_a_wild_value_hides_no_other():
    """One element with a huge wrong gradient must not make room for a small error elsewhere."""

    @as_op
    def f(x):
        return x * x, lambda g: 2 * g * x * np.where(x == x.max(), 1e9, 1.001)

    assert len(report_of(f, X).arguments[0].wrong) == X.size


def test_nan_in_the_gradient_is_wrong():
    assert report_of(as_op(lambda x: (x * x, lambda g: g * np.nan)), X).verdict == "wrong gradient"


def test_a_gradient_cut_off_is_wrong():
    for f in (lambda x: minigrad.mul(x.detach(), 2.0), lambda x: Tensor(x.numpy() ** 2)):
        with pytest.raises(GradientError, match=r"no gradient arrived. Is the graph cut by detach\(\)"):
            gradcheck(f, X)
    with no_grad(), pytest.raises(GradientError, match="no_grad"):
        gradcheck(minigrad.exp, X)


# --- kinks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (minigrad.abs, [0.0]),
        (minigrad.abs, [0.0, 1.0]),
        (minigrad.abs, [1e-8, 1.0]),  # closer than the step can tell
        (minigrad.relu, [0.0, -2.0, 3.0]),
        (lambda x: minigrad.maximum(x, 1.0), [1.0, 2.0]),
        (lambda x: minigrad.max(x), [2.0, 2.0, 1.0]),
        (lambda x: minigrad.clip(x, low=-1, high=1), [1.0, 0.5]),
        (minigrad.hardmax, [1.0, 1.0]),  # a jump
        (lambda x: minigrad.top_k_softmax(x, k=1), [1.0, 1.0]),
        (minigrad.sparsemax, [1.0, 0.0]),  # just leaving the support
        (minigrad.sqrt, [0.0, 1.0]),  # the edge of where it is defined
        (lambda x: minigrad.sqrt(minigrad.abs(x)), [0.0, 1.0]),  # infinitely steep
    ],
)
def test_a_kink_is_a_verdict_of_its_own(f, x):
    report = report_of(f, np.array(x))
    assert report.verdict == "kink"
    assert not report.ok
    assert (0,) in report.arguments[0].kinks
    with pytest.raises(GradientError, match="no derivative at"):
        gradcheck(f, np.array(x))


def test_a_kink_does_not_excuse_a_wrong_gradient_elsewhere():
    half = as_op(lambda x: (np.abs(x), lambda g: g * np.sign(x) / 2))
    report = report_of(half, np.array([0.0, 1.0]))
    assert report.verdict == "wrong gradient"
    assert report.arguments[0].wrong == ((1,),)
    assert report.arguments[0].kinks == ((0,),)


def test_strong_curvature_is_no_kink():
    assert gradcheck(lambda x: minigrad.tanh(x * 1e4), np.array([0.0, 1e-5, -3e-5, 1.0])).ok
    assert gradcheck(lambda x: 1 / (x * x + 1e-6), np.array([0.0, 1e-3, 1.0])).ok


# --- what the report says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "inputs", "cause"),
    [
        (tiny_with_the_wrong_sign, [X], "ratio -1: sign"),
        (add_counted_twice, [X, X], "ratio 2: counted twice?"),
        (square_counted_once, [X], "ratio 0.5: counted once instead of twice, or a factor 2 forgotten?"),
        (matmul_in_the_wrong_order, [SQUARE, SQUARE + 1], "transposed?"),
        (square_matrix_not_transposed_back, [SQUARE], "transposed?"),
        (tanh_of_x_for_tanh_of_y, [X], "a term missing?"),
        (reshape_in_column_order, [X], "the right numbers in the wrong places: permuted?"),
        (linear_with_the_bias_of_one_row, [X, X.T, np.ones(3)], "not summed over a broadcast axis?"),
        (linear_with_the_mean_bias, [X, X.T, np.ones(3)], "averaged over an axis of length 3 instead of summed?"),
        (mean_not_divided_by_n, [X], "ratio 4: summed over an axis of length 4 instead of averaged?"),
        (variance_divided_by_n_minus_1, [X], "ratio 1.33333: the same everywhere: a constant factor?"),
        (rows_overwritten_where_they_repeat, [X], "right elsewhere. A mask, a boundary, or a repeated index?"),
        (right_but_for_an_eps, [X + 5], "almost right. A small term, an eps"),
        (minigrad.straight_through, [X], "f does not change. A gradient where there should be none?"),
        (as_op(lambda x: (x * x, lambda g: 0 * g)), [X], "ratio 0: the VJP returns 0"),
        (as_op(lambda x: (x * x, lambda g: g * 2 * x * np.sign(X))), [X], "sign, at some elements"),
    ],
)
def test_the_report_names_the_likely_cause(f, inputs, cause):
    with pytest.raises(GradientError) as caught:
        gradcheck(f, *inputs)
    assert cause in str(caught.value)


def test_the_report_gives_op_argument_index_and_both_values():
    @as_op
    def product(a, b):
        return a * b, (lambda g: g * b, lambda g: g * a + np.eye(3)[1])

    with pytest.raises(GradientError) as caught:
        gradcheck(product, np.ones(3), np.ones(3))
    report = caught.value.report
    a, b = report.arguments
    assert (a.name, a.wrong, a.likely_cause) == ("a", (), "")
    assert (b.name, b.position, b.index, b.wrong) == ("b", 1, (1,), ((1,),))
    assert b.by_vjp - b.by_differences == pytest.approx(1)
    assert str(caught.value) == str(report)
    for words in ("gradcheck of product: wrong gradient", "argument 1, b of shape (3,): 1 of 3 elements differ"):
        assert words in str(report)
    assert "most at [1]" in str(report)
    assert f"by VJP          {b.by_vjp: .10g}" in str(report)
    assert f"by differences  {b.by_differences: .10g}" in str(report)
    assert f"ratio {b.by_vjp / b.by_differences:.6g}" in str(report)


def test_a_composed_function_is_named_by_its_ops():
    assert report_of(lambda x: minigrad.tanh(x * x), X).function == "mul, tanh"

    def model(x):
        return minigrad.tanh(x * x)

    assert report_of(model, X).function == "model (mul, tanh)"
    assert report_of(lambda x: minigrad.concat([x]), X).function == "concat"
    assert report_of(model, Tensor(X, name="weight")).arguments[0].name == "weight"


def test_the_report_is_frozen_and_a_failure_is_an_assertion_error():
    report = gradcheck(minigrad.exp, X)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.verdict = "kink"
    assert issubclass(GradientError, AssertionError)


def test_a_passing_report_shows_the_worst_error_of_each_argument():
    text = str(gradcheck(minigrad.mul, X, X))
    assert text.startswith("gradcheck of mul: ok\n")
    assert "argument 0, a of shape (3, 4): agrees, worst relative error" in text
    assert "the gradient is 0" in str(gradcheck(minigrad.uniform, X))


def test_an_estimator_is_reported_as_differing():
    report = report_of(minigrad.straight_through, X)
    assert report.verdict == "wrong gradient"
    assert "declared an estimator, whose gradient differs on purpose" in str(report)
    noisy = case(X, rng=0).of(minigrad.gumbel_softmax)
    assert "declared an estimator" in str(report_of(noisy, X))


# --- what cannot be checked --------------------------------------------------------------------------------------


def test_a_function_that_is_not_deterministic_is_reported():
    shared = np.random.default_rng(0)
    with pytest.raises(GradientError, match=r"not deterministic: two calls .* fresh rng"):
        gradcheck(lambda x: minigrad.dropout(x, p=0.5, rng=shared), X)
    assert gradcheck(lambda x: minigrad.dropout(x, p=0.5, rng=np.random.default_rng(0)), X).ok


def test_nan_and_infinity_in_the_input_are_clear_errors():
    x = X.copy()
    x[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"nan at \[1, 2\] of argument 1"):
        gradcheck(minigrad.mul, X, x)
    with pytest.raises(ValueError, match=r"inf at \[0\] of argument 0"):
        gradcheck(minigrad.exp, [np.inf])


def test_nan_in_the_output_is_a_clear_error():
    with pytest.raises(ValueError, match=r"log of these inputs is nan at \[1\]"):
        gradcheck(minigrad.log, [1.0, -1.0])


def test_nothing_to_differentiate_is_an_error_not_a_pass():
    with pytest.raises(TypeError, match="nothing to differentiate"):
        gradcheck(minigrad.sum, np.arange(3))


def test_a_function_that_returns_something_else_is_an_error():
    with pytest.raises(TypeError, match="returned tuple"):
        gradcheck(lambda x: (x, x), X)
    with pytest.raises(TypeError, match="returned ndarray"):
        gradcheck(lambda x: x.numpy(), X)
    with pytest.raises(TypeError, match="made float32 of float64 inputs"):
        gradcheck(lambda x: Tensor(x.numpy().astype(np.float32)), X)


# --- the cases ---------------------------------------------------------------------------------------------------


def test_a_case_is_data_for_any_version_of_an_op():
    c = case(X, axis=0)
    assert (c.arrays, c.static) == ((X,), {"axis": 0})
    np.testing.assert_array_equal(c.of(minigrad.mean)(X).data, X.mean(0))
    np.testing.assert_array_equal(c.of(np.sum)(X), X.sum(0))


def test_a_case_with_an_rng_draws_the_same_each_time():
    f = case(X, p=0.5, rng=3).of(minigrad.dropout)
    np.testing.assert_array_equal(f(X).data, f(X).data)
    assert not np.array_equal(f(X).data, case(X, p=0.5, rng=4).of(minigrad.dropout)(X).data)


# --- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def only(monkeypatch):
    """Leave just these ops, as (op, cases), for the command to find."""

    def leave(**ops):
        for name in list(OPS):
            monkeypatch.delitem(OPS, name)
        for name, (op, cases) in ops.items():
            monkeypatch.setitem(OPS, name, op)
            monkeypatch.setitem(CASES, name, cases)

    return leave


def test_the_command_prints_a_row_for_every_op(only, capsys):
    only(**{name: (op, CASES[name]) for name, op in OPS.items() if name in ("exp", "hardmax", "gumbel_softmax")})
    assert command.main() == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["op", "cases", "worst", "relative", "error", "verdict"]
    rows = {line.split()[0]: line for line in table[1:4]}
    assert set(rows) == {"exp", "hardmax", "gumbel_softmax"}
    assert rows["exp"].endswith("ok") and "e-1" in rows["exp"]
    assert rows["hardmax"].endswith("ok, the gradient is 0")
    assert rows["gumbel_softmax"].endswith("estimator: differs, as declared")
    assert table[-1].startswith("3 ops, ") and ", 0 failed, " in table[-1]


def agreeing_estimator():
    return as_op(lambda x: (x * x, lambda g: 2 * g * x), name="square", estimator=True)


@pytest.mark.parametrize(
    ("op", "cases", "words"),
    [
        (softmax_without_its_second_term, [case(X)], "wrong gradient"),
        (minigrad.abs, [case(np.zeros(2))], "kink"),
        (minigrad.exp, [], "no cases"),
        (minigrad.exp, [case(np.array([np.nan]))], "raises ValueError"),
        (minigrad.straight_through, [case(X)], "declared estimator=True, but no case says so"),
        (agreeing_estimator(), [case(X, differs=True)], "declared to differ, but the verdict is ok"),
        (minigrad.exp, [Case((X,), {}, differs=True)], "declared estimator=False"),
    ],
    ids=["wrong", "kink", "no cases", "raises", "estimator without a case", "estimator agrees", "undeclared"],
)
def test_the_command_fails_where_an_op_does(only, capsys, op, cases, words):
    only(good=(minigrad.tanh, [case(X)]), bad=(op, cases))
    assert command.main() == 1
    out = capsys.readouterr().out
    assert words in out
    assert "FAILED" in out
    assert ", 1 failed, " in out


def test_a_gradient_hidden_by_rounding_does_not_pass():
    wrong = as_op(lambda x: (x * x, lambda g: 5 * g * x), name="wrong_by_a_factor")
    for hidden_by in (3e10, 1e12):
        report = gradcheck(lambda x, c=hidden_by: wrong(x) + c, np.array([1.0, 2.0]), raise_error=False)
        assert not report.ok and report.verdict in ("lost in rounding", "wrong gradient")
    with pytest.raises(GradientError, match="rounding in f hides the gradient"):
        gradcheck(lambda x: x * x + 1e12, np.array([1.0, 2.0]))


def test_a_gradient_that_is_truly_zero_still_passes():
    assert gradcheck(lambda x: minigrad.softmax(x).sum(), np.array([1.0, 2.0, 3.0])).ok
