"""Which Tensors show the memory of a leaf, and who may still write what an op returned."""

import numpy as np
import pytest

from agreement import leaf
from minigrad import no_grad, optim
from minigrad.engine import as_op


def test_a_read_only_result_of_its_own_memory_shows_no_leaf():
    table = np.array([1.0, 2.0])
    table.flags.writeable = False
    signs = as_op(lambda x: (table, lambda grad_y: 0 * grad_y), name="signs")
    p = leaf([5.0, 6.0])
    with no_grad():
        y, view = signs(p), p.reshape(2, 1)
    y.data = np.array([3.0, 4.0])  # a constant like any other
    with pytest.raises(ValueError, match="shows the memory of a leaf"):
        view.data = np.ones((2, 1))


@pytest.mark.parametrize("position", [0, 1])
def test_a_view_among_several_arguments_shows_the_leaf_it_came_from(position):
    """Otherwise a change of the leaf would go unnoticed, and q's gradient would be wrong."""
    second = as_op(lambda a, b: ((a, b)[position].view(), (lambda g: g, lambda g: g)), name="second")
    p, other, q = leaf([1.0, 2.0]), leaf([0.0, 0.0]), leaf([1.0, 1.0])
    with no_grad():
        same = second(p, other) if position == 0 else second(other, p)
    y = (q * same).sum()
    p.data = np.array([50.0, 60.0])
    with pytest.raises(RuntimeError, match="changed after the forward pass"):
        y.backward()


def test_an_op_that_keeps_its_output_cannot_write_into_what_others_have_seen():
    buffer = np.zeros(2)

    @as_op
    def doubled_in_place(x):
        np.multiply(x, 2, out=buffer)
        return buffer, lambda grad_y: 2 * grad_y

    first = doubled_in_place(leaf([1.0, 2.0]))
    with pytest.raises(ValueError, match="read-only"):
        doubled_in_place(leaf([7.0, 8.0]))
    np.testing.assert_array_equal(first.data, [2, 4])


def test_a_detached_tensor_follows_its_leaf_until_an_optimizer_takes_that_over():
    p = leaf([1.0, 2.0])
    detached = p.detach()
    p.data = np.array([3.0, 4.0])
    np.testing.assert_array_equal(detached.data, [3, 4])

    optimizer = optim.SGD([p], lr=1.0)
    fresh = p.detach()
    p.grad = np.ones(2)
    optimizer.step()
    np.testing.assert_array_equal(p.data, [2, 3])
    np.testing.assert_array_equal(fresh.data, [2, 3])  # shows the optimizer's memory
    np.testing.assert_array_equal(detached.data, [3, 4])  # the numbers at the take-over

    optim.SGD([p], lr=1.0)
    p.data = np.zeros(2)
    np.testing.assert_array_equal(fresh.data, [2, 3])
