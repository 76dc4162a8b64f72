"""Numbers up to 1e30, far apart or infinite: no nan, and no precision lost."""

import math

import numpy as np
import pytest
from attention_inputs import both_attentions

import minigrad
from agreement import pulled
from score_maps import MAPS, MASKED

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("kernel_and_page")]


def huge_scores():
    """Rows of float32 with magnitudes up to 1e30, of every sort: mixed, equal, opposite, one large, all tiny."""
    rng = np.random.default_rng(0)
    mixed = rng.choice([0, 1, -1, 1e-30, -1e-30, 88, -104, 1e10, -1e10, 1e30, -1e30], size=(200, 6))
    spread = rng.normal(size=(100, 6)) * 10.0 ** rng.integers(-30, 30, size=(100, 6))
    rows = [[1e30] * 6, [-1e30] * 6, [1e30, -1e30] * 3, [1e30, 0, 0, 0, 0, 0], [-1e30, 0, 0, 0, 0, 0], [1e-38] * 6]
    rows += [[9.9e29, 1e30, 1e30, 9.9e29, -1e30, 0]]
    return np.concatenate([mixed, spread, rows]).clip(-1e30, 1e30).astype(np.float32)


SAFE = ["softmax", "log_softmax", "logsumexp", "sparsemax", "entmax15", "hardmax", "uniform", "top_k_softmax"]
SAFE += ["sigmoid_normalize"]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", SAFE)
def test_huge_scores_make_no_nan_forward_or_backward(name, masked):
    x = huge_scores()
    mask = np.random.default_rng(1).random(x.shape) < 0.6 if masked else None
    y, grad = pulled(lambda x: MASKED[name](x, mask=mask), x)
    assert y.dtype == grad.dtype == np.float32
    assert not np.isnan(y).any() and np.isfinite(grad).all()
    if name in MAPS:
        np.testing.assert_allclose(y.sum(-1), 1 if mask is None else mask.any(-1), rtol=1e-5)


@pytest.mark.parametrize(
    "arguments", [{}, {"label_smoothing": 0.1}, {"ignore_index": 3}, {"reduction": "none"}, {"reduction": "sum"}]
)
def test_huge_logits_make_no_nan_in_cross_entropy(arguments):
    x = huge_scores()
    targets = np.random.default_rng(1).integers(0, 6, size=len(x))
    y, grad = pulled(lambda x: minigrad.cross_entropy(x, targets, **arguments), x, cotangent=1)
    assert y.dtype == grad.dtype == np.float32
    assert np.isfinite(y).all() and np.isfinite(grad).all()


@both_attentions
@pytest.mark.parametrize(("size_q", "size_k"), [(1e15, 1e15), (1e30, 1), (1, 1e30), (1e-30, 1e30), (1e30, 1e6)])
@pytest.mark.parametrize("how", ["plain", "causal", "mask"])
def test_attention_makes_no_nan_as_long_as_its_scores_can_be_represented(attention, size_q, size_k, how):
    rng = np.random.default_rng(0)
    q, k = (rng.choice([-1, 0, 1], size=(8, 6, 4)) * np.float32(s) for s in (size_q, size_k))
    v = rng.normal(size=(8, 6, 3)).astype(np.float32)
    assert np.isfinite(q @ k.mT).all()
    mask = rng.random((8, 6, 6)) < 0.5 if how == "mask" else None
    y, *grads = pulled(
        lambda q, k, v: attention(q, k, v, mask=mask, causal=how == "causal"),
        *(a.astype(np.float32) for a in (q, k, v)),
    )
    for a in (y, *grads):
        assert a.dtype == np.float32 and np.isfinite(a).all()


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu", "relu", "abs", "neg", "erf", "softplus", "sin", "cos"])
def test_huge_inputs_make_no_nan_in_activations(name):
    y, grad = pulled(getattr(minigrad, name), huge_scores().ravel(), cotangent=1)
    assert np.isfinite(y).all() and np.isfinite(grad).all()


@pytest.mark.parametrize("name", ["softmax", "sparsemax", "entmax15"])
@pytest.mark.parametrize("n", [1000, 30_000])
def test_weights_of_many_scores_sum_to_1(name, n):
    for x in (np.append(np.full(n, 0.3), 0.9), np.random.default_rng(0).random(n)):
        y = getattr(minigrad, name)(x.astype(np.float32)).data
        assert y.dtype == np.float32
        assert abs(y.sum(dtype=np.float64) - 1) < 1e-5


def test_far_apart_scores_round_to_one_hot_and_keep_exact_logarithms():
    x = np.array([0.0, 1e30, -1e30], np.float32)
    np.testing.assert_array_equal(minigrad.softmax(x).data, [0, 1, 0])
    np.testing.assert_array_equal(minigrad.log_softmax(x).data, np.array([-1e30, 0, -2e30], np.float32))
    assert minigrad.logsumexp(x).item() == np.float32(1e30)


def test_small_probabilities_keep_their_precision():
    x = np.array([0.0, -50.0], np.float64)
    np.testing.assert_allclose(minigrad.softmax(x).data[1], math.exp(-50), rtol=1e-14)
    np.testing.assert_allclose(minigrad.sigmoid(x).data[1], math.exp(-50), rtol=1e-14)
    assert minigrad.sigmoid(np.array(-100.0, np.float32)).item() > 0


def test_an_infinite_gradient_stays_in_its_own_row_of_a_table():
    table = minigrad.Tensor(np.zeros((5, 2)), requires_grad=True)
    grad = np.ones((3, 2))
    grad[1, 0] = np.inf
    minigrad.embedding(table, [0, 3, 0]).backward(grad)
    np.testing.assert_array_equal(table.grad, [[2, 2], [0, 0], [0, 0], [np.inf, 1], [0, 0]])


def test_the_slope_of_sigmoid_is_symmetric_to_the_last_bit_that_counts():
    x = minigrad.Tensor([-20.0, 20.0], requires_grad=True)
    x.sigmoid().sum().backward()
    np.testing.assert_allclose(x.grad, math.exp(-20) / (1 + math.exp(-20)) ** 2, rtol=1e-6)
