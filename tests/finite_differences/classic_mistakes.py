"""Wrong VJPs that people have written: each of these ops computes the right value and a wrong gradient."""

import math

import numpy as np

from minigrad.engine import Joint, as_op

rng = np.random.default_rng(0)
X, SQUARE, CUBE = rng.normal(size=(3, 4)), rng.normal(size=(3, 3)), rng.normal(size=(3, 3, 3))


def wrong(f):
    """Make an op of one of the functions below, without entering it in OPS."""
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


MISTAKES = [  # with inputs on which they show
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
