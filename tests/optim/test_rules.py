"""The rules as printed, on one parameter; and the optimizers in place, held to the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from optimizers import give_gradients, parameters

from minigrad import optim
from minigrad.optim import rules

ADAM = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3}
# name: (the optimizer, its rule, how many moments the rule keeps, whether it takes t, settings)
RULES = {
    "SGD": (optim.SGD, rules.sgd, 1, False, {"lr": 0.1}),
    "SGD, momentum": (optim.SGD, rules.sgd, 1, False, {"lr": 0.1, "momentum": 0.9}),
    "SGD, weight decay": (optim.SGD, rules.sgd, 1, False, {"lr": 0.1, "weight_decay": 0.2}),
    "SGD, both": (optim.SGD, rules.sgd, 1, False, {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.2}),
    "Adam": (optim.Adam, rules.adam, 2, True, {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}),
    "Adam, no eps, no means": (optim.Adam, rules.adam, 2, True, {"lr": 0.02, "betas": (0.0, 0.0), "eps": 0.0}),
    "Adam, weight decay": (optim.Adam, rules.adam, 2, True, ADAM | {"weight_decay": 0.3}),
    "AdamW": (optim.AdamW, rules.adamw, 2, True, ADAM | {"weight_decay": 0.3}),
    "AdamW, no decay": (optim.AdamW, rules.adamw, 2, True, ADAM | {"weight_decay": 0.0}),
}


@pytest.mark.parametrize("piece", [optim.flat.PIECE, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sometimes_unreached", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_the_optimizer_in_place_is_the_rule_as_printed(name, sometimes_unreached, dtype, piece, rng, monkeypatch):
    """Forty steps with a changing lr. A parameter the loss did not reach keeps its values, its moments and its t."""
    monkeypatch.setattr(optim.flat, "PIECE", piece)
    make, rule, n_moments, counts, settings = RULES[name]
    ps = parameters(rng, dtype)
    optimizer = make(ps, **settings)
    expected = [p.data.copy() for p in ps]
    moments = [[np.zeros(p.shape, dtype)] * n_moments for p in ps]
    updates = [0] * len(ps)
    decay = [settings.get("weight_decay", 0.0) * (p.ndim >= 2) for p in ps]  # none for biases

    for step in range(40):
        optimizer.lr = lr = settings["lr"] * (1 + step % 5)
        give_gradients(ps, rng, step if sometimes_unreached else None)
        for i, p in enumerate(ps):
            if p.grad is not None:
                updates[i] += 1
                t = [updates[i]] if counts else []
                here = settings | {"lr": lr, "weight_decay": decay[i]}
                expected[i], *moments[i] = rule(expected[i], p.grad, *moments[i], *t, **here)
        optimizer.step()

    state = optimizer.state_dict()
    assert state["updates"] == updates
    for i, p in enumerate(ps):
        assert p.dtype == expected[i].dtype == dtype
        assert_close(p.data, expected[i], dtype)
        if name.startswith("Adam") or settings.get("momentum"):  # SGD without momentum keeps no u
            for key, moment in zip(optimizer.moments, moments[i], strict=True):
                assert_close(state[key][i], moment, dtype)


def assert_close(a, b, dtype):
    """Forty steps round a few times each, at the scale of the largest number."""
    np.testing.assert_allclose(a, b, rtol=0, atol=100 * np.finfo(dtype).eps * max(1, np.abs(b).max()))


def test_a_rule_writes_into_nothing_it_was_given(rng):
    for make, rule, n_moments, counts, settings in RULES.values():
        given = [rng.standard_normal((3, 2)) for _ in range(2)] + [rng.random((3, 2)) for _ in range(n_moments)]
        before = [a.copy() for a in given]
        results = rule(*given, *([1] if counts else []), **settings)
        assert len(results) == 1 + len(make.moments)
        for a, b in zip(given, before, strict=True):
            np.testing.assert_array_equal(a, b)


def test_weight_decay_is_the_gradient_of_half_the_squared_norm(rng):
    theta, g = rng.standard_normal((2, 4))
    decayed, _ = rules.sgd(theta, g, np.zeros(4), lr=0.1, weight_decay=0.5)

    def penalty(x):
        return 0.25 * (x**2).sum()

    h = 1e-5
    gradient = [(penalty(theta + h * e) - penalty(theta - h * e)) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(decayed, theta - 0.1 * (g + gradient), rtol=1e-8)


def test_under_a_constant_gradient_the_corrected_moments_are_its_mean_and_its_square():
    """So every step of Adam is lr along the sign, whatever the scale: the corrections do what they are for."""
    g = np.array([1e-3, -5.0, 2.0])
    theta, m, v = np.zeros(3), np.zeros(3), np.zeros(3)
    for t in range(1, 30):
        theta, m, v = rules.adam(theta, g, m, v, t, lr=0.1, betas=(0.9, 0.999), eps=0.0)
        np.testing.assert_allclose(m / (1 - 0.9**t), g, rtol=1e-12)
        np.testing.assert_allclose(v / (1 - 0.999**t), g**2, rtol=1e-10)  # 1 - 0.999 has lost 3 digits
        np.testing.assert_allclose(theta, -0.1 * t * np.sign(g), rtol=1e-10)


def test_adamw_shrinks_all_weights_at_one_rate_and_adam_does_not():
    theta = np.array([1.0, 1.0])
    g = np.array([100.0, 0.01])
    settings = {"lr": 0.1, "betas": (0.0, 0.0), "eps": 0.0}
    zero = np.zeros(2)
    alone, _, _ = rules.adam(theta, g, zero, zero, 1, **settings)
    decoupled, _, _ = rules.adamw(theta, g, zero, zero, 1, **settings, weight_decay=0.5)
    np.testing.assert_allclose(alone - decoupled, 0.05)
    coupled, _, _ = rules.adam(theta, g, zero, zero, 1, **settings, weight_decay=0.5)
    np.testing.assert_allclose(coupled, alone)  # with both moments of this step alone, decay drops out entirely
