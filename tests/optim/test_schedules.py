"""The schedule and clipping."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from optimizers import give_gradients, parameters

from minigrad.nn import Linear, Parameter, Sequential
from minigrad.optim import SGD, clip_grad_norm, cosine_schedule


def test_the_schedule_rises_in_a_line_and_falls_along_a_cosine():
    rates = [cosine_schedule(step, lr=1.0, warmup=4, steps=24, lr_min=0.1) for step in range(30)]
    np.testing.assert_allclose(rates[:5], [0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(a > b for a, b in pairwise(rates[4:25]))
    assert rates[14] == pytest.approx(0.55)  # half way
    assert rates[9] == pytest.approx(0.1 + 0.45 * (1 + math.sqrt(0.5)))
    np.testing.assert_allclose(rates[24:], 0.1)
    assert cosine_schedule(0, lr=3.0, warmup=0, steps=10) == 3
    with pytest.raises(ValueError, match="warm-up of 10 steps must end before"):
        cosine_schedule(0, lr=1.0, warmup=10, steps=10)


def test_clipping_shrinks_the_norm_and_keeps_the_direction(rng):
    ps = parameters(rng)
    optimizer = SGD(ps, 0.1)
    give_gradients(ps, rng)
    before = np.concatenate([p.grad.ravel() for p in ps])
    norm = clip_grad_norm(optimizer, 0.5)
    after = np.concatenate([p.grad.ravel() for p in ps])
    assert norm == pytest.approx(np.linalg.norm(before))
    assert norm > 0.5
    np.testing.assert_allclose(after, before * 0.5 / norm)
    assert clip_grad_norm(optimizer, 0.6) == pytest.approx(0.5)
    np.testing.assert_array_equal(np.concatenate([p.grad.ravel() for p in ps]), after)  # already shorter: untouched


def test_clipping_takes_parameters_too_and_ignores_the_unreached(rng):
    norms = []
    for with_optimizer in (True, False):
        rng = np.random.default_rng(0)
        ps = parameters(rng, np.float32)
        optimizer = SGD(ps, 0.1) if with_optimizer else None
        give_gradients(ps, rng)  # so that the buffer has stale numbers where the next ones are missing
        give_gradients(ps, rng, step=0)
        expected = math.sqrt(sum((p.grad.astype(float) ** 2).sum() for p in ps if p.grad is not None))
        norms.append(clip_grad_norm(optimizer or [*ps, ps[0]], 1.0))
        assert norms[-1] == pytest.approx(expected, rel=1e-6)
        assert clip_grad_norm(ps, 5.0) == pytest.approx(1, rel=1e-6)
        assert ps[5].grad is None
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    for p in ps:
        p.grad = None
    assert clip_grad_norm(ps, 1.0) == 0


def test_clipping_survives_squares_that_overflow():
    p = Parameter([0.0, 0.0])
    p.grad = np.array([3e30, 4e30], np.float32)
    assert clip_grad_norm([p], 1.0) == pytest.approx(5e30)
    np.testing.assert_allclose(p.grad, [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_clipping_names_the_parameter_that_went_bad(rng, bad):
    model = Sequential(Linear(2, 2, rng=rng))
    optimizer = SGD(model.parameters(), 0.1)
    model.layers[0].weight.grad, model.layers[0].bias.grad = np.ones((2, 2)), [1.0, bad]
    with pytest.raises(FloatingPointError, match=r"gradient of layers\.0\.bias has nan or inf"):
        clip_grad_norm(optimizer, 1.0)
    with pytest.raises(ValueError, match="a norm above 0"):
        clip_grad_norm(optimizer, 0)
