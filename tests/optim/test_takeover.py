"""A parameter has one optimizer: a newer one takes it over, values and gradients and all, and the old one says so."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from optimizers import OPTIMIZERS, give_gradients, parameters

from minigrad import Tensor
from minigrad.nn import Linear, Parameter, Sequential
from minigrad.optim import SGD, Adam, AdamW, clip_grad_norm


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_cell_can_be_run_again(name, rng):
    """The first optimizer is still alive, as after an interrupted cell, when the second is made."""
    ps = parameters(rng)
    make = OPTIMIZERS[name][0]
    optimizer = make(ps)
    give_gradients(ps, rng)
    optimizer.step()
    fresh = [Parameter(p.data) for p in ps]
    kept_alive = optimizer
    optimizer, reference = make(ps), make(fresh)
    for step in range(5):
        give_gradients(ps, rng, step)
        for p, other in zip(ps, fresh, strict=True):
            other.grad = p.grad
        optimizer.step()
        reference.step()
    for p, other in zip(ps, fresh, strict=True):
        np.testing.assert_array_equal(p.data, other.data)
    assert kept_alive is not optimizer


def test_values_and_gradients_move_along(rng):
    ps = parameters(rng)
    old = SGD(ps, 0.1)
    give_gradients(ps, rng, step=0)  # parameters 1 and 5 have none
    values, grads = [p.data.copy() for p in ps], [None if p.grad is None else p.grad.copy() for p in ps]
    versions = [p.leaf.version for p in ps]
    new = Adam(ps)
    for p, value, grad, version in zip(ps, values, grads, versions, strict=True):
        np.testing.assert_array_equal(p.data, value)
        assert np.shares_memory(p.data, new.values) and not np.shares_memory(p.data, old.values)
        assert p.leaf.version == version  # the same numbers: graphs made before are still good
        if grad is None:
            assert p.grad is None
        else:
            np.testing.assert_array_equal(p.grad, grad)
            assert np.shares_memory(p.grad, new.gradients) and not np.shares_memory(p.grad, old.gradients)


def test_a_graph_made_before_goes_back_into_the_new_memory():
    p = Parameter([1.0, 2.0])
    old = SGD([p], 0.1)
    (p * [1.0, 1.0]).sum().backward()
    loss = (p * p).sum()
    new = SGD([p], 1.0)
    loss.backward()
    np.testing.assert_array_equal(p.grad, [3, 5])  # 1 + 2p: what was there, and what arrived
    new.step()
    np.testing.assert_array_equal(p.data, [-2, -3])
    np.testing.assert_array_equal(old.values, [1, 2])


@pytest.mark.parametrize(
    "use",
    [
        lambda old: old.step(),
        lambda old: old.zero_grad(),
        lambda old: old.state_dict(),
        lambda old: old.load_state_dict({}),
        lambda old: clip_grad_norm(old, 1.0),
    ],
    ids=["step", "zero_grad", "state_dict", "load_state_dict", "clip_grad_norm"],
)
@pytest.mark.parametrize("newer_is_alive", [True, False])
def test_the_old_optimizer_says_who_has_its_parameters_and_changes_nothing(use, newer_is_alive, rng):
    model = Sequential(Linear(2, 2, rng=rng))
    old = SGD(model.parameters(), 0.1)
    new = AdamW(model.parameters())
    model(Tensor([[1.0, 2.0]])).sum().backward()
    values = [p.data.copy() for p in model.parameters()]
    grads = [p.grad.copy() for p in model.parameters()]
    if not newer_is_alive:
        del new
    who = r"Use the newer one, AdamW\(2 parameters" if newer_is_alive else "Use the newer one$"
    with pytest.raises(RuntimeError, match=rf"this SGD no longer owns \S*weight of shape \(2, 2\): .*{who}"):
        use(old)
    for p, value, grad in zip(model.parameters(), values, grads, strict=True):
        np.testing.assert_array_equal(p.data, value)
        np.testing.assert_array_equal(p.grad, grad)
        assert p.leaf.version == 0


def test_one_shared_parameter_is_enough(rng):
    """Old: a and b. New: b and c. b goes along; a stays where it is, unharmed, and is free for another optimizer."""
    a, b, c = (Parameter(rng.standard_normal((2, 3))) for _ in range(3))
    old = SGD([a, b], 0.5, momentum=0.9)
    for p in (a, b, c):
        p.grad = np.full((2, 3), 2.0)
    before = [p.data.copy() for p in (a, b, c)]
    new = SGD([b, c], 0.25)
    with pytest.raises(RuntimeError, match="no longer owns"):
        old.step()
    for p, value in zip((a, b, c), before, strict=True):  # not even the parameter it still has
        np.testing.assert_array_equal(p.data, value)

    new.step()
    np.testing.assert_array_equal(a.data, before[0])
    np.testing.assert_array_equal(b.data, before[1] - 0.5)
    np.testing.assert_array_equal(c.data, before[2] - 0.5)

    del old
    third = SGD([a, c], 0.5)
    np.testing.assert_array_equal(a.grad, np.full((2, 3), 2.0))
    third.step()
    np.testing.assert_array_equal(a.data, before[0] - 1)
    np.testing.assert_array_equal(c.data, before[2] - 1.5)
    np.testing.assert_array_equal(b.data, before[1] - 0.5)
    with pytest.raises(RuntimeError, match="no longer owns"):
        new.step()


def test_the_moments_are_handed_on_by_a_state_taken_before(rng):
    ps, others = parameters(rng), parameters(np.random.default_rng(0))
    optimizer, unbroken = AdamW(ps), AdamW(others)
    for step in range(6):
        if step == 3:
            state = optimizer.state_dict()
            optimizer = AdamW(ps, lr=7.0)
            optimizer.load_state_dict(state)
        give_gradients(ps, rng, step)
        for p, other in zip(ps, others, strict=True):
            other.grad = p.grad
        optimizer.step()
        unbroken.step()
    for p, other in zip(ps, others, strict=True):
        np.testing.assert_array_equal(p.data, other.data)


def test_what_is_refused_takes_nothing(rng):
    a, wide = Parameter(np.ones(2, np.float32)), Parameter(np.ones(2))
    owner = SGD([a], 0.5)
    array = a.data
    with pytest.raises(TypeError, match="one dtype"):
        SGD([a, wide], 0.1)
    assert a.data is array
    a.grad = [1.0, 1.0]
    owner.step()
    np.testing.assert_array_equal(a.data, [0.5, 0.5])


def test_the_old_optimizer_can_be_freed_and_leaves_the_new_one_whole():
    gc.collect()
    gc.disable()
    try:
        p = Parameter([1.0])
        old = SGD([p], 0.5)
        new = SGD([p], 0.25)
        gone = weakref.ref(old)
        del old
        assert gone() is None
        p.grad = [1.0]
        new.step()
        np.testing.assert_array_equal(p.data, [0.75])
    finally:
        gc.enable()
