"""The classic wrong derivations of six ops, and the words in which gradcheck should name each mistake.

Each op computes the right value. Its mistakes are formulas for the gradient, as people have derived them.
"""

import math

import numpy as np

from minigrad.engine import Joint, as_op

rng = np.random.default_rng(3)
X, SQUARE = rng.normal(size=(3, 4)), rng.normal(size=(3, 3))
A, B = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
LN = (X, np.array([0.5, 2.0, -1.0, 1.5]), np.ones(4))
Q, K, V = rng.normal(size=(3, 5)), rng.normal(size=(4, 5)), rng.normal(size=(4, 2))
SELF = (Q, SQUARE @ Q, SQUARE @ X)  # as many keys as queries, so that a missing transpose fits


def mean(a):
    return a.mean(-1, keepdims=True)


def total(a):
    return a.sum(-1, keepdims=True)


# --- ops whose gradient is a formula of grad_y (g), x and y -------------------------------------------------------


def softplus(formula):
    def op(x):
        y = np.log1p(np.exp(x))
        return y, lambda g: formula(g, x, y)

    return as_op(op, name="softplus")


def cumsum(formula):
    return as_op(lambda x: (x.cumsum(-1), lambda g: formula(g)), name="cumsum")


def softmax(formula):
    def op(x):
        y = np.exp(x) / total(np.exp(x))
        return y, lambda g: formula(g, y)

    return as_op(op, name="softmax")


def layer_norm(formula):
    def op(x, weight, bias):
        r = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        x_hat = (x - mean(x)) * r
        right = (
            lambda g: r * (g * weight - mean(g * weight) - x_hat * mean(g * weight * x_hat)),
            lambda g: g * x_hat,
            lambda g: g,
        )
        wrong, which = formula(x_hat, r, weight)
        return x_hat * weight + bias, tuple(wrong if i == which else vjp for i, vjp in enumerate(right))

    return as_op(op, name="layer_norm")


def matmul(vjp_a, vjp_b):
    return as_op(lambda a, b: (a @ b, (lambda g: vjp_a(g, a, b), lambda g: vjp_b(g, a, b))), name="matmul")


def attention(formula):
    def op(q, k, v):
        scale = 1 / math.sqrt(q.shape[-1])
        s = q @ k.T * scale
        w = np.exp(s) / total(np.exp(s))
        return w @ v, Joint(lambda g: formula(g, w, q, k, v, scale))

    return as_op(op, name="attention")


def through(grad_s):
    """attention with a mistake in the gradient of the scores."""

    def formula(g, w, q, k, v, scale):
        s = grad_s(g @ v.T, w)
        return s @ k * scale, s.T @ q * scale, w.T @ g

    return attention(formula)


def right_s(grad_w, w):
    return w * (grad_w - total(grad_w * w))


def but_for(**wrong):
    """attention with other gradients of q, k or v: functions of grad_y and of the gradient of the scores."""

    def formula(g, w, q, k, v, scale):
        s = right_s(g @ v.T, w) * scale
        right = {"q": lambda g, s, w: s @ k, "k": lambda g, s, w: s.T @ q, "v": lambda g, s, w: w.T @ g}
        return tuple(vjp(g, s, w) for vjp in (right | wrong).values())

    return attention(formula)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def back(g, axis=-1):
    return np.flip(np.flip(g, axis).cumsum(axis), axis)


def right_a(g, a, b):
    return g @ b.T


def right_b(g, a, b):
    return a.T @ g


# What went wrong: (name of the mistake, op, inputs, words of the right cause)
TABLE = [
    ("softplus: slope at y", softplus(lambda g, x, y: g * sigmoid(y)), (X,), "f′(y) for f′(x)"),
    ("softplus: slope at -x", softplus(lambda g, x, y: g * sigmoid(-x)), (X,), "f′(−x) for f′(x)"),
    ("softplus: x for y", softplus(lambda g, x, y: g * (1 - np.exp(-x))), (X,), "x where y belongs"),
    ("softplus: sign", softplus(lambda g, x, y: -g * sigmoid(x)), (X,), "sign"),
    ("softplus: no grad_y", softplus(lambda g, x, y: sigmoid(x)), (X,), "grad_y forgotten"),
    ("softplus: doubled", softplus(lambda g, x, y: 2 * g * sigmoid(x)), (X,), "counted twice"),
    ("softplus: times x", softplus(lambda g, x, y: g * x * sigmoid(x)), (X,), "a factor x too much"),
    ("softplus: times y", softplus(lambda g, x, y: g * y * sigmoid(x)), (X,), "a factor y too much"),
    ("softplus: no denominator", softplus(lambda g, x, y: g * np.exp(x)), (X,), "slope"),
    ("softplus: g added", softplus(lambda g, x, y: g + sigmoid(x)), (X,), "not linear in grad_y"),
    ("cumsum: forwards", cumsum(lambda g: g.cumsum(-1)), (X,), "wrong direction"),
    ("cumsum: flipped once", cumsum(lambda g: np.flip(g, -1).cumsum(-1)), (X,), "wrong direction"),
    ("cumsum: flipped too late", cumsum(lambda g: np.flip(g.cumsum(-1), -1)), (X,), "wrong direction"),
    ("cumsum: wrong axis", cumsum(lambda g: back(g, 0)), (X,), "wrong axis"),
    ("cumsum: forwards, wrong axis", cumsum(lambda g: g.cumsum(0)), (X,), "wrong axis"),
    ("cumsum: passed through", cumsum(lambda g: g), (X,), "cross terms are missing"),
    ("cumsum: sign", cumsum(lambda g: -back(g)), (X,), "sign"),
    ("cumsum: mean", cumsum(lambda g: back(g) / 4), (X,), "averaged over an axis of length 4"),
    ("cumsum: no grad_y", cumsum(lambda g: back(np.ones_like(g))), (X,), "grad_y forgotten"),
    ("cumsum: without its own", cumsum(lambda g: back(g) - g), (X,), "own element"),
    ("cumsum: total", cumsum(lambda g: total(g) + 0 * g), (X,), "too many"),
    ("softmax: no row sum", softmax(lambda g, y: g * y), (X,), "cross terms are missing"),
    ("softmax: each alone", softmax(lambda g, y: g * y * (1 - y)), (X,), "cross terms are missing"),
    ("softmax: passed through", softmax(lambda g, y: g), (X,), "cross terms are missing"),
    ("softmax: row sum of g", softmax(lambda g, y: y * (g - total(g))), (X,), "row sum"),
    ("softmax: row mean of g", softmax(lambda g, y: y * (g - mean(g))), (X,), "row sum"),
    ("softmax: mean for sum", softmax(lambda g, y: y * (g - mean(g * y))), (X,), "row sum Σ grad_y · y"),
    ("softmax: plus", softmax(lambda g, y: y * (g + total(g * y))), (X,), "row sum Σ grad_y · y"),
    ("softmax: wrong axis", softmax(lambda g, y: y * (g - (g * y).sum(0))), (X,), "wrong axis"),
    ("softmax: all summed", softmax(lambda g, y: y * (g - (g * y).sum())), (X,), "wrong axis"),
    ("softmax: no grad_y", softmax(lambda g, y: y * (1 - y)), (X,), "grad_y forgotten"),
    ("softmax: g once", softmax(lambda g, y: y * (g - total(y))), (X,), "not linear in grad_y"),
    ("softmax: no y", softmax(lambda g, y: g - total(g * y)), (X,), "a factor"),
    ("softmax: sign", softmax(lambda g, y: y * (total(g * y) - g)), (X,), "sign"),
    (
        "layer_norm: no variance",
        layer_norm(lambda h, r, w: (lambda g: r * (g * w - mean(g * w)), 0)),
        LN,
        "row sum",
    ),
    (
        "layer_norm: no mean",
        layer_norm(lambda h, r, w: (lambda g: r * (g * w - h * mean(g * w * h)), 0)),
        LN,
        "row sum",
    ),
    ("layer_norm: neither", layer_norm(lambda h, r, w: (lambda g: r * g * w, 0)), LN, "cross terms are missing"),
    (
        "layer_norm: no r",
        layer_norm(lambda h, r, w: (lambda g: g * w - mean(g * w) - h * mean(g * w * h), 0)),
        LN,
        "a factor",
    ),
    (
        "layer_norm: no weight",
        layer_norm(lambda h, r, w: (lambda g: r * (g - mean(g) - h * mean(g * h)), 0)),
        LN,
        "grad_y is not multiplied",
    ),
    (
        "layer_norm: weight too late",
        layer_norm(lambda h, r, w: (lambda g: w * r * (g - mean(g) - h * mean(g * h)), 0)),
        LN,
        "factor",
    ),
    (
        "layer_norm: sums for means",
        layer_norm(lambda h, r, w: (lambda g: r * (g * w - total(g * w) - h * total(g * w * h)), 0)),
        LN,
        "row sum",
    ),
    (
        "layer_norm: wrong axis",
        layer_norm(lambda h, r, w: (lambda g: r * (g * w - (g * w).mean(0) - h * (g * w * h).mean(0)), 0)),
        LN,
        "wrong axis",
    ),
    (
        "layer_norm: sign of the variance",
        layer_norm(lambda h, r, w: (lambda g: r * (g * w - mean(g * w) + h * mean(g * w * h)), 0)),
        LN,
        "row sum",
    ),
    ("layer_norm: weight of one row", layer_norm(lambda h, r, w: (lambda g: (g * h)[0], 1)), LN, "not summed"),
    ("layer_norm: mean weight", layer_norm(lambda h, r, w: (lambda g: (g * h).mean(0), 1)), LN, "averaged"),
    ("layer_norm: weight without x̂", layer_norm(lambda h, r, w: (lambda g: g, 1)), LN, "a factor"),
    ("layer_norm: bias of one row", layer_norm(lambda h, r, w: (lambda g: g[-1], 2)), LN, "not summed"),
    ("layer_norm: bias without g", layer_norm(lambda h, r, w: (lambda g: np.ones(4), 2)), LN, "grad_y forgotten"),
    ("matmul: b not transposed", matmul(lambda g, a, b: g @ b, right_b), (A, B), "transposed"),
    ("matmul: a not transposed", matmul(right_a, lambda g, a, b: a @ g), (A, B), "transposed"),
    ("matmul: order", matmul(right_a, lambda g, a, b: g.T @ a), (A, B), "transposed"),
    ("matmul: b in front", matmul(lambda g, a, b: b.T @ g, right_b), (A, B), "transposed"),
    ("matmul: b in front, as it is", matmul(lambda g, a, b: b @ g, right_b), (A, B), "transposed"),
    ("matmul: g transposed", matmul(lambda g, a, b: g.T @ b.T, right_b), (A, B), "transposed"),
    ("matmul: no grad_y", matmul(lambda g, a, b: np.ones_like(g) @ b.T, right_b), (A, B), "grad_y forgotten"),
    ("matmul: mean", matmul(right_a, lambda g, a, b: a.T @ g / 3), (A, B), "averaged over an axis of length 3"),
    ("matmul: sign", matmul(lambda g, a, b: -g @ b.T, right_b), (A, B), "sign"),
    ("matmul: elementwise", matmul(lambda g, a, b: g * b, right_b), (A, B), "cross terms are missing"),
    (
        "matmul: batch not summed",
        matmul(right_a, lambda g, a, b: a[0].T @ g[0]),
        (np.stack([A, B]), B),
        "not summed",
    ),
    ("attention: no scale", through(lambda grad_w, w: math.sqrt(5) * right_s(grad_w, w)), (Q, K, V), "√5"),
    ("attention: scaled twice", through(lambda grad_w, w: right_s(grad_w, w) / math.sqrt(5)), (Q, K, V), "√5"),
    ("attention: no row sum", through(lambda grad_w, w: w * grad_w), (Q, K, V), "row sum"),
    ("attention: row sum of grad_w", through(lambda grad_w, w: w * (grad_w - total(grad_w))), (Q, K, V), "row sum"),
    ("attention: row mean", through(lambda grad_w, w: w * (grad_w - mean(grad_w * w))), (Q, K, V), "row sum"),
    ("attention: no softmax", through(lambda grad_w, w: grad_w), (Q, K, V), "cross terms"),
    ("attention: each weight alone", through(lambda grad_w, w: grad_w * w * (1 - w)), (Q, K, V), "cross terms"),
    ("attention: wrong axis", through(lambda grad_w, w: w * (grad_w - (grad_w * w).sum(0))), (Q, K, V), "wrong axis"),
    ("attention: sign", through(lambda grad_w, w: -right_s(grad_w, w)), (Q, K, V), "sign"),
    ("attention: v not transposed", but_for(v=lambda g, s, w: w @ g), SELF, "transposed"),
    ("attention: s not transposed", but_for(k=lambda g, s, w: s @ Q), SELF, "transposed"),
    ("attention: v as for one weight", but_for(v=lambda g, s, w: g), SELF, "cross terms are missing"),
    ("attention: v without g", but_for(v=lambda g, s, w: w.T @ np.ones_like(g)), (Q, K, V), "grad_y forgotten"),
]  # fmt: skip
