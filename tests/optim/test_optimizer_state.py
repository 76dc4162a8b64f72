"""The state of an optimizer, saved and loaded: what continues bit for bit, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from optimizers import OPTIMIZERS, give_gradients, parameters, reached

from minigrad.nn import Parameter
from minigrad.optim import Adam


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_run_is_bit_identical(name):
    def gradients(step):
        return np.random.default_rng(step)

    make = OPTIMIZERS[name][0]
    ps = parameters(np.random.default_rng(0), np.float32)
    optimizer = make(ps)
    for step in range(12):
        if step == 7:
            optimizer.lr = 0.03
            state, values = optimizer.state_dict(), [p.data.copy() for p in ps]
        give_gradients(ps, gradients(step), step)
        optimizer.step()

    scalars = {key: value for key, value in state.items() if key not in optimizer.moments}
    state.update(json.loads(json.dumps(scalars)))  # as a checkpoint keeps them
    resumed = [Parameter(v) for v in values]
    other = make(resumed)
    other.load_state_dict(state)
    assert other.lr == 0.03
    for step in range(7, 12):
        give_gradients(resumed, gradients(step), step)
        other.step()
    for a, b in zip(ps, resumed, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_the_state_is_in_the_order_the_parameters_were_given(rng):
    ps = parameters(rng)
    optimizer = Adam(ps)
    give_gradients(ps, rng, step=0)
    optimizer.step()
    state = optimizer.state_dict()
    assert state["updates"] == [int(reached(0, i)) for i in range(len(ps))]
    for p, m in zip(ps, state["m"], strict=True):
        expected = np.zeros(p.shape) if p.grad is None else 0.1 * p.grad
        np.testing.assert_allclose(m, expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.update(optimizer="SGD"), "the state of SGD, not of Adam"),
        (lambda s: s.pop("v"), "lacks v"),
        (lambda s: s.update(updates=[1, 2]), "has updates of 2 parameters, not 6"),
        (lambda s: s.update(updates=[1, 2, 3, 4, 5, -6]), "updates are counted from 0 up, not -6"),
        (lambda s: s.update(updates=[1, 2, 3, 4, 5, 0.5]), "'float' object cannot be interpreted as an integer"),
        (lambda s: s["v"].__setitem__(4, np.array(["a", "b"])), r"v of shape \(2,\), <U1, for parameter number 4"),
        (lambda s: s["v"].pop(), "has v of 5 parameters, not 6"),
        (
            lambda s: s["v"].__setitem__(1, np.ones((3, 4))),
            r"v of shape \(3, 4\), float64, for parameter number 1.*\(4, 3\)",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(rng, change, says):
    ps = parameters(rng)
    optimizer = Adam(ps)
    state = optimizer.state_dict() | {"lr": 7.0, "m": [np.ones(p.shape) for p in ps]}
    change(state)
    with pytest.raises((ValueError, TypeError), match=says):
        optimizer.load_state_dict(state)
    assert optimizer.lr == 1e-3
    assert not any(m.any() for m in optimizer.state_dict()["m"])
    assert optimizer.state_dict()["updates"] == [0] * len(ps)
