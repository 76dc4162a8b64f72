"""The stopwatch counts every op and every VJP once, in the right module, and changes nothing."""

import cProfile
import profile as standard_profile
import time

import numpy as np
import pytest

import minigrad as mg
import minigrad.debug.profile
from minigrad import engine, nn
from minigrad.debug.profile import Profile, Time


def slow(x):
    """y = x, taking 10 ms forward and 30 ms backward"""
    time.sleep(0.01)

    def vjp_x(grad_y):
        time.sleep(0.03)
        return grad_y

    return x + 0, vjp_x


slow = engine.as_op(slow)  # not @op: it should not stay in OPS


def tensor(*values):
    return mg.Tensor(np.array(values, np.float32), requires_grad=True)


def gpt(n_layers=2):
    return nn.GPT(nn.GPTConfig(7, 5, n_layers, n_heads=2, d_model=8), np.random.default_rng(0))


def gpt_step(model):
    ids = np.arange(10).reshape(2, 5) % 7
    loss = mg.cross_entropy(model(ids), ids)
    loss.backward()
    return loss


# --- what is counted ---------------------------------------------------------------------------------------------


def test_every_call_is_counted_once_forward_and_backward():
    x = tensor(1.0, 2.0)
    with Profile() as profile:
        (mg.exp(x) * mg.exp(x) + mg.tanh(x.detach())).sum().backward()
    calls = {op: (time.forward_calls, time.backward_calls) for op, time in profile.by_op().items()}
    assert calls == {"exp": (2, 2), "mul": (1, 1), "tanh": (1, 0), "add": (1, 1), "sum": (1, 1)}


def test_time_is_found_where_it_was_spent():
    with Profile() as profile:
        y = slow(slow(tensor(1.0)))
        y.sum().backward()
        time.sleep(0.02)
    spent = profile.by_op()["slow"]
    assert 0.02 <= spent.forward < profile.seconds - 0.06
    assert 0.06 <= spent.backward < profile.seconds - 0.02
    assert spent.both == spent.forward + spent.backward
    assert next(iter(profile.by_op())) == "slow"  # the slowest first
    in_ops = sum(time.both for time in profile.times.values())
    assert profile.seconds - in_ops >= 0.02  # our own sleep is outside of ops


def test_ops_under_no_grad_are_timed_too():
    with Profile() as profile, mg.no_grad():
        mg.exp(tensor(1.0))
    assert profile.by_op()["exp"].forward_calls == 1


def test_outside_its_block_it_sees_nothing_and_entered_again_it_adds_up():
    x = tensor(1.0)
    profile = Profile()
    mg.exp(x)
    assert not profile.times and profile.seconds == 0
    for n in (1, 2):
        with profile:
            mg.exp(x)
        mg.exp(x)
        assert profile.by_op()["exp"].forward_calls == n


def test_an_op_that_fails_is_not_counted_and_the_next_one_has_only_its_own_time():
    x = tensor(1.0, 2.0)
    with Profile() as profile:
        with pytest.raises(ValueError):
            mg.add(x, tensor(1.0, 2.0, 3.0))
        time.sleep(0.2)
        mg.exp(x)
    assert list(profile.by_op()) == ["exp"]
    assert profile.by_op()["exp"].both < 0.2


def test_an_error_ends_the_watching():
    profile = Profile()
    with pytest.raises(ZeroDivisionError), profile:
        raise ZeroDivisionError
    mg.exp(tensor(1.0))
    assert not profile.times


def test_watching_changes_no_bit():
    models = gpt(), gpt()
    plain = gpt_step(models[0])
    with Profile():
        watched = gpt_step(models[1])
    assert plain.item() == watched.item()
    for mine, theirs in zip(*(model.parameters() for model in models), strict=True):
        np.testing.assert_array_equal(mine.grad, theirs.grad)


# --- modules -----------------------------------------------------------------------------------------------------


def test_a_module_has_the_time_of_all_inside_it():
    with Profile() as profile:
        gpt_step(gpt())
    modules = profile.by_module()
    for name, found in modules.items():
        inside = [t for (_, scope), t in profile.times.items() if not name or f"{scope}.".startswith(f"{name}.")]
        assert found.both == pytest.approx(sum(t.both for t in inside))
        assert found.backward_calls == sum(t.backward_calls for t in inside) > 0
    assert {"", "token_embedding", "blocks.0", "blocks.1.attn.query", "head"} <= set(modules)
    assert "blocks" not in modules  # a list of modules is none itself


def test_modules_stand_in_order_of_execution_the_outer_one_first():
    with Profile() as profile:
        gpt_step(gpt())
    names = list(profile.by_module())
    order = ["", "token_embedding", "blocks.0", "blocks.0.norm1", "blocks.0.attn", "blocks.0.mlp", "blocks.1", "head"]
    assert [name for name in names if name in order] == order


def test_layers_taken_together_are_the_sum_of_all():
    with Profile() as profile:
        gpt_step(gpt(n_layers=3))
    each, together = profile.by_module(), profile.by_module(together=True)
    summed = sum((each[f"blocks.{i}.mlp"] for i in range(3)), Time())
    assert together["blocks.*.mlp"].both == pytest.approx(summed.both)
    assert together["blocks.*.mlp"].forward_calls == summed.forward_calls
    assert together[""] == each[""]


# --- the table ---------------------------------------------------------------------------------------------------


def test_the_shares_printed_add_up_to_the_whole():
    with Profile() as profile:
        gpt_step(gpt())
    ops, modules = str(profile).split("\n\n")
    head, *lines = ops.splitlines()
    assert head.split()[0] == "op" and "outside of ops" in ops
    *shares, whole = (float(line.split()[-1].removesuffix("%")) for line in lines)
    assert whole == 100
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))  # each is rounded to 0.1
    assert len({len(line) for line in ops.splitlines()}) == 1  # aligned
    assert "blocks.*.attn" in modules and "all modules" in modules


def test_an_empty_profile_prints():
    with Profile() as profile:
        pass
    assert "outside of ops" in str(profile)
    assert "outside of ops" in str(Profile())


def test_the_standard_library_keeps_its_profile():
    assert standard_profile is not minigrad.debug.profile
    assert standard_profile.Profile is not Profile
    assert cProfile._pyprofile is standard_profile  # cProfile imports it by this name
