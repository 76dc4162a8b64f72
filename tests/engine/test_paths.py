"""Backward along one path and many: what adds up, how often a VJP runs, and graphs 100,000 ops deep."""

import sys
import threading
import time
import weakref

import numpy as np

from agreement import assert_close, leaf
from minigrad import Tensor, watch
from minigrad.engine import Constant
from minigrad.ops.elementwise import exp, tanh
from observers import Calls


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
    assert y.node.vjps[1] is None and y.node.inputs[1] == Constant((2,), np.dtype(float))
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
        assert_close(x.grad, one.grad.sum(axes).reshape(shape), 1e-13)


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
        """Of this thread alone: what else the machine does meanwhile does not count."""
        y = leaf(1.0)
        for _ in range(n // 2):
            y = -y
            y = y + y * 0.0
        start = time.thread_time()
        y.backward()
        return time.thread_time() - start

    short = min(seconds(2_000) for _ in range(5))
    long = min(seconds(20_000) for _ in range(3))
    assert long < 40 * short  # 10 in theory; 100 if it were quadratic
