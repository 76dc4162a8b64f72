"""Two more sets of wrong derivations, to see whether the causes carry over to mistakes that they were not made for.

Of UNSEEN, written after the causes, 19 of 31 got the right one; then the causes were mended with its help. HELD_OUT was
written after that, and nothing was changed for it. Each op computes the right value. The words are those in which
gradcheck should name the mistake, `|` between two that are both right.
"""

import math

import numpy as np
from mistakes_and_causes import SELF, SQUARE, A, B, K, Q, V, X, back, but_for, cumsum, mean, softplus, total

from minigrad.engine import Joint, as_op

IDS = np.array([0, 2, 2])
CAUSAL = np.tri(3, dtype=bool)


def beta_softplus(formula):
    return as_op(lambda x: (np.log1p(np.exp(3 * x)) / 3, lambda g: formula(g, x)), name="softplus")


def logsumexp(formula):
    return as_op(lambda x: (np.log(np.exp(x).sum(-1)), lambda g: formula(g, x)), name="logsumexp")


def var(formula):
    return as_op(lambda x: (x.var(-1), lambda g: formula(g[:, None], x)), name="var")


def gelu(slope):
    def op(x):
        t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        return x * (1 + t) / 2, lambda g: g * slope(x, t)

    return as_op(op, name="gelu")


def causal_attention(formula):
    def op(q, k, v):
        s = q @ k.T / math.sqrt(q.shape[-1])
        e = np.where(CAUSAL, np.exp(s), 0)
        w = e / total(e)

        def vjp(g):
            grad_s = w * (g @ v.T - total((g @ v.T) * w)) / math.sqrt(q.shape[-1])
            return grad_s @ k, grad_s.T @ q, formula(g, s)

        return w @ v, Joint(vjp)

    return as_op(op, name="attention")


def embedding(formula):
    def op(table):
        return table[IDS], lambda g: formula(g, np.zeros_like(table))

    return as_op(op, name="embedding")


def added(g, grad, ids=IDS):
    np.add.at(grad, ids, g)
    return grad


def concat(formula):
    return as_op(lambda a, b: (np.concatenate([a, b]), Joint(lambda g: formula(g, len(a)))), name="concat")


def maximum(formula):
    return as_op(lambda x: (x.max(-1), lambda g: formula(g, x, x == x.max(-1, keepdims=True))), name="max")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normal_density(x):
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def normal_share(x):
    return (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def softmax(x, axis=-1):
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


INNER = math.sqrt(2 / math.pi)

# What went wrong: (name of the mistake, op, inputs, words of the right cause)
UNSEEN = [
    ("cumsum: the inverse", cumsum(lambda g: g - np.pad(g, ((0, 0), (0, 1)))[:, 1:]), (X,), "terms"),
    ("cumsum: flattened", cumsum(lambda g: back(g.reshape(1, -1)).reshape(g.shape)), (X,), "wrong axis"),
    ("cumsum: a running mean", cumsum(lambda g: back(g / np.arange(1, 5))), (X,), "grad_y is not multiplied"),
    ("softplus: second derivative", softplus(lambda g, x, y: g * sigmoid(x) * sigmoid(-x)), (X,), "slope"),
    ("softplus: of beta, not divided", beta_softplus(lambda g, x: 3 * g * sigmoid(3 * x)), (X,), "constant factor"),
    ("softplus: of beta, slope at x", beta_softplus(lambda g, x: g * sigmoid(x)), (X,), "slope"),
    ("logsumexp: shared equally", logsumexp(lambda g, x: g[:, None] / 4 + 0 * x), (X,), "factor"),
    ("logsumexp: weights of columns", logsumexp(lambda g, x: g[:, None] * softmax(x, 0)), (X,), "factor|wrong axis"),
    ("logsumexp: g as a row", logsumexp(lambda g, x: g * softmax(x)), (SQUARE,), "wrong axis|transposed"),
    ("logsumexp: log weights", logsumexp(lambda g, x: g[:, None] * np.log(softmax(x))), (X,), "factor"),
    ("var: not centred", var(lambda g, x: g * 2 * x / 4), (X,), "factor"),
    ("var: its mean moves too", var(lambda g, x: g * 2 * (x - mean(x)) / 4 * (1 - 1 / 4)), (X,), "constant factor"),
    ("var: no grad_y", var(lambda g, x: 2 * (x - mean(x)) / 4), (X,), "grad_y forgotten"),
    ("gelu: no inner cube", gelu(lambda x, t: (1 + t) / 2 + x * (1 - t * t) * INNER / 2), (X,), "slope"),
    ("gelu: no x", gelu(lambda x, t: normal_share(x) + normal_density(x)), (X,), "slope"),
    ("gelu: that of erf", gelu(lambda x, t: normal_share(x) + x * normal_density(x)), (X,), "slope|almost"),
    ("attention: v unmasked", causal_attention(lambda g, s: softmax(s).T @ g), SELF, "too many terms|mask"),
    ("attention: scores for weights", but_for(v=lambda g, s, w: np.log(w).T @ g), (Q, K, V), "factor"),
    ("attention: one grad_y", but_for(v=lambda g, s, w: w.T @ g[[0] * 3]), (Q, K, V), "wrong|some of the outputs"),
    (
        "attention: q and k exchanged",
        but_for(q=lambda g, s, w: s.T @ SELF[0], k=lambda g, s, w: s @ SELF[1]),
        SELF,
        "exchanged",
    ),
    ("embedding: averaged", embedding(lambda g, o: added(g, o) / np.array([[1], [1], [2]])), (X,), "factor|elsewhere"),
    ("embedding: ids from 1", embedding(lambda g, o: added(g, o, IDS - 1)), (X,), "places|shifted"),
    ("embedding: gathered", embedding(lambda g, o: g[IDS]), (X,), "transposed"),
    ("embedding: row 0 left out", embedding(lambda g, o: added(g[1:], o, IDS[1:])), (X,), "elsewhere"),
    ("concat: the first part for both", concat(lambda g, n: (g[:n], g[:n])), (A, B), "places|shifted"),
    ("concat: whole sum", concat(lambda g, n: (g[:n] + g[n:], g[n:])), (A, B), "too many terms"),
    ("max: to the smallest", maximum(lambda g, x, top: g[:, None] * (x == x.min(-1, keepdims=True))), (X,), "places"),
    ("max: of the whole array", maximum(lambda g, x, top: g[:, None] * (x == x.max())), (X,), "some of the outputs"),
    ("max: smoothly", maximum(lambda g, x, top: g[:, None] * softmax(x)), (X,), "too many terms"),
    ("max: times the maximum", maximum(lambda g, x, top: g[:, None] * top * x), (X,), "factor"),
    ("max: g as a row", maximum(lambda g, x, top: g * top), (SQUARE,), "wrong axis|transposed"),
]  # fmt: skip

HELD_OUT = [
    ("cumsum: shifted", cumsum(lambda g: np.roll(back(g), 1, -1)), (X,), "places|shifted"),
    ("cumsum: half of it", cumsum(lambda g: back(g) - g / 2), (X,), "own element"),
    ("softplus: inverted", softplus(lambda g, x, y: g / sigmoid(x)), (X,), "slope"),
    ("logsumexp: sign", logsumexp(lambda g, x: -g[:, None] * softmax(x)), (X,), "sign"),
    ("logsumexp: weights transposed", logsumexp(lambda g, x: g[:, None] * softmax(x).T), (SQUARE,), "factor"),
    ("logsumexp: all weights", logsumexp(lambda g, x: g[:, None] * softmax(x, (0, 1))), (X,), "factor"),
    ("var: deviations backwards", var(lambda g, x: g * 2 * (mean(x) - x) / 4), (X,), "sign"),
    ("var: mean of all", var(lambda g, x: g * 2 * (x - x.mean()) / 4), (X,), "factor"),
    ("var: absolute deviations", var(lambda g, x: g * 2 * np.abs(x - mean(x)) / 4), (X,), "sign, at some"),
    ("gelu: that of relu", gelu(lambda x, t: x > 0), (X,), "slope"),
    ("gelu: its own value", gelu(lambda x, t: x * (1 + t) / 2), (X,), "slope|factor"),
    ("attention: v averaged", but_for(v=lambda g, s, w: w.T @ g / 3), (Q, K, V), "averaged over an axis of length 3"),
    ("attention: v doubled by heads", but_for(v=lambda g, s, w: 2 * w.T @ g), (Q, K, V), "counted twice"),
    ("attention: k with the weights", but_for(k=lambda g, s, w: w.T @ Q), (Q, K, V), "grad_y forgotten"),
    ("attention: q and k swapped in q", but_for(q=lambda g, s, w: s.T @ SELF[1]), SELF, "transposed"),
    ("embedding: counted twice", embedding(lambda g, o: added(g, o) * [[1], [1], [2]]), (X,), "factor|elsewhere"),
    ("embedding: first use only", embedding(lambda g, o: added(g[:2], o, IDS[:2])), (X,), "elsewhere"),
    ("concat: backwards", concat(lambda g, n: (g[:n][::-1], g[n:])), (A, B), "wrong direction|places"),
    ("concat: signs", concat(lambda g, n: (g[:n], -g[n:])), (A, B), "sign"),
    ("max: and the smallest", maximum(lambda g, x, t: g[:, None] * (t | (x == x.min(-1)[:, None]))), (X,), "too many"),
    ("max: mean of all", maximum(lambda g, x, top: np.broadcast_to(g[:, None] / 4, x.shape)), (X,), "too many"),
]  # fmt: skip
