"""`python -m minigrad`: the table of all ops and modules, and the cases and sizes it is made from."""

import inspect
import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from classic_mistakes import X, softmax_without_its_second_term

import minigrad
from minigrad import __main__ as command
from minigrad import nn
from minigrad.engine import as_op
from minigrad.finite_differences import gradcheck
from minigrad.finite_differences.cases import CASES, Case, case
from minigrad.finite_differences.modules import MODULES, ModuleCase, with_parameters
from minigrad.finite_differences.speed import SIZES, speed_up, typical
from minigrad.tensors.operators import OPS

# --- the cases ---------------------------------------------------------------------------------------------------


def test_a_case_is_data_for_any_version_of_an_op():
    c = case(X, axis=0)
    assert (c.arrays, c.static) == ((X,), {"axis": 0})
    np.testing.assert_array_equal(c.of(minigrad.mean)(X).data, X.mean(0))
    np.testing.assert_array_equal(c.of(np.sum)(X), X.sum(0))


def test_a_case_with_an_rng_draws_the_same_each_time():
    f = case(X, p=0.5, rng=3).of(minigrad.dropout)
    np.testing.assert_array_equal(f(X).data, f(X).data)
    assert not np.array_equal(f(X).data, case(X, p=0.5, rng=4).of(minigrad.dropout)(X).data)


# --- the table ---------------------------------------------------------------------------------------------------


@pytest.fixture
def only(monkeypatch):
    """Leave just these ops, as (op, cases), for the command to find, and these modules."""

    def leave(modules=None, **ops):
        for name in list(OPS):
            monkeypatch.delitem(OPS, name)
        for name in list(MODULES):
            monkeypatch.delitem(MODULES, name)
        for name, (op, cases) in ops.items():
            monkeypatch.setitem(OPS, name, op)
            monkeypatch.setitem(CASES, name, cases)
        for name, module_case in (modules or {}).items():
            monkeypatch.setitem(MODULES, name, module_case)

    return leave


def test_the_command_prints_a_row_for_every_op(only, capsys):
    only(**{name: (op, CASES[name]) for name, op in OPS.items() if name in ("exp", "hardmax", "gumbel_softmax")})
    assert command.main() == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["op", "cases", "worst", "relative", "error", "speed-up", "verdict"]
    rows = {line.split()[0]: line for line in table[1:4]}
    assert set(rows) == {"exp", "hardmax", "gumbel_softmax"}
    assert rows["exp"].endswith("ok") and "e-1" in rows["exp"]
    assert rows["hardmax"].endswith("ok, the gradient is 0")
    assert rows["gumbel_softmax"].endswith("estimator: differs, as declared")
    assert table[-1].startswith("3 ops with ") and ", 0 failed, " in table[-1]


def agreeing_estimator():
    return as_op(lambda x: (x * x, lambda g: 2 * g * x), name="square", estimator=True)


def test_the_command_fails_where_an_estimators_gradient_is_not_that_of_what_it_stands_for(only, capsys):
    def half_of_it(scores, *, axis=-1, mask=None):
        y, vjp = minigrad.straight_through.__wrapped__(scores, axis=axis, mask=mask)
        return y, lambda grad_y: vjp(grad_y) / 2

    wrong = as_op(half_of_it, name="straight_through", estimator=True)
    only(straight_through=(wrong, CASES["straight_through"]))
    assert command.main() == 1
    assert "its gradient is not that of softmax, which it stands for" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("op", "cases", "words"),
    [
        (softmax_without_its_second_term, [case(X)], "wrong gradient"),
        (minigrad.abs, [case(np.zeros(2))], "kink"),
        (minigrad.exp, [], "no cases"),
        (minigrad.exp, [case(np.array([np.nan]))], "raises ValueError"),
        (minigrad.straight_through, [case(X)], "declared estimator=True, but no case says so"),
        (agreeing_estimator(), [case(X, differs=True)], "declared to differ, but the verdict is ok"),
        (minigrad.exp, [Case((X,), {}, differs=True)], "declared estimator=False"),
    ],
    ids=["wrong", "kink", "no cases", "raises", "estimator without a case", "estimator agrees", "undeclared"],
)
def test_the_command_fails_where_an_op_does(only, capsys, op, cases, words):
    only(good=(minigrad.tanh, [case(X)]), bad=(op, cases))
    assert command.main() == 1
    out = capsys.readouterr().out
    assert words in out
    assert "FAILED" in out
    assert ", 1 failed, " in out


def test_version_and_help_answer_without_checking_anything(capsys, monkeypatch):
    monkeypatch.setattr(command, "print_table", lambda: pytest.fail("a check was run"))
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out == f"minigrad {minigrad.__version__}\n"
    with pytest.raises(SystemExit) as left:
        command.main(["--help"])
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert "against finite differences" in told
    tolerance = inspect.signature(gradcheck).parameters["tolerance"].default
    assert "up to 1e-6 passes" in told and tolerance == 1e-6


def test_ctrl_c_ends_the_check_in_a_line(capsys, monkeypatch):
    def stopped():
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "print_table", stopped)
    assert command.main([]) == 130
    assert capsys.readouterr().err == "\nstopped by Ctrl-C before the end\n"


def test_an_unknown_option_is_an_error(capsys):
    with pytest.raises(SystemExit) as left:
        command.main(["--no-such-option"])
    assert left.value.code == 2
    assert "--no-such-option" in capsys.readouterr().err


def test_a_reader_who_leaves_early_sees_no_traceback():
    """`python -m minigrad | head -1`: the pipe is closed while rows are still to come."""
    process = subprocess.Popen(
        [sys.executable, "-m", "minigrad"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    assert process.stdout.readline().startswith(b"op ")
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert errors == b""


# --- whole modules -----------------------------------------------------------------------------------------------


class TwoFactors(nn.Module):
    """y = x · used · other, where the path through `other` may be cut."""

    def __init__(self, cut):
        self.used, self.other, self.cut = nn.Parameter(np.ones(4)), nn.Parameter(np.ones(4)), cut

    def forward(self, x):
        return minigrad.mul(minigrad.mul(x, self.used), self.other.detach() if self.cut else self.other)


def test_a_module_has_a_row_with_its_parameters_for_cases(only, capsys):
    only(modules={"TwoFactors": ModuleCase(lambda nn: TwoFactors(cut=False), (X,))})
    assert command.main() == 0
    row, summary = capsys.readouterr().out.splitlines()[1::2]
    assert row.split()[:2] == ["TwoFactors", "2"] and row.endswith("ok")
    assert summary.startswith("0 ops with 0 cases, 1 modules with 2 parameters, 0 failed, ")


def test_a_gradient_that_misses_a_parameter_fails_and_names_it(only, capsys):
    only(modules={"TwoFactors": ModuleCase(lambda nn: TwoFactors(cut=True), (X,))})
    assert command.main() == 1
    out = capsys.readouterr().out
    assert "FAILED" in out and "1 failed" in out
    assert "argument 1, other of shape (4,): 4 of 4 elements differ" in out
    assert "no gradient arrived" in out


def test_a_module_that_raises_fails(only, capsys):
    only(modules={"TwoFactors": ModuleCase(lambda nn: TwoFactors(cut=False), (np.ones((2, 3)),))})
    assert command.main() == 1
    assert "TwoFactors raises ValueError" in capsys.readouterr().out


@pytest.mark.parametrize("name", MODULES)
def test_every_parameter_of_a_module_is_checked(name):
    """And with a gradient other than 0, but for the keys' bias: it adds the same to all scores of a query."""
    module = MODULES[name].build(nn)
    f, values = with_parameters(module)
    report = gradcheck(f, *values, *MODULES[name].inputs)
    by_name = {argument.name: argument for argument in report.arguments}
    parameters = dict(module.named_parameters())
    assert list(by_name)[: len(parameters)] == list(parameters)
    for parameter in parameters:
        assert by_name[parameter].shape == parameters[parameter].shape
        assert by_name[parameter].zero == parameter.endswith("key.bias")


def test_a_wrong_gradient_of_any_parameter_is_noticed():
    """A ten-thousandth too large is enough, wherever the parameter stands in the module."""
    f, values = with_parameters(nn.MultiHeadAttention(4, 2, causal=True))
    wrong = as_op(lambda x: (x, lambda g: 1.0001 * g), name="wrong")
    for i, value in enumerate(values):
        if value.name != "key.bias":  # its gradient is 0

            def g(*arguments, i=i):
                return f(*arguments[:i], wrong(arguments[i]), *arguments[i + 1 :])

            report = gradcheck(g, *values, *MODULES["nn.MultiHeadAttention"].inputs, raise_error=False)
            assert [argument.name for argument in report.arguments if argument.wrong] == [value.name]


def test_a_module_has_its_own_parameters_back_after_the_check():
    module = nn.MultiHeadAttention(4, 2)
    before = dict(module.named_parameters())
    numbers = module.state_dict()
    f, values = with_parameters(module)
    gradcheck(f, *values, MODULES["nn.MultiHeadAttention"].inputs[0])
    after = dict(module.named_parameters())
    assert list(after) == list(before)
    for name, parameter in after.items():
        assert parameter is before[name] and parameter.grad is None
        np.testing.assert_array_equal(parameter.data, numbers[name])


def test_a_parameter_used_in_two_places_is_one_argument():
    module = TwoFactors(cut=False)
    module.other = module.used
    f, values = with_parameters(module)
    assert [value.name for value in values] == ["used"]
    report = gradcheck(f, *values, X)
    assert [argument.name for argument in report.arguments] == ["used", ""]


# --- speed-up ----------------------------------------------------------------------------------------------------


def slow_square(seconds):
    def square(x):
        time.sleep(seconds)
        return x * x, lambda g: 2 * g * x

    return as_op(square)


def test_speed_up_is_the_time_of_the_page_divided_by_that_of_the_kernel():
    op, fast = slow_square(0.05), slow_square(0)

    def square(x):
        return fast(x)

    square.__wrapped__, square.indices = op.__wrapped__, ()
    assert speed_up(square, case(X)) > 2  # about a hundred
    assert not speed_up(fast, case(X)) > 2  # it is its own page


def test_speed_up_is_a_median_that_no_single_call_moves_and_is_left_out_where_a_busy_machine_hides_it():
    assert typical([2.0] * 6 + [0.01, 50, 90]) == 2
    assert typical([1.0, 0.98, 1.02, 1.05, 0.97] * 2) == pytest.approx(1, abs=0.03)  # as fast as the page
    assert math.isnan(typical([0.3, 0.4, 0.5, 0.5, 1.0, 2.0, 3.0, 3.0, 4.0]))


def test_the_table_shows_it_for_ops_with_a_kernel_and_a_dash_for_others(only, capsys, monkeypatch):
    with_kernel, without = slow_square(0), slow_square(0)
    with_kernel.kernel = with_kernel.__wrapped__
    monkeypatch.setitem(SIZES, "fast", lambda: case(X))
    for measured, shown in ((3.14159, "3.1"), (math.nan, "?")):
        monkeypatch.setattr(command, "speed_up", lambda op, example, measured=measured: measured)
        only(fast=(with_kernel, [case(X)]), plain=(without, [case(X)]))
        assert command.main() == 0
        rows = {line.split()[0]: line.split()[3] for line in capsys.readouterr().out.splitlines()[1:3]}
        assert rows == {"fast": shown, "plain": "–"}


@pytest.mark.parametrize("name", SIZES)
def test_the_sizes_are_calls_of_ops_in_float32(name):
    example = SIZES[name]()
    assert all(array.dtype in (np.float32, np.int64) for array in example.arrays)
    assert example.of(OPS[name])(*example.arrays).dtype == np.float32


def test_every_kernel_is_timed():
    assert {name for name, op in OPS.items() if getattr(op, "kernel", None) is not None} <= set(SIZES)
