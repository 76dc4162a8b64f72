"""Three ways to the same gradient: finite differences, the fused op's own VJP, and the chain rule through small ops.

A derivation and the code made from it can be wrong together. Here each fused op is written a second time, from ops
whose VJPs are a line each, and the engine derives its gradient; finite differences know no derivation at all.
"""

import copy
import math

import numpy as np
import pytest

import minigrad as mg
from agreement import assert_all_close
from minigrad import nn
from minigrad.engine import Tensor
from minigrad.finite_differences import gradcheck

rng = np.random.default_rng(0)
MASK = np.array([[True, False, True, True], [False, True, True, False], [True, True, True, True]])
TARGETS = np.array([2, 0, 3])


# --- the same functions, from small ops --------------------------------------------------------------------------


def composed_softmax(x, mask=None):
    scores = x if mask is None else mg.where(mask, x, -1e9)
    e = mg.exp(scores)
    return e / e.sum(axis=-1, keepdims=True)


def composed_cross_entropy(logits, targets):
    picked = logits[np.arange(len(targets)), targets]
    return (mg.log(mg.exp(logits).sum(axis=-1)) - picked).mean()


def composed_layer_norm(x, weight, bias):
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / mg.sqrt(variance + 1e-5) * weight + bias


def composed_attention(q, k, v, mask=None):
    return composed_softmax(q @ k.mT / math.sqrt(q.shape[-1]), mask) @ v


def composed_gelu(x):
    return 0.5 * x * (1 + mg.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def composed_gru(x, h, weight, bias, mask=None):
    d, states = bias.shape[0], []
    for t in range(x.shape[-2]):
        step, u = x[:, t], h @ weight
        r = mg.sigmoid(step[:, :d] + u[:, :d])
        z = mg.sigmoid(step[:, d : 2 * d] + u[:, d : 2 * d])
        n = mg.tanh(step[:, 2 * d :] + r * (u[:, 2 * d :] + bias))
        new = (1 - z) * n + z * h
        h = new if mask is None else mg.where(mask[:, t, None], new, h)
        states.append(h)
    return mg.stack(states, axis=1)


N_HEADS = 2


def composed_block(x, *parameters):
    """`nn.Block`, causal, written out; its parameters in the order of named_parameters()."""
    p = dict(zip(BLOCK_PARAMETERS, parameters, strict=True))

    def linear(name, x):
        return x @ p[f"{name}.weight"] + p[f"{name}.bias"]

    def heads(x):
        return x.reshape(*x.shape[:-1], N_HEADS, x.shape[-1] // N_HEADS).swapaxes(-2, -3)

    n = composed_layer_norm(x, p["norm1.weight"], p["norm1.bias"])
    q, k, v = (heads(linear(f"attn.{name}", n)) for name in ("query", "key", "value"))
    y = composed_attention(q, k, v, mg.causal_mask(x.shape[-2])).swapaxes(-2, -3).reshape(x.shape)
    x = x + linear("attn.out", y)
    n = composed_layer_norm(x, p["norm2.weight"], p["norm2.bias"])
    return x + linear("mlp.down", composed_gelu(linear("mlp.up", n)))


BLOCK = nn.Block(4, N_HEADS, causal=True, rng=np.random.default_rng(1))
BLOCK_PARAMETERS = [name for name, _ in BLOCK.named_parameters()]


def fused_block(x, *parameters):
    """`nn.Block` itself, as a function of its parameters too."""
    block = copy.deepcopy(BLOCK)
    for name, tensor in zip(BLOCK_PARAMETERS, parameters, strict=True):
        *path, attribute = name.split(".")
        module = block
        for step in path:
            module = getattr(module, step)
        setattr(module, attribute, tensor)
    return block(x)


def block_inputs():
    """A batch, and parameters of which none is still 0 or 1 as at the start."""
    rng = np.random.default_rng(3)
    return [rng.normal(size=(2, 3, 4)), *[rng.normal(0, 0.5, p.shape) for _, p in BLOCK.named_parameters()]]


def gru_inputs():
    """x, h, weight and bias: 3 sequences of 4 steps, a state of 2."""
    return [rng.normal(size=shape) for shape in ((3, 4, 6), (3, 2), (2, 6), (2,))]


# --- the comparison ----------------------------------------------------------------------------------------------


def value_and_gradients(f, inputs, u):
    tensors = [Tensor(x, requires_grad=True) for x in inputs]
    y = f(*tensors)
    y.backward(u(y.shape))
    return y.data, [t.grad for t in tensors]


FUNCTIONS = {
    "softmax": (mg.softmax, composed_softmax, [rng.normal(size=(3, 4))]),
    "softmax, masked": (
        lambda x: mg.softmax(x, mask=MASK),
        lambda x: composed_softmax(x, MASK),
        [rng.normal(size=(3, 4))],
    ),
    "cross_entropy": (
        lambda x: mg.cross_entropy(x, TARGETS),
        lambda x: composed_cross_entropy(x, TARGETS),
        [rng.normal(size=(3, 4))],
    ),
    "layer_norm": (
        mg.layer_norm,
        composed_layer_norm,
        [rng.normal(size=(2, 3, 4)), rng.normal(size=4), rng.normal(size=4)],
    ),
    "attention": (
        mg.attention,
        composed_attention,
        [rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 5, 2))],
    ),
    "attention, causal": (
        lambda q, k, v: mg.attention(q, k, v, causal=True),
        lambda q, k, v: composed_attention(q, k, v, mg.causal_mask(4)),
        [rng.normal(size=(2, 4, 3)) for _ in "qkv"],
    ),
    "transformer block": (fused_block, composed_block, block_inputs()),
    "gru": (mg.gru, composed_gru, gru_inputs()),
    "gru, masked": (
        lambda *inputs: mg.gru(*inputs, mask=MASK),
        lambda *inputs: composed_gru(*inputs, MASK),
        gru_inputs(),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_fused_composed_and_finite_differences_agree(name):
    fused, composed, inputs = FUNCTIONS[name]
    for f in (fused, composed):
        gradcheck(f, *inputs)  # raises where differences say otherwise

    def u(shape):
        return np.random.default_rng(2).normal(size=shape)

    y_fused, by_fused = value_and_gradients(fused, inputs, u)
    y_composed, by_composed = value_and_gradients(composed, inputs, u)
    assert_all_close([y_fused, *by_fused], [y_composed, *by_composed], 1e-13)
    for a in by_fused:
        assert name == "transformer block" or np.abs(a).max() > 1e-3


def test_of_all_gradients_in_a_block_only_that_of_the_key_bias_is_0():
    """It adds the same number to all scores of a query, which softmax does not notice."""
    report = gradcheck(fused_block, *block_inputs())
    zero = [BLOCK_PARAMETERS[a.position - 1] for a in report.arguments if a.zero]
    assert zero == ["attn.key.bias"]
