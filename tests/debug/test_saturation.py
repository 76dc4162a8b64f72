"""explain_grad where the gradient has a normal size, and most units are dead; and for the bias of attention's keys."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.debug.diagnose import explain_grad
from minigrad.tensors.modes import in_scope

rng = np.random.default_rng(0)
X = rng.normal(size=(50, 8)).astype(np.float32)
AWAY = np.where(np.arange(100) < 88, -50.0, 1.0).astype(np.float32)  # 88 of 100 units, far to the left


def weight(size=1.0):
    return mg.Tensor(size * rng.normal(size=(8, 100)).astype(np.float32), requires_grad=True, name="w")


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (
            lambda h: mg.tanh(h + AWAY),
            "% of the units of `tanh` in `hidden` of shape (50, 100) are saturated, at ",
        ),
        (lambda h: mg.sigmoid(h + AWAY), "`sigmoid` in `hidden` of shape (50, 100) are saturated"),
        (lambda h: mg.relu(h + AWAY), "`relu` in `hidden` of shape (50, 100) are dead, with inputs ≤ 0"),
        (lambda h: mg.gelu(h + AWAY), "`gelu` in `hidden` of shape (50, 100) are dead, with inputs < −3"),
        (lambda h: mg.clip(h + AWAY, low=-20.0), "`clip` in `hidden` of shape (50, 100) are outside the bounds"),
    ],
    ids=["tanh", "sigmoid", "relu", "gelu", "clip"],
)
def test_most_units_being_saturated_is_reported_with_their_share(f, says):
    w = weight()
    said = explain_grad(lambda: (in_scope("hidden", f, X @ w) ** 2).sum(), w)
    assert said.verdict == "saturated" and says in said.text and "Norms on the way back:" in said.text
    share = int(said.text.split("% of the units")[0].split()[-1])
    assert 85 <= share <= 96


@pytest.mark.parametrize("f", [mg.tanh, mg.sigmoid, mg.relu, mg.gelu])
def test_units_that_mostly_move_are_healthy(f):
    w = weight(0.2)
    assert explain_grad(lambda: (f(X @ w) ** 2).sum(), w).verdict == "healthy"


def test_weights_that_are_too_large_saturate_every_layer_and_the_worst_comes_first():
    first, second = weight(30.0), mg.Tensor(4 * rng.normal(size=(100, 100)).astype(np.float32))
    said = explain_grad(lambda: mg.sigmoid(mg.tanh(X @ first) @ second).mean(), first)
    assert said.verdict == "saturated"
    shares = [int(words.split()[-1]) for words in said.text.split("% of the units")[:-1]]
    assert len(shares) == 2 and shares[0] >= shares[1] >= 80
    assert "`tanh`" in said.text and "`sigmoid`" in said.text


# --- the bias of the keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", ["softmax", "sparsemax", "entmax15"])
def test_softmax_cancels_the_bias_of_the_keys(normalize):
    layer = nn.MultiHeadAttention(16, 2, causal=True, normalize=normalize, rng=np.random.default_rng(0))
    x = mg.Tensor(rng.normal(size=(2, 6, 16)).astype(np.float32))

    def f():
        return (in_scope("attn", layer, x) ** 2).mean()

    said = explain_grad(f, layer.key.bias)
    assert said.verdict == "zero"
    assert "zero but for rounding: the gradient of `bias` in `attn.key`" in said.text
    assert "softmax cancels a key bias: it adds the same to all scores of a query" in said.text
    for other in (layer.query.bias, layer.value.bias, layer.key.weight, layer.query.weight):
        assert explain_grad(f, other).verdict == "healthy"


def test_it_does_so_in_attention_written_by_hand():
    q, k, b = (mg.Tensor(rng.normal(size=s).astype(np.float32), requires_grad=True) for s in ((5, 4), (6, 4), (4,)))

    def f(normalizer=mg.softmax):
        return (normalizer(q @ (k + b).mT * 0.5) @ X[:6] ** 2).mean()

    assert "softmax cancels a key bias" in explain_grad(f, b).text
    assert explain_grad(f, k).verdict == "healthy"
    assert explain_grad(lambda: f(mg.sigmoid), b).verdict == "healthy"  # each score for itself: nothing cancels
