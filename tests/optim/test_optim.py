"""The optimizers: PyTorch's updates, the memory they own, what they skip and what they refuse."""

from __future__ import annotations

import copy
import gc
import math
import tracemalloc
import weakref

import numpy as np
import pytest
from optimizers import OPTIMIZERS, give_gradients, parameters

from minigrad import Tensor, cross_entropy, optim
from minigrad.nn import GPT, GPTConfig, Linear, Parameter, Sequential
from minigrad.optim import SGD, Adam, AdamW, clip_grad_norm, cosine_schedule
from minigrad.optim.flat import PIECE

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
    assert {array.dtype for moment in optimizer.moments for array in state[moment]} == {np.dtype(np.float32)}


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
    with pytest.raises(
        RuntimeError, match=r"in layers\.0: linear used layers\.0\.weight of shape \(2, 2\), which was changed"
    ):
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


WRONG_SETTINGS = [
    (SGD, {"lr": -1}, ValueError, "lr must be a finite number from 0 up, not -1"),
    (SGD, {"lr": math.nan}, ValueError, "lr must be a finite number from 0 up, not nan"),
    (SGD, {"lr": math.inf}, ValueError, "lr must be .*, not inf"),
    (SGD, {"lr": "0.1"}, TypeError, "lr must be .*, not '0.1'"),
    (SGD, {"lr": None}, TypeError, "lr must be .*, not None"),
    (SGD, {"lr": True}, TypeError, "lr must be .*, not True"),
    (SGD, {"lr": 0.1, "momentum": 1}, ValueError, "momentum must be a number from 0 to below 1, not 1"),
    (SGD, {"lr": 0.1, "momentum": -0.1}, ValueError, "momentum must be .*, not -0.1"),
    (SGD, {"lr": 0.1, "weight_decay": -0.1}, ValueError, "weight_decay must be a finite number from 0 up, not -0.1"),
    (Adam, {"eps": -1e-8}, ValueError, "eps must be a finite number from 0 up, not -1e-08"),
    (Adam, {"betas": (0.9, 1.0)}, ValueError, r"betas must be two numbers from 0 to below 1, not \(0.9, 1.0\)"),
    (Adam, {"betas": (0.9, -0.1)}, ValueError, "betas must be"),
    (Adam, {"betas": (0.9, 0.99, 0.999)}, ValueError, r"betas must be two .*, not \(0.9, 0.99, 0.999\)"),
    (Adam, {"betas": 0.9}, ValueError, "betas must be two .*, not 0.9"),
    (Adam, {"betas": ("0.9", "0.99")}, TypeError, "betas must be two"),
    (AdamW, {"weight_decay": math.nan}, ValueError, "weight_decay must be .*, not nan"),
]


@pytest.mark.parametrize(("make", "settings", "error", "says"), WRONG_SETTINGS)
def test_a_setting_out_of_range_is_named_and_takes_nothing(make, settings, error, says):
    p = Parameter([1.0, 2.0])
    owner = SGD([p], 0.1)
    with pytest.raises(error, match=says):
        make([p], **settings)
    p.grad = [1.0, 1.0]
    owner.step()  # the parameter still belongs to it


@pytest.mark.parametrize(("make", "settings", "error", "says"), WRONG_SETTINGS)
def test_a_setting_is_checked_whenever_it_is_set(make, settings, error, says):
    optimizer = make([Parameter([1.0])], lr=0.25)
    state = optimizer.state_dict()
    with pytest.raises(error, match=says):
        optimizer.load_state_dict(state | {"lr": 7.0, "updates": [3]} | settings)
    name, value = list(settings.items())[-1]
    with pytest.raises(error, match=says):
        setattr(optimizer, name, value)
    after = optimizer.state_dict()
    assert {name: after[name] for name in (*optimizer.settings, "updates")} == {
        name: state[name] for name in (*optimizer.settings, "updates")
    }


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


def test_a_step_that_ends_halfway_says_so_and_a_checkpoint_makes_it_whole():
    """The second piece overflows. An update cannot be undone, since it keeps no copy of the old numbers."""
    p = Parameter(np.zeros(PIECE + 1))
    optimizer = Adam([p], 0.1)
    before = p.data.copy(), optimizer.state_dict()
    old = (p * 1.0).sum()
    p.grad = np.append(np.ones(PIECE), 1e200)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError) as caught:
        optimizer.step()
    assert "Adam.step() ended halfway: some numbers are updated and others not" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="changed after the forward pass"):  # what is updated counts as changed
        old.backward()
    p.data = before[0]
    optimizer.load_state_dict(before[1])
    p.grad = np.ones(PIECE + 1)
    optimizer.step()
    np.testing.assert_allclose(p.data, -0.1, rtol=1e-6)


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
