"""The engine: graph, backward, memory, dtypes, ownership, modes, observers, and ops made by a user."""

from __future__ import annotations

import collections
import copy
import gc
import pickle
import sys
import threading
import time
import tracemalloc
import weakref

import numpy as np
import pytest

import minigrad
from minigrad import Observer, Tensor, no_grad, op, watch
from minigrad.engine import Constant, Joint, Node, newest_first
from minigrad.ops.elementwise import exp, mul, tanh, where
from minigrad.tensors.modes import current_scope, in_scope
from minigrad.tensors.operators import OPS


@pytest.fixture
def user_ops():
    """A place to try `@op` in: what the test registers is gone afterwards."""
    before = dict(OPS)
    yield OPS
    OPS.clear()
    OPS.update(before)


@pytest.fixture
def no_collector():
    """Only reference counts free memory here, so that a cycle shows."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Calls(Observer):
    """How often the VJPs of each op were called."""

    def __init__(self):
        self.vjps = collections.Counter()

    def vjp_starts(self, node, grad):
        self.vjps[node.op] += 1


def leaf(data, dtype=np.float64, name=None):
    return Tensor(np.array(data, dtype), requires_grad=True, name=name)


def arrays_in(value):
    """Every array that `value` holds, however deep in tuples, lists and dicts."""
    if isinstance(value, (np.ndarray, Tensor)):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [a for item in value for a in arrays_in(item)] if isinstance(value, (tuple, list)) else []


# --- one path, many paths ----------------------------------------------------------------------------------------


def test_a_tensor_used_twice_gets_both_gradients():
    a = leaf(3.0)
    b = a + a
    c = b + b
    c.backward()
    assert c.item() == 12 and a.grad == 4


def test_x_plus_x_and_x_times_x():
    x = leaf([2.0, -3.0])
    (x + x).sum().backward()
    np.testing.assert_array_equal(x.grad, [2, 2])
    x.grad = None
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [4, -6])


def test_paths_of_different_length_meet_before_going_on():
    x = leaf(0.5)
    long = tanh(tanh(tanh(x)))
    y = long * x + x  # the short paths arrive at x first; the long one must not be lost
    with watch(Calls()) as calls:
        y.backward()
    t1, t2, t3 = np.tanh(0.5), np.tanh(np.tanh(0.5)), np.tanh(np.tanh(np.tanh(0.5)))
    np.testing.assert_allclose(x.grad, (1 - t1**2) * (1 - t2**2) * (1 - t3**2) * 0.5 + t3 + 1, rtol=1e-14)
    assert calls.vjps == {"tanh": 3, "mul": 1, "add": 1}


def test_a_30_level_diamond_takes_30_vjp_calls_not_2_to_the_30():
    x = leaf(1.0)
    y = x
    for _ in range(30):
        y = y + y
    with watch(Calls()) as calls:
        y.backward()
    assert calls.vjps == {"add": 30}
    assert x.grad == 2**30


def test_a_node_pulls_back_once_though_every_later_op_uses_it():
    x = leaf([0.1, 0.2])
    all_so_far = [x]
    for _ in range(30):  # as in a DenseNet: each step reads all before it
        total = all_so_far[0]
        for h in all_so_far[1:]:
            total = total + h
        all_so_far.append(tanh(total))
    with watch(Calls()) as calls:
        all_so_far[-1].sum().backward()
    assert calls.vjps["tanh"] == 30 and calls.vjps["add"] == sum(range(30))


def test_adding_up_at_one_parent_does_not_touch_the_gradient_of_another():
    """add hands one and the same array to both inputs; what a gets besides must not arrive at b too."""
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    older = a * 2
    y = (a + b) + older
    y.backward(np.ones(2))
    np.testing.assert_array_equal(a.grad, [3, 3])
    np.testing.assert_array_equal(b.grad, [1, 1])


def test_a_leaf_can_be_the_loss_itself():
    x = leaf(3.0)
    x.backward()
    assert x.grad == 1


def test_only_what_the_loss_was_computed_from_gets_a_gradient():
    x, y, unused = leaf(1.0), leaf(2.0), leaf(3.0)
    _ = y * unused
    (x * 2).backward()
    assert x.grad == 2 and y.grad is None and unused.grad is None


def test_constants_get_no_gradient_and_their_vjps_are_not_kept():
    x, c = leaf([1.0, 2.0]), Tensor(np.array([3.0, 4.0]))
    y = x * c
    assert y.node.vjp(np.ones(2))[1] is None and y.node.inputs[1] == Constant((2,), np.dtype(float))
    y.sum().backward()
    assert c.grad is None


def test_without_anything_to_differentiate_nothing_is_taped():
    assert (Tensor([1.0]) * Tensor([2.0])).node is None
    assert exp(np.array([1.0])).node is None


def test_copying_forward_is_summing_backward():
    rng = np.random.default_rng(0)
    for shape in [(), (1,), (4,), (1, 4), (3, 1), (1, 1), (2, 1, 1), (2, 3, 4), (2, 1, 4)]:
        x, big = leaf(rng.normal(size=shape)), rng.normal(size=(2, 3, 4))
        (x * big).sum().backward()
        one = leaf(np.broadcast_to(x.data, big.shape))
        (one * big).sum().backward()
        assert x.grad.shape == shape
        extra = big.ndim - len(shape)
        axes = tuple(i for i in range(3) if i < extra or shape[i - extra] == 1)
        np.testing.assert_allclose(x.grad, one.grad.sum(axes).reshape(shape), rtol=1e-12)


def test_both_sides_may_broadcast():
    column, row = leaf([[1.0], [2.0]]), leaf([[10.0, 20.0, 30.0]])
    (column * row).sum().backward()
    np.testing.assert_array_equal(column.grad, [[60], [60]])
    np.testing.assert_array_equal(row.grad, [[3, 3, 3]])


def test_an_empty_array_gets_an_empty_gradient():
    x = leaf(np.zeros((0, 3)))
    (x * 2 + np.ones(3)).sum().backward()
    assert x.grad.shape == (0, 3)


# --- depth -------------------------------------------------------------------------------------------------------


def on_a_small_stack(f):
    """Run f in a thread with a 256 kB stack and little Python recursion: whatever recurses over the graph dies."""
    result, stack_size, limit = [], threading.stack_size(256 * 1024), sys.getrecursionlimit()

    def run():
        sys.setrecursionlimit(200)
        try:
            result.append((f(), None))
        except BaseException as error:
            result.append((None, error))
        finally:
            sys.setrecursionlimit(limit)

    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(stack_size)
    value, error = result[0]
    if error is not None:
        raise error
    return value


def test_a_chain_of_100_000_ops_runs_forward_backward_and_is_deleted():
    def run():
        x = leaf(1.0)
        y = x
        for _ in range(100_000):
            y = y + 1e-5
        first = weakref.ref(y.node)
        y.backward()
        del y
        return x.grad, first()

    grad, node = on_a_small_stack(run)
    assert grad == 1 and node is None


def test_a_chain_that_never_ran_backward_is_deleted_too():
    def run():
        x = leaf(1.0)
        y = x
        for _ in range(100_000):
            y = -y
        nodes = [weakref.ref(y.node), weakref.ref(y.node.inputs[0])]
        del y
        return [node() for node in nodes]

    assert on_a_small_stack(run) == [None, None]


def test_backward_time_grows_with_the_graph_not_faster():
    def seconds(n):
        y = leaf(1.0)
        for _ in range(n):
            y = y + y if n % 2 else -y
        start = time.perf_counter()
        y.backward()
        return time.perf_counter() - start

    short = min(seconds(2_000) for _ in range(5))
    long = min(seconds(20_000) for _ in range(2))
    assert long < 40 * short  # 10 in theory; 100 if it were quadratic


# --- backward, again and again ------------------------------------------------------------------------------------


def test_a_second_backward_raises_and_says_why():
    x = leaf([1.0, 2.0])
    y = exp(x).sum()
    y.backward()
    first = x.grad.copy()
    with pytest.raises(RuntimeError, match=r"already gone through \w+.*retain_graph=True"):
        y.backward()
    np.testing.assert_array_equal(x.grad, first)


def test_a_backward_through_a_half_used_graph_raises_before_it_adds_anything():
    x, other = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    shared = exp(x)
    shared.sum().backward()
    x.grad = None
    y = (tanh(other) * shared).sum()
    with pytest.raises(RuntimeError, match="already gone through exp"):
        y.backward()
    assert x.grad is None and other.grad is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_retain_graph_doubles_the_leaves_to_the_bit(dtype):
    rng = np.random.default_rng(0)
    a, b = leaf(rng.normal(size=(3, 4)), dtype), leaf(rng.normal(size=4), dtype)
    h = tanh(a * b + a)
    y = (h * h / (exp(b) + 1) + h).sum()
    y.backward(retain_graph=True)
    first = [a.grad.copy(), b.grad.copy()]
    y.backward()
    np.testing.assert_array_equal(a.grad, 2 * first[0])
    np.testing.assert_array_equal(b.grad, 2 * first[1])
    with pytest.raises(RuntimeError, match="already gone through"):  # this time it was not kept
        y.backward()


def test_two_losses_may_share_what_was_retained():
    x = leaf(2.0)
    shared = x * x
    shared.backward(retain_graph=True)
    (shared * 3).backward()
    assert x.grad == 4 + 12


def test_gradients_accumulate_until_zeroed():
    x = leaf([1.0, 2.0])
    for times in (1, 2, 3):
        (x * x).sum().backward()
        np.testing.assert_array_equal(x.grad, times * np.array([2.0, 4.0]))
    x.grad = None
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_backward_takes_the_gradient_to_start_from():
    x = leaf([1.0, 2.0, 3.0])
    (x * x).backward(np.array([1.0, 0.0, -1.0]))
    np.testing.assert_array_equal(x.grad, [2, 0, -6])


def test_one_element_is_scalar_enough():
    x = leaf([[3.0]])
    (x * x).backward()
    np.testing.assert_array_equal(x.grad, [[6]])


def test_gradients_are_nobody_elses_memory():
    a, b, start = leaf([1.0, 2.0]), leaf([3.0, 4.0]), np.array([1.0, 1.0])
    (a + b).backward(start)  # add hands the same array on to both
    a.grad *= 100
    start[:] = 7
    np.testing.assert_array_equal(b.grad, [1, 1])
    b.grad = given = np.array([5.0, 6.0])
    given[:] = 0
    np.testing.assert_array_equal(b.grad, [5, 6])


def test_grad_of_what_was_computed_says_where_to_look():
    y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match=r"computed by mul.*gradients stay only on leaves.*record"):
        _ = y.grad


# --- memory ------------------------------------------------------------------------------------------------------


def test_backward_frees_the_arrays_as_it_goes(no_collector):
    alive_at_each_vjp, captured = [], []

    class CountAlive(Observer):
        def vjp_starts(self, node, grad):
            alive_at_each_vjp.append(sum(ref() is not None for ref in captured))

    y = leaf(np.zeros(10))
    for _ in range(8):
        y = exp(y * 0.1)  # exp keeps its output; mul by a number keeps nothing of the output
        captured.append(weakref.ref(y.numpy()))
    y = y * 1.0
    with watch(CountAlive()):
        y.backward(np.ones(10))
    after_each_exp = alive_at_each_vjp[1::2]  # mul, exp, mul, exp, ..., mul
    assert after_each_exp == [8, 7, 6, 5, 4, 3, 2, 1]
    assert not any(ref() is not None for ref in captured)


def test_backward_needs_a_few_arrays_beyond_what_forward_kept():
    megabyte, depth = 1 << 20, 30
    tracemalloc.start()
    try:
        y = leaf(np.zeros(megabyte // 8))
        for _ in range(depth):
            y = exp(y * 0.1)
        y = y.sum()
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        y.backward()
        peak = tracemalloc.get_traced_memory()[1]
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept > depth * megabyte
    assert peak < kept + 4 * megabyte
    assert after < 4 * megabyte  # the loss, the leaf's gradient, and structure


def test_the_graph_lives_as_long_as_its_tensors_and_no_longer(no_collector):
    x = leaf([1.0, 2.0])
    h = exp(x)
    y = h.sum()
    nodes = [weakref.ref(h.node), weakref.ref(y.node)]
    del h
    assert nodes[0]() is not None  # y still needs it
    del y
    assert nodes[0]() is None and nodes[1]() is None


def training_step(w, b, x):
    """A small model of the sort everyone trains; loss, backward and an update."""
    h = tanh((x * w).sum(axis=-1, keepdims=True) + b)
    loss = (h * h - h / (exp(b) + 1)).mean()
    loss.backward()
    for p in (w, b):
        p.data = p.data - 0.01 * p.grad
        p.grad = None


def test_a_step_leaves_no_reference_cycles(no_collector):
    w, b, x = leaf(np.ones(4), np.float32), leaf([0.1], np.float32), np.ones((3, 4), np.float32)
    training_step(w, b, x)
    gc.collect()
    training_step(w, b, x)
    assert gc.collect() == 0


def test_neither_no_grad_nor_errors_leave_cycles(no_collector):
    x = leaf(np.ones(3))

    @no_grad()
    def predict():
        return exp(x) * 2

    def go_wrong():
        with pytest.raises(ValueError):
            _ = x * np.ones(4)
        with pytest.raises(ValueError):
            exp(x).backward()

    predict()
    go_wrong()
    gc.collect()
    predict()
    assert gc.collect() == 0
    go_wrong()
    nodes = [o for o in gc.get_objects() if type(o) is Node]
    assert nodes == []


def test_memory_is_flat_over_1000_steps_without_the_collector(no_collector):
    w, b, x = leaf(np.ones(4), np.float32), leaf([0.1], np.float32), np.ones((3, 4), np.float32)
    for _ in range(1000):  # CPython keeps up to 2000 freed tuples of each size for reuse: let it fill up first
        training_step(w, b, x)
    tracemalloc.start()
    try:
        for _ in range(1000):
            training_step(w, b, x)
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert grown < 4096  # bytes: one leaked Node a step would be over 100,000


def test_live_nodes_and_tensors_stay_constant_over_steps(no_collector):
    def alive():
        return collections.Counter(type(o).__name__ for o in gc.get_objects() if isinstance(o, (Node, Tensor)))

    w, b, x = leaf(np.ones(4)), leaf([0.1]), np.ones((3, 4))
    training_step(w, b, x)
    before = alive()
    for _ in range(20):
        training_step(w, b, x)
    assert alive() == before


def test_nodes_keep_structure_but_no_arrays():
    x = leaf(np.arange(12.0).reshape(3, 4))
    mask = np.array([True, True, False, True])
    rows = np.array([0, 2])
    y = minigrad.softmax(x, mask=mask)[rows, 1:3][[np.array([1])]]
    y = (where(np.array([True, False]), y, np.ones(2)) * 3).sum()
    nodes = newest_first(y.node)
    assert {n.op for n in nodes} == {"softmax", "getitem", "where", "mul", "sum", None}
    for node in nodes:
        assert arrays_in(node.inputs) == [] and arrays_in(node.static) == [], node.op
    y.backward()
    assert [n.op for n in nodes] == ["sum", "mul", "where", "getitem", "getitem", "softmax", None]
    assert all(n.vjp is None for n in nodes)  # the structure can still be drawn, the arrays are gone
    assert nodes[1].inputs[1] == 3  # Python numbers are remembered
    assert nodes[-2].static["mask"] == Constant((4,), np.dtype(bool))


# --- dtypes ------------------------------------------------------------------------------------------------------

BESIDE = {
    "np.float64 scalar": np.float64(2.5),
    "np.float32 scalar": np.float32(2.5),
    "np.int64 scalar": np.int64(2),
    "Python float": 2.5,
    "Python int": 2,
    "bool": True,
    "float64 array": np.array([1.5, 2.5]),
    "float64 array of no axes": np.array(2.5),
    "int array": np.array([1, 2]),
    "bool array": np.array([True, False]),
    "list": [1.5, 2.5],
}
ARITHMETIC = {
    "x + other": lambda x, other: x + other,
    "other + x": lambda x, other: other + x,
    "x - other": lambda x, other: x - other,
    "other - x": lambda x, other: other - x,
    "x * other": lambda x, other: x * other,
    "other * x": lambda x, other: other * x,
    "x / other": lambda x, other: x / other,
    "other / x": lambda x, other: other / x,
    "x ** other": lambda x, other: x**other,
    "other ** x": lambda x, other: other**x,
    "maximum": lambda x, other: minigrad.maximum(x, other),
    "minimum": lambda x, other: minigrad.minimum(other, x),
    "where": lambda x, other: where(np.array([True, False]), x, other),
}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("arithmetic", ARITHMETIC)
def test_what_stands_beside_a_tensor_takes_its_dtype(arithmetic, dtype):
    for what, other in BESIDE.items():
        for shape in [(2,), ()]:
            x = leaf(np.full(shape, 3.0), dtype)
            y = ARITHMETIC[arithmetic](x, other)
            assert isinstance(y, Tensor) and y.dtype == dtype, what
            y.sum().backward()
            assert x.grad.dtype == dtype and x.grad.shape == shape, what


def test_only_tensor_with_tensor_promotes_and_each_gets_its_own_dtype_back():
    a, b = leaf([1.0, 2.0], np.float32), leaf([3.0, 4.0], np.float64)
    y = tanh(a) * b
    assert y.dtype == np.float64
    with watch(Log()) as log:
        y.sum().backward()
    assert a.grad.dtype == np.float32 and b.grad.dtype == np.float64
    arrived = {op: grad.dtype for what, op, grad, *_ in log.events if what == "vjp starts"}
    assert arrived == {"sum": np.float64, "mul": np.float64, "tanh": np.float32}


def test_integer_tensors_beside_floating_ones_take_their_dtype():
    x, n = leaf([1.0, 2.0], np.float32), Tensor(np.array([3, 4]))
    assert (x * n).dtype == np.float32 and (n / x).dtype == np.float32


def test_integer_tensors_do_not_widen_beside_a_python_number():
    ids = Tensor(np.array([3, 4]))
    assert (ids + 1).dtype != np.float64
    assert (ids * 0.5).dtype != np.float64


def test_booleans_count_as_0_and_1_beside_numbers():
    b = Tensor([True, False])
    for y, expected in [
        (b * 5, [5, 0]),
        (b + 2, [3, 2]),
        (b * np.array([5, 7]), [5, 0]),
        (b * 2.5, [2.5, 0]),
        (where(b, 5, 3), [5, 3]),
        (where(b, np.array([5, 6]), 3), [5, 3]),
    ]:
        np.testing.assert_array_equal(y.data, expected)


def test_a_number_too_large_for_an_integer_tensor_is_not_wrapped_around():
    small = Tensor(np.array([1, 2], np.int8))
    try:
        y = small + 300
    except (OverflowError, ValueError, TypeError):
        return
    np.testing.assert_array_equal(y.data, [301, 302])


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        ([1, 2], np.float32),
        ([[1.0], [2.0]], np.float32),
        (3, np.float32),
        (3.5, np.float32),
        ([True, False], np.bool_),
        (np.float64(3), np.float64),
        (np.array([1, 2], np.int32), np.int32),
        (np.array([1, 2], np.float16), np.float16),
        (np.array([1.0, 2.0]), np.float64),
    ],
)
def test_arrays_keep_their_dtype_and_python_numbers_become_float32(data, dtype):
    assert Tensor(data).dtype == dtype
    assert Tensor(data, dtype=np.float64).dtype == np.float64


def test_clip_bounds_of_another_dtype_do_not_widen():
    x = leaf([1.0, 2.0], np.float32)
    y = minigrad.clip(x, low=np.float64(0.5), high=np.float64(1.5))
    assert y.dtype == np.float32


def test_a_start_gradient_of_another_dtype_does_not_widen():
    x = leaf([1.0, 2.0], np.float32)
    seen = []

    class Dtypes(Observer):
        def vjp_ends(self, node, grad, contributions):
            seen.extend([grad.dtype, *(c.dtype for c in contributions if c is not None)])

    with watch(Dtypes()):
        tanh(x * 2).backward(np.ones(2, np.float64))
    assert x.grad.dtype == np.float32 and set(seen) == {np.dtype(np.float32)}


# --- who owns the numbers -----------------------------------------------------------------------------------------


def test_a_tensor_copies_what_it_is_given():
    a = np.array([1.0, 2.0])
    x = Tensor(a, requires_grad=True)
    again = Tensor(x)
    a[:] = 9
    x.data = np.array([5.0, 5.0])
    np.testing.assert_array_equal(again.data, [1, 2])
    assert again.node is None


@pytest.mark.parametrize("requires_grad", [True, False])
def test_numbers_can_be_read_but_not_written(requires_grad):
    x = Tensor(np.ones((2, 3)), requires_grad=requires_grad)
    with no_grad():
        view = x.reshape(3, 2)
    for t in [x, x + 1, x.reshape(6), x[0], x.sum(), x.detach(), view]:
        for array in [t.data, t.numpy(), np.asarray(t)]:
            assert not array.flags.writeable
    with pytest.raises(TypeError, match="not written in place"):
        x[0] = 3.0
    free = np.array(x)
    free[:] = 7
    np.testing.assert_array_equal(x.data, 1)


def test_setting_data_writes_the_leaf_in_place():
    x = leaf([1.0, 2.0], np.float32)
    memory = x.data
    x.data = [3, 4]
    assert x.data is memory and x.dtype == np.float32
    np.testing.assert_array_equal(x.data, [3, 4])
    assert not x.data.flags.writeable


def test_a_refused_write_leaves_the_numbers_read_only():
    x = leaf([1.0, 2.0])
    with pytest.raises((ValueError, TypeError)):
        x.data = np.array(["a", "b"])
    assert not x.data.flags.writeable
    np.testing.assert_array_equal(x.data, [1, 2])


def gradient_after(scribble, forward):
    """d(loss)/d(x) of forward(x), where `scribble` spoils the caller's arrays between forward and backward."""
    x = leaf(np.linspace(-1, 1, 12).reshape(3, 4))
    y = forward(x)
    value = np.array(y)
    scribble()
    y.backward(np.arange(1.0, 1 + y.size).reshape(y.shape))
    return value, x.grad


RAW_ARRAYS = {
    "a raw operand": (np.ones(4), lambda x, a: x * a),
    "a raw base": (np.full(4, 2.0), lambda x, a: a**x),
    "a divisor": (np.full((3, 4), 2.0), lambda x, a: x / a),
    "the condition of where": (np.array([True, False, True, True]), lambda x, a: where(a, x, 0)),
    "a partner of maximum": (np.zeros(4), lambda x, a: minigrad.maximum(x, a)),
    "a matrix": (np.ones((4, 2)), lambda x, a: x @ a),
    "an index array": (np.array([0, 1, 1]), lambda x, a: x[a]),
    "an index array in a tuple": (np.array([0, 1, 1]), lambda x, a: x[:, a]),
    "a boolean index": (np.array([True, False, True]), lambda x, a: x[a]),
    "a mask": (np.array([True, True, False, True]), lambda x, a: minigrad.softmax(x, mask=a)),
    "a mask of logsumexp": (np.array([True, True, False, True]), lambda x, a: minigrad.logsumexp(x, mask=a)),
    "a mask of attention": (
        np.array([[True, False, True]] * 3),
        lambda x, a: minigrad.attention(x, x, x, mask=a),
    ),
    "targets": (np.array([0, 3, 1]), lambda x, a: minigrad.cross_entropy(x, a)),
    "ids": (np.array([[0, 2], [2, 2]]), lambda x, a: minigrad.embedding(x, a)),
    "a gain": (np.full(4, 2.0), lambda x, a: minigrad.layer_norm(x, a, a)),
    "what is concatenated": (np.ones((3, 4)), lambda x, a: minigrad.concat([x, a]) * minigrad.concat([a, x])),
}


@pytest.mark.parametrize("what", RAW_ARRAYS)
def test_the_caller_may_reuse_arrays_after_the_call(what):
    array, forward = RAW_ARRAYS[what]
    mine = array.copy()

    def scribble():
        mine[...] = ~mine if mine.dtype == bool else 0

    value, grad = gradient_after(scribble, lambda x: forward(x, mine))
    expected_value, expected = gradient_after(lambda: None, lambda x: forward(x, array))
    np.testing.assert_array_equal(value, expected_value)
    np.testing.assert_array_equal(grad, expected)


def test_the_caller_may_reuse_an_index_list():
    index = [0, 2, 2]
    _, grad = gradient_after(lambda: index.clear(), lambda x: x[index])
    _, expected = gradient_after(lambda: None, lambda x: x[[0, 2, 2]])
    np.testing.assert_array_equal(grad, expected)


# --- a leaf changed between forward and backward -------------------------------------------------------------------


def test_a_leaf_changed_after_the_forward_pass_is_caught_with_the_ops_name():
    w = leaf([1.0, 2.0], name="w")
    y = (w * np.array([3.0, 4.0])).sum()
    w.data = w.data + 1
    with pytest.raises(RuntimeError, match=r"mul used w of shape \(2,\), which was changed after the forward pass"):
        y.backward()
    assert w.grad is None
    (w * 2.0).sum().backward()  # a new forward pass is fine
    np.testing.assert_array_equal(w.grad, [2, 2])


def test_the_scope_of_the_op_is_named_too():
    w = leaf([1.0, 2.0])
    y = in_scope("blocks.0.mlp", lambda: exp(w)).sum()
    w.data = [0.0, 0.0]
    with pytest.raises(RuntimeError, match=r"in blocks\.0\.mlp: exp used a leaf of shape \(2,\)"):
        y.backward()


def memory_of(how, p):
    """A constant that shows the leaf's own memory, got in one of the ways there are."""
    if how == "detach":
        return p.detach()
    if how == "detach twice":
        return p.detach().detach()
    if how == "a view under no_grad":
        with no_grad():
            return p.reshape(2, 1).reshape(2)
    if how == "a view of a detached":
        return p.detach()[:]
    if how == "a taped view, detached":
        return p.reshape(2, 1).detach().reshape(2)
    if how == "a slice, detached":
        return p[:].detach()
    if how == "a taped view, viewed under no_grad":
        h = p[:]
        with no_grad():
            return h.reshape(2)
    assert how == "requires_grad switched off"
    p.requires_grad = False
    return p


WAYS = [
    "detach",
    "detach twice",
    "a view under no_grad",
    "a view of a detached",
    "a taped view, detached",
    "a slice, detached",
    "a taped view, viewed under no_grad",
    "requires_grad switched off",
]


@pytest.mark.parametrize("how", WAYS)
def test_a_change_of_a_leaf_is_caught_however_its_memory_was_reached(how):
    """mul keeps its other operand: if that is the leaf's own memory, a write to the leaf spoils the gradient."""
    p, q = leaf([1.0, 2.0], name="p"), leaf([1.0, 1.0])
    y = mul(q, memory_of(how, p)).sum()
    p.data = np.array([50.0, 60.0])
    try:
        y.backward()
    except RuntimeError as error:
        assert "mul used p of shape (2,)" in str(error) or "changed after the forward pass" in str(error)
    else:
        np.testing.assert_array_equal(q.grad, [1, 2])  # not caught, then it must have been a copy


def test_a_write_through_a_detached_tensor_is_seen_or_refused():
    p, q = leaf([1.0, 2.0]), leaf([1.0, 1.0])
    y = (q * p).sum()
    with pytest.raises((RuntimeError, ValueError), match=r"changed after|leaf"):
        p.detach().data = np.array([50.0, 60.0])
        y.backward()


def test_a_mask_changed_after_the_forward_pass_is_caught_or_harmless():
    x, mask = leaf([1.0, 2.0, 3.0]), Tensor(np.array([True, True, False]), name="mask")
    y = minigrad.softmax(x, mask=mask)
    mask.data = np.array([False, True, True])
    try:
        y.backward(np.array([1.0, 0.0, 0.0]))
    except RuntimeError as error:
        assert "changed after the forward pass" in str(error)
    else:
        again = leaf([1.0, 2.0, 3.0])
        minigrad.softmax(again, mask=np.array([True, True, False])).backward(np.array([1.0, 0.0, 0.0]))
        np.testing.assert_array_equal(x.grad, again.grad)


def test_an_index_changed_after_the_forward_pass_is_caught_or_harmless():
    x, index = leaf([1.0, 2.0, 3.0]), Tensor(np.array([0, 1]), name="index")
    y = x[index].sum()
    index.data = np.array([2, 2])
    try:
        y.backward()
    except RuntimeError as error:
        assert "changed after the forward pass" in str(error)
    else:
        np.testing.assert_array_equal(x.grad, [1, 1, 0])


def test_a_change_is_caught_before_a_retained_second_backward():
    w = leaf([1.0, 2.0])
    y = (w * w).sum()
    y.backward(retain_graph=True)
    w.data = w.data * 2
    with pytest.raises(RuntimeError, match="changed after the forward pass"):
        y.backward()


def test_a_changed_leaf_of_another_graph_is_no_error():
    w, other = leaf([1.0, 2.0]), leaf([3.0])
    y = (w * w).sum()
    other.data = [4.0]
    y.backward()
    np.testing.assert_array_equal(w.grad, [2, 4])


def test_setting_a_constants_data_leaves_what_was_computed_from_it_alone():
    w, c = leaf([1.0, 2.0]), Tensor(np.array([3.0, 4.0]))
    y = (w * c).sum()
    c.data = np.array([0.0, 0.0])
    y.backward()
    np.testing.assert_array_equal(w.grad, [3, 4])


# --- detach, requires_grad -----------------------------------------------------------------------------------------


def test_detach_stops_the_gradient():
    x = leaf(3.0)
    (x * x.detach()).backward()
    assert x.grad == 3  # not 6


def test_a_detached_tensor_has_a_gradient_of_its_own():
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    assert x.detach().grad is None
    fresh = x.detach()
    fresh.requires_grad = True
    (fresh * 5).sum().backward()
    np.testing.assert_array_equal(fresh.grad, [5, 5])
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_a_view_taken_under_no_grad_can_become_a_leaf_of_its_own():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    with no_grad():
        row = x[0]
    row.requires_grad = True
    (row * 5).sum().backward()
    np.testing.assert_array_equal(row.grad, [5, 5])
    assert x.grad is None


def test_requires_grad_can_be_switched_on_leaves():
    x = Tensor([1.0, 2.0])
    before = x * 2
    x.requires_grad = True
    (x * 3).sum().backward()
    assert before.node is None
    np.testing.assert_array_equal(x.grad, [3, 3])
    x.requires_grad = False
    assert (x * 2).node is None
    x.requires_grad = True
    (x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad, [6, 6])  # the same leaf as before


def test_switching_requires_grad_off_does_not_cut_a_graph_that_exists():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    x.requires_grad = False
    y.backward()
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_leaves_can_be_copied_and_pickled_without_their_history():
    x = leaf([1.0, 2.0], np.float32, name="w")
    (x * 3).sum().backward()
    for other in [copy.deepcopy(x), copy.copy(x), pickle.loads(pickle.dumps(x))]:
        assert type(other) is Tensor and other.requires_grad and other.name == "w" and other.dtype == np.float32
        assert other.grad is None
        other.data = [7.0, 8.0]
        (other * 5).sum().backward()
        np.testing.assert_array_equal(other.grad, [5, 5])
    np.testing.assert_array_equal(x.data, [1, 2])
    np.testing.assert_array_equal(x.grad, [3, 3])


def test_deepcopy_keeps_shared_leaves_shared():
    x = leaf([1.0])
    a, b = copy.deepcopy([x, x])
    assert a is b and a is not x


def test_what_was_computed_cannot_be_copied_or_pickled():
    y = leaf([1.0]) * 2
    for copier in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"only leaves can be copied or pickled.*computed by mul"):
            copier(y)


# --- modes ---------------------------------------------------------------------------------------------------------


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
        assert wait_for.wait(5)

    def inside_its_own_no_grad():
        with no_grad():
            predict(first_is_in, second_is_in)
            still_off = (x * 2).node is None
        return still_off, (x * 2).node is not None

    seen = []

    def second():
        assert first_is_in.wait(5)
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


# --- observers -----------------------------------------------------------------------------------------------------


class Log(Observer):
    def __init__(self):
        self.events = []

    def op_starts(self, name, args, static):
        self.events.append(("op starts", name, args, static))

    def op_ends(self, name, args, static, result):
        self.events.append(("op ends", name, args, static, result))

    def vjp_starts(self, node, grad):
        self.events.append(("vjp starts", node.op, np.array(grad)))

    def vjp_ends(self, node, grad, contributions):
        self.events.append(("vjp ends", node.op, np.array(grad), contributions))

    def leaf(self, leaf, grad):
        self.events.append(("leaf", leaf.name, np.array(grad)))

    def cut(self, how, tensor):
        self.events.append(("cut", how, tensor))

    def names(self):
        return [f"{what} {name}" for what, name, *_ in self.events]


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


# --- scopes --------------------------------------------------------------------------------------------------------


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


# --- ops made by a user ----------------------------------------------------------------------------------------------


def test_a_user_can_make_an_op(user_ops):
    @op
    def square(x):
        """yᵢ = xᵢ²"""

        def vjp_x(grad_y):
            return 2 * grad_y * x

        return x * x, vjp_x

    x = leaf([1.0, -3.0], np.float32)
    y = square(x)
    assert y.dtype == np.float32 and y.node.op == "square" and user_ops["square"] is square
    assert square.__name__ == "square" and square.__doc__ == "yᵢ = xᵢ²"
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [2, -6])
    assert square([1, 2]).dtype == np.float32 and square(x=x).node is not None


def test_a_user_op_may_have_several_inputs_static_arguments_and_a_joint_vjp(user_ops):
    calls = []

    @op
    def scaled_product(a, b, *, scale=1.0):
        def vjp(grad_y):
            calls.append("joint")
            shared = grad_y * scale
            return shared * b, shared * a

        return a * b * scale, Joint(vjp)

    a, b = leaf([1.0, 2.0]), leaf([[3.0], [4.0]])
    y = scaled_product(a, b, scale=10.0)
    assert y.node.static == {"scale": 10.0}
    y.sum().backward()
    assert calls == ["joint"]
    np.testing.assert_array_equal(a.grad, [70, 70])
    np.testing.assert_array_equal(b.grad, [[30], [30]])
    a.grad = None
    scaled_product(a, np.array([5.0, 6.0])).sum().backward()  # a joint VJP beside a constant
    np.testing.assert_array_equal(a.grad, [5, 6])


def test_vjps_of_inputs_that_need_none_are_never_called(user_ops):
    @op
    def product(a, b):
        def vjp_a(grad_y):
            return grad_y * b

        def vjp_b(grad_y):
            raise AssertionError("b is a constant")

        return a * b, (vjp_a, vjp_b)

    x = leaf([1.0])
    product(x, np.array([2.0])).sum().backward()
    assert x.grad == 2


def test_index_arguments_stay_integers_and_must_be(user_ops):
    @op(indices=("rows",))
    def pick(table, rows):
        def vjp_table(grad_y):
            grad = np.zeros(table.shape, grad_y.dtype)
            np.add.at(grad, rows, grad_y)
            return grad

        assert rows.dtype.kind == "i"
        return table[rows], (vjp_table, None)

    table = leaf(np.ones((3, 2)), np.float32)
    pick(table, [2, 2, 0]).sum().backward()
    np.testing.assert_array_equal(table.grad, [[1, 1], [0, 0], [2, 2]])
    pick(table, Tensor(np.array([1])))
    for rows in [np.array([0.0]), Tensor([1.0]), np.array([True])]:
        with pytest.raises(TypeError, match=r"pick of shapes \(3, 2\) and \(1,\): indices must be integers, not"):
            pick(table, rows)


def test_optional_arrays_may_be_left_out(user_ops):
    @op
    def affine(x, weight=None, bias=None):
        y = x if weight is None else x * weight
        y = y if bias is None else y + bias

        def vjp_x(grad_y):
            return grad_y if weight is None else grad_y * weight

        def vjp_weight(grad_y):
            return grad_y * x

        def vjp_bias(grad_y):
            return grad_y

        return y + 0, (vjp_x, vjp_weight, vjp_bias)

    x, w, b = leaf([2.0]), leaf([3.0]), leaf([5.0])
    for y, expected in [
        (affine(x), (1, None, None)),
        (affine(x, w), (3, 2, None)),
        (affine(x, bias=b), (1, None, 1)),
        (affine(x, None, b), (1, None, 1)),
        (affine(x, bias=b, weight=w), (3, 2, 1)),
        (affine(weight=w, x=x), (3, 2, None)),
    ]:
        y.backward()
        assert (x.grad, w.grad, b.grad) == expected
        x.grad = w.grad = b.grad = None


def test_a_default_that_is_not_none_is_used_however_the_rest_is_passed(user_ops):
    @op
    def shift(x, by=1.0):
        return x + by, (lambda grad_y: grad_y, lambda grad_y: grad_y)

    x = leaf([2.0])
    for y in [shift(x), shift(x=x), shift(x, 1.0), shift(x, by=1.0)]:
        np.testing.assert_array_equal(y.data, [3])
        y.backward()
        np.testing.assert_array_equal(x.grad, [1])
        x.grad = None


def test_a_name_that_is_taken_is_refused(user_ops):
    before = user_ops["exp"]
    with pytest.raises(ValueError, match=r"there is an op 'exp' already, in minigrad\.ops\.elementwise"):

        @op
        def exp(x):
            return x, lambda grad_y: grad_y

    assert user_ops["exp"] is before


@pytest.mark.parametrize(
    ("bad", "shape"),
    [
        (lambda grad_y: grad_y.T, (3, 2)),
        (lambda grad_y: grad_y.sum(), ()),
        (lambda grad_y: grad_y[0], (3,)),
        (lambda grad_y: grad_y[:, :1], (2, 1)),
    ],
)
def test_a_vjp_of_the_wrong_shape_is_an_error_that_names_the_op(user_ops, bad, shape):
    @op
    def careless(x):
        return x * 1, bad

    y = careless(leaf(np.ones((2, 3))))
    with pytest.raises(ValueError) as caught:
        in_scope("blocks.0", y.sum().backward)
    assert f"gradient of shape {shape} for an input of shape (2, 3)" in str(caught.value)
    assert any("careless" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("wrong", [1, (None, None)])
def test_a_vjp_that_is_no_array_is_an_error_that_names_the_op(user_ops, wrong):
    @op
    def careless(x):
        return x * 1, lambda grad_y: wrong

    with pytest.raises(Exception) as caught:
        careless(leaf(np.ones(2))).sum().backward()
    assert any("careless" in note for note in getattr(caught.value, "__notes__", [str(caught.value)]))


def test_a_wrong_number_of_vjps_is_an_error_that_names_the_op(user_ops):
    @op
    def lopsided(a, b):
        return a * b, (lambda grad_y: grad_y * b,)

    with pytest.raises((ValueError, TypeError, AssertionError), match=r"lopsided.*VJP"):
        lopsided(leaf([1.0, 2.0]), leaf([3.0, 4.0]))


def test_a_joint_vjp_with_the_wrong_number_of_gradients_names_the_op(user_ops):
    @op
    def lopsided(a, b):
        return a * b, Joint(lambda grad_y: (grad_y * b,))

    y = lopsided(leaf([1.0]), leaf([3.0]))
    with pytest.raises(ValueError) as caught:
        y.backward()
    assert any("lopsided" in note for note in caught.value.__notes__)


def test_an_op_that_forgets_its_vjp_is_an_error_that_names_it(user_ops):
    @op
    def forgetful(x):
        return x * 2

    for shape in [(2,), (3,), (2, 2)]:  # an array of length 2 unpacks like (y, vjp)
        with pytest.raises((TypeError, ValueError), match="forgetful"):
            forgetful(leaf(np.ones(shape)))


def test_an_op_that_returns_its_input_keeps_the_versions_apart(user_ops):
    @op
    def identity(x):
        return x, lambda grad_y: grad_y

    p, q = leaf([1.0, 2.0]), leaf([1.0, 1.0])
    with no_grad():
        same = identity(p)
    y = (q * same).sum()
    p.data = np.array([50.0, 60.0])
    try:
        y.backward()
    except RuntimeError as error:
        assert "changed after the forward pass" in str(error)
    else:
        np.testing.assert_array_equal(q.grad, [1, 2])


def test_errors_in_a_vjp_name_the_op_and_its_scope(user_ops):
    @op
    def brittle(x):
        def vjp_x(grad_y):
            raise FloatingPointError("no luck")

        return x * 1, vjp_x

    y = in_scope("blocks.3", brittle, leaf([1.0]))
    with pytest.raises(FloatingPointError, match="no luck") as caught:
        y.backward()
    assert caught.value.__notes__ == ["in the backward pass of brittle in blocks.3"]


def test_an_estimator_is_declared(user_ops):
    @op(estimator=True)
    def round_straight_through(x):
        return np.round(x), lambda grad_y: grad_y

    assert round_straight_through.estimator and not exp.estimator
    x = leaf([0.4, 0.6])
    round_straight_through(x).sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 1])
