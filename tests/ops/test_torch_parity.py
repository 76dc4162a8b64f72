"""Every op that PyTorch has: the same values and gradients in float64 to 1e-10, on shapes and axes drawn by hypothesis.

PyTorch wrote these gradients down independently of us, so a mistake would have to be made twice. Where minigrad's
conventions differ on purpose (rows with everything masked, all targets ignored: PyTorch has nan), test_masks.py
and test_cross_entropy.py have the tests; the draws here stay clear of those.
"""

import numpy as np
import pytest
from more_torch_calls import MORE_CALLS
from torch_calls import CALLS, Call, F, assert_same, hypothesis, seeds, st, torch

import minigrad
from minigrad import OPS
from minigrad.tensors.operators import COMPOSED

PYTORCH_HAS_NO = {"uniform", "sum_normalize", "sigmoid_normalize", "sparsemax", "entmax15"}
DRAWN_AT_RANDOM = {"dropout"}  # from another generator: there is nothing to compare element by element
WITHOUT_GRADIENT = {"argmax"}
ALL_IN_ONE_DTYPE = {"astype"}  # here everything is float64; test_special.py has it
ALL_CALLS = CALLS | MORE_CALLS


@pytest.mark.parametrize("name", ALL_CALLS)
@hypothesis.settings(
    max_examples=25,
    deadline=None,
    derandomize=True,  # the same draws in every run
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(data=st.data())
def test_values_and_gradients_are_pytorchs(name, data):
    ours = name.partition(",")[0]
    call = ALL_CALLS[name](data.draw, COMPOSED.get(ours) or OPS[ours])
    assert_same(call, seed=data.draw(seeds))


def test_every_op_that_pytorch_has_is_compared():
    ours = {name for name, op in OPS.items() if op.__wrapped__.__module__.startswith("minigrad.")}
    compared = {name.partition(",")[0] for name in ALL_CALLS}
    assert ours | set(COMPOSED) == compared | PYTORCH_HAS_NO | DRAWN_AT_RANDOM | WITHOUT_GRADIENT | ALL_IN_ONE_DTYPE


# --- conventions that PyTorch shares -----------------------------------------------------------------------------

EDGES = np.array([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (minigrad.relu, torch.relu),
        (minigrad.abs, torch.abs),
        (lambda x: minigrad.clip(x, low=-1, high=1), lambda x: x.clamp(-1, 1)),
        (lambda x: x.max(), lambda x: torch.amax(x, 0)),
        (lambda x: minigrad.minimum(x, 0.0), lambda x: torch.minimum(x, torch.zeros_like(x))),
        (lambda x: x**0, lambda x: x**0),
        (lambda x: x**1, lambda x: x**1),
        (lambda x: x**2, lambda x: x**2),
        (lambda x: minigrad.sqrt(minigrad.relu(x) + (x.data <= 0)), lambda x: torch.sqrt(torch.relu(x) + (x <= 0))),
    ],
)
def test_kinks_and_ties_are_pytorchs_too(ours, theirs):
    assert_same(Call(ours, theirs, (EDGES,)))


def test_equal_maxima_share_as_in_pytorchs_amax():
    ties = np.array([[3.0, 1.0, 3.0, 3.0], [2.0, 2.0, 2.0, 2.0]])
    assert_same(Call(lambda x: x.max(axis=1), lambda x: torch.amax(x, 1), (ties,)))
    assert_same(Call(lambda x: x.min(axis=(0, 1)), lambda x: torch.amin(x, (0, 1)), (ties,)))


def test_powers_of_0_are_pytorchs_too():
    zero, exponents = np.zeros(3), np.array([1.0, 2.0, 3.5])
    assert_same(Call(minigrad.pow, torch.pow, (zero, exponents)))


def test_a_composition_of_many_ops_agrees():
    """Reused inputs, broadcasting, and every kind of op in one graph."""
    rng = np.random.default_rng(0)
    arrays = (rng.normal(size=(3, 5, 4)), rng.normal(size=(4, 4)), rng.normal(size=4))
    picked = np.array([0, 2, 2, 1])

    def ours(x, w, b):
        h = minigrad.layer_norm(x, b, b)
        h = minigrad.attention(h @ w, h, x + b, causal=True) + x
        h = minigrad.gelu(minigrad.linear(h, w, b)) * minigrad.sigmoid(x)
        return minigrad.logsumexp(h[:, picked], axis=-1).sum(axis=0) / (1 + b.max()) ** 2

    def theirs(x, w, b):
        h = F.layer_norm(x, (4,), b, b)
        h = F.scaled_dot_product_attention(h @ w, h, x + b, is_causal=True) + x
        h = F.gelu(h @ w + b, approximate="tanh") * torch.sigmoid(x)
        return torch.logsumexp(h[:, torch.tensor(picked)], -1).sum(0) / (1 + b.max()) ** 2

    assert_same(Call(ours, theirs, arrays))
