"""MultiHeadAttention(qk_norm=True): what a layer norm on each head's queries and keys does to scores and gradients."""

import math

import numpy as np
import pytest

import minigrad as mg
from agreement import assert_close
from minigrad import gradcheck
from minigrad.nn import MultiHeadAttention


def attention(rng, **settings):
    return MultiHeadAttention(8, 2, qk_norm=True, rng=rng, **settings).astype(np.float64)


def test_it_is_a_layer_norm_of_each_head(rng):
    model, x = attention(rng), mg.Tensor(rng.normal(size=(3, 5, 8)))
    q, k = (f(x).data.reshape(3, 5, 2, 4) for f in (model.query, model.key))
    q, k = (((a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5)).swapaxes(1, 2) for a in (q, k))
    assert_close(model.weights(x), mg.softmax(q @ k.mT / math.sqrt(4)).data, 1e-12)


def test_larger_query_and_key_weights_do_not_make_it_surer(rng):
    model, x = attention(rng), mg.Tensor(rng.normal(size=(3, 5, 8)))
    before = model.weights(x)
    for layer in (model.query, model.key):
        layer.weight.data = 1000 * layer.weight.data
    assert_close(model.weights(x), before, 1e-3)


@pytest.mark.parametrize("normalize", ["softmax", "softmax1"])
def test_its_gradients_are_right_and_reach_the_norms(rng, normalize):
    model = attention(rng, causal=True, normalize=normalize)
    x = rng.normal(size=(2, 3, 8))
    assert gradcheck(model, x, parameters=model).verdict == "ok"
    model(mg.Tensor(x)).sum().backward()
    assert np.abs(model.norm_q.weight.grad).max() > 0


def test_without_batch_axes_and_with_another_context(rng):
    model, x, context = attention(rng), rng.normal(size=(5, 8)), rng.normal(size=(7, 8))
    assert model(mg.Tensor(x), mg.Tensor(context)).shape == (5, 8)
    assert model.weights(mg.Tensor(x), mg.Tensor(context)).shape == (2, 5, 7)
