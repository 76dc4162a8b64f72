"""Optimizers: PyTorch's updates, the memory they own, what they skip, what they refuse; schedule and clipping."""

from __future__ import annotations

import copy
import gc
import json
import math
import tracemalloc
import weakref
from itertools import pairwise

import numpy as np
import pytest

from minigrad import Tensor, cross_entropy, optim
from minigrad.nn import GPT, GPTConfig, Linear, Parameter, Sequential
from minigrad.optim import SGD, Adam, AdamW, clip_grad_norm, cosine_schedule

# name: (ours, PyTorch's class, PyTorch's settings)
OPTIMIZERS = {
    "SGD": (lambda p: SGD(p, 0.1), "SGD", {"lr": 0.1}),
    "SGD, weight decay": (lambda p: SGD(p, 0.1, weight_decay=0.2), "SGD", {"lr": 0.1, "weight_decay": 0.2}),
    "SGD, momentum": (lambda p: SGD(p, 0.1, momentum=0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    "SGD, both": (
        lambda p: SGD(p, 0.1, momentum=0.8, weight_decay=0.2),
        "SGD",
        {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.2},
    ),
    "Adam": (lambda p: Adam(p, 0.02), "Adam", {"lr": 0.02}),
    "Adam, weight decay": (
        lambda p: Adam(p, 0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.3),
        "Adam",
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3},
    ),
    "AdamW": (lambda p: AdamW(p), "AdamW", {"lr": 1e-3, "weight_decay": 0.01}),
    "AdamW, settings": (
        lambda p: AdamW(p, 0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.3),
        "AdamW",
        {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3},
    ),
}
SHAPES = [(3,), (4, 3), (), (5, 2), (2,), (2, 2, 2)]  # biases between weights: the flat arrays are in another order


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def parameters(rng, dtype=np.float64):
    return [Parameter(rng.standard_normal(shape).astype(dtype)) for shape in SHAPES]


def reached(step, i):
    """Parameters 1 and 4 are left out in some of the steps, 1 also in the first; 5 until step 10."""
    return not ((i == 1 and step % 3 == 0) or (i == 4 and 5 <= step < 9) or (i == 5 and step < 10))


def give_gradients(ps, rng, step=None):
    for i, p in enumerate(ps):
        grad = rng.standard_normal(p.shape)
        p.grad = grad if step is None or reached(step, i) else None


# --- the updates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sometimes_unreached", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_are_those_of_pytorch(name, sometimes_unreached, rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: no parity test")
    make, their_name, settings = OPTIMIZERS[name]
    ours = parameters(rng)
    theirs = [torch.tensor(p.data.copy(), requires_grad=True) for p in ours]
    optimizer = make(ours)
    groups = [
        {"params": [t for t in theirs if t.ndim >= 2]},
        {"params": [t for t in theirs if t.ndim < 2], "weight_decay": 0.0},
    ]
    their_optimizer = getattr(torch.optim, their_name)(groups, **settings)

    for step in range(20):
        lr = settings["lr"] * (1 + step) / 10
        optimizer.lr = lr
        for group in their_optimizer.param_groups:
            group["lr"] = lr
        give_gradients(ours, rng, step if sometimes_unreached else None)
        for p, t in zip(ours, theirs, strict=True):
            t.grad = None if p.grad is None else torch.tensor(p.grad.copy())
        optimizer.step()
        their_optimizer.step()
        for p, t in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.data, t.detach().numpy(), rtol=1e-12, atol=1e-13)


def test_adams_first_step_is_lr_along_the_sign(rng):
    p = Parameter([1.0, 2.0, 3.0], dtype=np.float64)
    optimizer = Adam([p], 0.1)
    p.grad = [1e-3, -5.0, 0.0]
    optimizer.step()
    np.testing.assert_allclose(p.data, [0.9, 2.1, 3.0], rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_going_piece_by_piece_changes_no_bit(name, monkeypatch):
    def run():
        rng = np.random.default_rng(0)
        ps = parameters(rng, np.float32)
        optimizer = OPTIMIZERS[name][0](ps)
        for step in range(12):
            give_gradients(ps, rng, step)
            optimizer.step()
        return [p.data.copy() for p in ps]

    whole = run()
    monkeypatch.setattr(optim.flat, "PIECE", 7)
    for a, b in zip(whole, run(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_stays_float32(name, rng):
    ps = parameters(rng, np.float32)
    optimizer = OPTIMIZERS[name][0](ps)
    optimizer.lr = np.float64(0.01)  # as a schedule written with NumPy returns it
    give_gradients(ps, rng)
    optimizer.step()
    assert {p.dtype for p in ps} == {np.dtype(np.float32)}
    assert {p.grad.dtype for p in ps} == {np.dtype(np.float32)}
    state = optimizer.state_dict()
    assert {array.dtype for mean in optimizer.means for array in state[mean]} == {np.dtype(np.float32)}


def test_weight_decay_leaves_biases_alone():
    weight, bias = Parameter(np.ones((2, 2))), Parameter(np.ones(2))
    optimizer = AdamW([bias, weight], 0.1, weight_decay=0.5)
    weight.grad, bias.grad = np.zeros((2, 2)), np.zeros(2)
    optimizer.step()
    np.testing.assert_allclose(weight.data, 0.95)
    np.testing.assert_array_equal(bias.data, 1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_the_loss_did_not_reach_stays_bit_for_bit(name, rng):
    model = Sequential(Linear(2, 2, rng=rng), Linear(2, 2, rng=rng))
    used, unused = model.layers
    optimizer = OPTIMIZERS[name][0](model.parameters())
    before = unused.weight.data.copy()
    for _ in range(3):
        optimizer.zero_grad()
        loss = used(Tensor([[1.0, 2.0]])).sum()
        loss.backward()
        optimizer.step()
    np.testing.assert_array_equal(unused.weight.data, before)
    assert unused.weight.leaf.version == 0
    assert used.weight.leaf.version == 3


def test_a_gradient_of_zero_is_not_a_missing_one(rng):
    ps = [Parameter(np.ones((2, 2))), Parameter(np.ones((2, 2)))]
    optimizer = SGD(ps, 0.1, weight_decay=1.0)
    ps[0].grad = np.zeros((2, 2))
    optimizer.step()
    np.testing.assert_allclose(ps[0].data, 0.9)
    np.testing.assert_array_equal(ps[1].data, 1)


# --- the memory ------------------------------------------------------------------------------------------------------


def test_parameters_and_gradients_lie_in_two_flat_arrays(rng):
    ps = parameters(rng)
    values = [p.data.copy() for p in ps]
    optimizer = SGD(ps, 0.1)
    give_gradients(ps, rng)
    assert optimizer.values.shape == optimizer.gradients.shape == (sum(p.size for p in ps),)
    for p, v in zip(ps, values, strict=True):
        np.testing.assert_array_equal(p.data, v)
        assert np.shares_memory(p.data, optimizer.values)
        assert np.shares_memory(p.grad, optimizer.gradients)
        assert p.data.shape == p.grad.shape == p.shape
    flat = np.concatenate([p.data.ravel() for p in (*ps[1::2], *ps[0::2])])  # the ones to be decayed first
    np.testing.assert_array_equal(optimizer.values, flat)


def test_parameters_stay_read_only_and_can_still_be_set(rng):
    ps = parameters(rng)
    optimizer = SGD(ps, 0.1)
    with pytest.raises(ValueError, match="read-only"):
        ps[1].data[0, 0] = 3
    ps[1].data = np.full((4, 3), 7.0)
    assert (optimizer.values == 7).sum() == 12


def test_an_array_in_any_order_of_memory_keeps_its_numbers():
    matrix = np.arange(6.0).reshape(2, 3)
    p = Parameter(np.asfortranarray(matrix))
    optimizer = SGD([p], 1.0)
    p.grad = np.asfortranarray(matrix)
    np.testing.assert_array_equal(p.data, matrix)
    optimizer.step()
    np.testing.assert_array_equal(p.data, 0)


def test_a_parameter_given_twice_counts_once():
    p = Parameter([1.0])
    optimizer = SGD([p, p], 0.1)
    assert len(optimizer.parameters) == 1
    p.grad = [1.0]
    optimizer.step()
    np.testing.assert_allclose(p.data, [0.9], rtol=1e-6)


def test_gradients_from_before_are_kept_and_added_to():
    p = Parameter([1.0, 2.0])
    (p * [3.0, 4.0]).sum().backward()
    optimizer = SGD([p], 1.0)
    (p * [10.0, 10.0]).sum().backward()
    np.testing.assert_array_equal(p.grad, [13, 14])
    optimizer.step()
    np.testing.assert_array_equal(p.data, [-12, -12])
    optimizer.zero_grad()
    assert p.grad is None
    (p * [1.0, 1.0]).sum().backward()
    np.testing.assert_array_equal(p.grad, [1, 1])


def test_a_step_between_forward_and_backward_is_caught(rng):
    model = Sequential(Linear(2, 2, rng=rng))
    optimizer = SGD(model.parameters(), 0.1)
    x = Tensor([[1.0, 2.0]])
    model(x).sum().backward()
    old = model(x).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"in layers\.0: linear used weight of shape \(2, 2\), which was changed"):
        old.backward()


def test_a_step_allocates_next_to_nothing(rng):
    p = Parameter(rng.standard_normal(300_000).astype(np.float32))
    q = Parameter(rng.standard_normal((300, 1000)).astype(np.float32))
    for optimizer in (SGD([p], 0.1, momentum=0.9, weight_decay=0.1), AdamW([q])):
        for parameter in optimizer.parameters:
            parameter.grad = np.ones(parameter.shape)
        optimizer.step()
        tracemalloc.start()
        optimizer.step()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 20_000  # bytes, for parameters of 1,200,000


def test_an_optimizer_is_gone_when_its_last_name_is(rng):
    gc.collect()
    gc.disable()
    try:
        p = Parameter([1.0])
        optimizer = SGD([p], 0.1)
        p.grad = [1.0]
        optimizer.step()
        gone = weakref.ref(optimizer)
        del optimizer
        assert gone() is None
    finally:
        gc.enable()


def test_a_second_optimizer_is_refused_until_the_first_is_gone(rng):
    model = Sequential(Linear(2, 2, rng=rng), Linear(2, 2, rng=rng))
    first = SGD([model.layers[1].weight], 0.5)
    array = model.layers[0].weight.data
    with pytest.raises(RuntimeError, match=r"weight of shape \(2, 2\) already belongs to SGD\("):
        AdamW(model.parameters())
    assert model.layers[0].weight.data is array  # nothing was taken
    model.layers[1].weight.grad = np.ones((2, 2))
    before = model.layers[1].weight.data.copy()
    del first
    second = SGD(model.parameters(), 0.25)
    np.testing.assert_array_equal(model.layers[1].weight.grad, np.ones((2, 2)))
    second.step()
    np.testing.assert_array_equal(model.layers[1].weight.data, before - np.float32(0.25))


def test_an_optimizer_cannot_be_copied(rng):
    optimizer = SGD([Parameter([1.0])], 0.1)
    with pytest.raises(TypeError, match="owns its parameters' memory: make a new one"):
        copy.deepcopy(optimizer)


def test_what_is_no_parameter_is_refused(rng):
    with pytest.raises(ValueError, match="at least one parameter"):
        SGD([], 0.1)
    with pytest.raises(TypeError, match=r"such as model\.parameters\(\), not Linear"):
        SGD(Linear(2, 2), 0.1)
    with pytest.raises(TypeError, match="takes Tensors, not ndarray"):
        SGD([np.ones(2)], 0.1)
    with pytest.raises(ValueError, match="with requires_grad=True"):
        SGD([Tensor([1.0])], 0.1)
    with pytest.raises(ValueError, match=r"of shape \(1,\) was computed by mul"):
        SGD([Parameter([1.0]) * 2], 0.1)
    wide, narrow = Linear(2, 2), Linear(2, 2)
    wide.astype(np.float64)
    with pytest.raises(TypeError, match=r"one dtype, but weight is float32 and weight float64: use model\.astype"):
        SGD([*wide.parameters(), *narrow.parameters()], 0.1)
    with pytest.raises(ValueError, match="betas"):
        Adam([Parameter([1.0])], betas=(0.9, 1.0))


def test_a_frozen_parameter_is_taken_and_left_alone(rng):
    layer = Linear(2, 2, rng=rng)
    layer.weight.requires_grad = False
    before = layer.weight.data.copy()
    optimizer = AdamW(layer.parameters())
    layer(Tensor([[1.0, 2.0]])).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(layer.weight.data, before)
    assert layer.bias.data.all()  # started at 0
    layer.weight.requires_grad = True  # and thawed
    optimizer.zero_grad()
    layer(Tensor([[1.0, 2.0]])).sum().backward()
    optimizer.step()
    assert (layer.weight.data != before).all()


# --- saving and loading ----------------------------------------------------------------------------------------------


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

    scalars = {key: value for key, value in state.items() if key not in optimizer.means}
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
        (lambda s: s["v"].__setitem__(1, np.ones((3, 4))), r"v of shape \(3, 4\) for parameter \(number 1\).*\(4, 3\)"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(rng, change, says):
    ps = parameters(rng)
    optimizer = Adam(ps)
    state = optimizer.state_dict() | {"lr": 7.0, "m": [np.ones(p.shape) for p in ps]}
    change(state)
    with pytest.raises(ValueError, match=says):
        optimizer.load_state_dict(state)
    assert optimizer.lr == 1e-3
    assert not any(m.any() for m in optimizer.state_dict()["m"])


# --- schedule and clipping -------------------------------------------------------------------------------------------


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
    with pytest.raises(FloatingPointError, match=r"gradient of bias \(number 1\) has nan or inf"):
        clip_grad_norm(optimizer, 1.0)
    with pytest.raises(ValueError, match="a norm above 0"):
        clip_grad_norm(optimizer, 0)


# --- all together ----------------------------------------------------------------------------------------------------


def test_adamw_trains_a_gpt(rng):
    model = GPT(GPTConfig(vocab_size=7, block_size=8, n_layers=1, n_heads=2, d_model=16), rng)
    optimizer = AdamW(model.parameters(), 1e-2)
    ids = np.arange(9) % 7
    for step in range(60):
        optimizer.lr = cosine_schedule(step, lr=1e-2, warmup=5, steps=60)
        optimizer.zero_grad()
        loss = cross_entropy(model(ids[:-1]), ids[1:])
        loss.backward()
        clip_grad_norm(optimizer, 1.0)
        optimizer.step()
    assert loss.item() < 0.05
