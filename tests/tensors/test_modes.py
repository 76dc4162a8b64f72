"""no_grad, observers and scopes: each nests, ends with its block, and belongs to its thread."""

import threading

import numpy as np
import pytest

from agreement import leaf
from minigrad import Tensor, no_grad, watch
from minigrad.ops.elementwise import exp, tanh
from minigrad.tensors.modes import current_scope, in_scope
from observers import Calls, Log

# --- no_grad, and threads ----------------------------------------------------------------------------------------


def test_no_grad_tapes_nothing():
    x = leaf([1.0])
    with no_grad():
        y = exp(x * 2)
        assert y.node is None and not y.requires_grad
    assert exp(x).node is not None


def test_no_grad_nests_and_survives_errors():
    x = leaf([1.0])
    again = no_grad()
    with no_grad():
        with again, again:
            pass
        assert (x * 2).node is None
        with pytest.raises(ZeroDivisionError), no_grad():
            _ = 1 / 0
        assert (x * 2).node is None
    assert (x * 2).node is not None


def test_no_grad_decorates_functions_also_recursive_ones():
    x = leaf([1.0])

    @no_grad()
    def power(n):
        """x to the n."""
        assert (x * 2).node is None
        return x if n == 1 else x * power(n - 1)

    assert power(5).node is None and power.__name__ == "power" and power.__doc__ == "x to the n."
    assert (x * 2).node is not None


def test_no_grad_decorates_without_parentheses_and_methods_too():
    x = leaf([1.0])

    class Model:
        @no_grad
        def predict(self, factor, *, plus=0.0):
            """x, scaled."""
            return x * factor + plus

    y = Model().predict(2, plus=1.0)
    assert y.node is None and y.item() == 3 and Model.predict.__doc__ == "x, scaled."
    assert (x * 2).node is not None


@pytest.mark.parametrize("decorate", [no_grad, no_grad()])
def test_a_decorated_generator_computes_under_no_grad_and_its_caller_does_not(decorate):
    x = leaf([1.0])
    log = []

    @decorate
    def steps():
        try:
            log.append((yield x * 2))
            try:
                yield x * 3
            except KeyError:
                log.append((x * 4).node)
            yield x * 5
            return "end"
        finally:
            log.append((x * 6).node)

    def all_steps():
        log.append((yield from steps()))

    generator = all_steps()
    assert next(generator).node is None
    assert (x * 2).node is not None
    assert generator.send("sent").item() == 3
    assert generator.throw(KeyError()).node is None
    assert (x * 2).node is not None
    assert list(generator) == [] and log == ["sent", None, None, "end"]

    log.clear()
    stopped = steps()
    next(stopped)
    stopped.close()
    assert log == [None] and (x * 2).node is not None


def test_no_grad_does_not_pretend_to_decorate_async_functions():
    async def f(): ...

    async def g():
        yield

    for function in (f, g):
        with pytest.raises(TypeError, match=r"no_grad cannot decorate ., which is async"):
            no_grad(function)


def test_one_no_grad_object_can_serve_two_threads():
    shared, x = no_grad(), leaf([1.0])
    first_is_in, first_may_leave = threading.Event(), threading.Event()

    def first():
        with shared:
            first_is_in.set()
            assert first_may_leave.wait(60)
        return (x * 2).node is not None

    seen = []
    other = threading.Thread(target=lambda: seen.append(first()))
    with no_grad():
        other.start()
        assert first_is_in.wait(60)
        with shared:
            first_may_leave.set()
            other.join()
        assert (x * 2).node is None
    assert seen == [True] and (x * 2).node is not None


def test_leaves_made_under_no_grad_are_leaves():
    with no_grad():
        x = leaf([1.0])
    (x * 2).sum().backward()
    np.testing.assert_array_equal(x.grad, [2])


def test_backward_itself_works_under_no_grad():
    x = leaf([1.0])
    y = (x * 2).sum()
    with no_grad():
        y.backward()
    np.testing.assert_array_equal(x.grad, [2])


def in_thread(f):
    result = []
    thread = threading.Thread(target=lambda: result.append(f()))
    thread.start()
    thread.join()
    return result[0]


def test_no_grad_scopes_and_observers_are_each_threads_own():
    x = leaf([1.0])
    calls = Calls()
    with no_grad(), watch(calls):
        taped, scope = in_scope("here", in_thread, lambda: (exp(x).node is not None, current_scope()))

        def train():
            exp(x).sum().backward()

        in_thread(train)
    assert taped and scope == ""
    assert calls.vjps == {} and x.grad is not None


def test_one_decorated_function_can_run_in_two_threads_at_once():
    """Inside its own no_grad, a thread must stay in it when another thread leaves the same decorated function."""
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()
    x = leaf([1.0])

    @no_grad()
    def predict(arrived, wait_for):
        arrived.set()
        assert wait_for.wait(60)

    def inside_its_own_no_grad():
        with no_grad():
            predict(first_is_in, second_is_in)
            still_off = (x * 2).node is None
        return still_off, (x * 2).node is not None

    seen = []

    def second():
        assert first_is_in.wait(60)
        predict(second_is_in, first_is_out)
        seen.append((x * 2).node is not None)

    other = threading.Thread(target=second)
    other.start()
    try:
        assert inside_its_own_no_grad() == (True, True)
    finally:
        first_is_out.set()
        other.join()
    assert seen == [True]


def test_threads_build_and_pull_back_their_graphs_side_by_side():
    def work(seed, out):
        x = leaf(np.full(5, float(seed)))
        for _ in range(200):
            (x * x + exp(x * 0)).sum().backward()
        out[seed] = x.grad

    out = {}
    threads = [threading.Thread(target=work, args=(seed, out)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        np.testing.assert_array_equal(out[seed], np.full(5, 200 * 2.0 * seed))


# --- observers ---------------------------------------------------------------------------------------------------


def test_an_observer_sees_everything_in_order():
    x, c = leaf([2.0, 3.0], name="x"), np.array([10.0, 20.0])
    with watch(Log()) as log:
        y = (x * c + x).sum()
        y.backward()
    assert log.names() == [
        *["op starts mul", "op ends mul", "op starts add", "op ends add", "op starts sum", "op ends sum"],
        *["vjp starts sum", "vjp ends sum", "vjp starts add", "vjp ends add", "vjp starts mul", "vjp ends mul"],
        "leaf x",
    ]
    started, ended = log.events[0], log.events[1]
    assert started[2][0] is x and started[2][1] is c and started[3] == {}
    assert ended[2][0] is x and ended[4].node.op == "mul"
    summed = log.events[4]
    assert summed[3]["axis"] is None
    np.testing.assert_array_equal(log.events[8][2], [1, 1])  # what arrived at add
    to_product, to_x = log.events[9][3]
    np.testing.assert_array_equal(to_product, [1, 1])
    np.testing.assert_array_equal(to_x, [1, 1])
    to_x, to_c = log.events[11][3]
    np.testing.assert_array_equal(to_x, [10, 20])
    assert to_c is None
    np.testing.assert_array_equal(log.events[12][2], [11, 21])  # the leaf hears of the whole, once


def test_contributions_have_the_shape_of_the_parent_they_go_to():
    bias = leaf([1.0], np.float32)
    with watch(Log()) as log:
        (bias + np.ones((3, 2))).sum().backward()
    (contribution, _) = next(e for e in log.events if e[:2] == ("vjp ends", "add"))[3]
    np.testing.assert_array_equal(contribution, [6])
    assert contribution.dtype == np.float32


def test_an_observer_sees_what_runs_under_no_grad_and_where_the_graph_is_cut():
    x = leaf([1.0, 2.0])
    with watch(Log()) as log:
        with no_grad():
            y = exp(x)
        x.detach()
        y.numpy()
        np.asarray(x)
    assert log.names() == ["op starts exp", "op ends exp", "cut detach()", "cut numpy()", "cut numpy()"]
    assert log.events[1][4].node is None
    assert [id(e[2]) for e in log.events[2:]] == [id(x), id(y), id(x)]


def test_observers_nest_and_leave_with_their_block():
    x = leaf([1.0])
    with watch(Log()) as outer:
        exp(x)
        with pytest.raises(ZeroDivisionError), watch(Log()) as inner:
            tanh(x)
            _ = 1 / 0
        exp(x)
    tanh(x)
    assert [n for n in outer.names() if n.startswith("op starts")] == [
        "op starts exp",
        "op starts tanh",
        "op starts exp",
    ]
    assert inner.names() == ["op starts tanh", "op ends tanh"]


def test_observing_changes_no_result():
    def run():
        x = leaf(np.linspace(-1, 1, 5))
        y = (tanh(x) * exp(x) / 3).sum()
        y.backward()
        return y.item(), x.grad

    value, grad = run()
    with watch(Log()), watch(Calls()):
        value_seen, grad_seen = run()
    assert value == value_seen
    np.testing.assert_array_equal(grad, grad_seen)


# --- scopes ------------------------------------------------------------------------------------------------------


def test_scopes_join_and_are_restored_after_errors():
    x = leaf([1.0, 2.0])
    seen = {}

    def attn():
        seen["inside"] = current_scope()
        return exp(x)

    y = in_scope("blocks.0", in_scope, "attn", attn)
    assert seen["inside"] == "blocks.0.attn" == y.node.scope
    with pytest.raises(ZeroDivisionError):
        in_scope("blocks.1", lambda: 1 / 0)
    assert current_scope() == ""


def test_errors_of_ops_name_scope_op_and_shapes():
    with pytest.raises(ValueError, match=r"^in blocks\.0\.attn: mul of shapes \(2, 3\) and \(4, 5\): .*broadcast"):
        in_scope("blocks.0.attn", lambda: Tensor(np.ones((2, 3))) * np.ones((4, 5)))
