"""What a graph keeps, and when it is freed: without cycles, and without the garbage collector."""

import collections
import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import minigrad
from agreement import leaf
from minigrad import Observer, Tensor, no_grad, watch
from minigrad.engine import Constant, Node, newest_first
from minigrad.ops.elementwise import exp, tanh, where


@pytest.fixture
def no_collector():
    """Only reference counts free memory here, so that a cycle shows."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def arrays_in(value):
    """Every array that `value` holds, however deep in tuples, lists and dicts."""
    if isinstance(value, (np.ndarray, Tensor)):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [a for item in value for a in arrays_in(item)] if isinstance(value, (tuple, list)) else []


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
    def n_nodes():
        return sum(type(o) is Node for o in gc.get_objects())

    x, before = leaf(np.ones(3)), n_nodes()

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
    assert n_nodes() == before


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
        kinds = [type(o) for o in gc.get_objects()]
        return collections.Counter(kind for kind in kinds if issubclass(kind, (Node, Tensor)))

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
    assert all(n.vjps is None for n in nodes)  # the structure can still be drawn, the arrays are gone
    assert nodes[1].inputs[1] == 3  # Python numbers are remembered
    assert nodes[-2].static["mask"] == Constant((4,), np.dtype(bool))
