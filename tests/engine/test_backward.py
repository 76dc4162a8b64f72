"""Calling backward(): once and again, what it starts from, and what it refuses."""

import threading

import numpy as np
import pytest

import minigrad
from agreement import leaf
from minigrad import Tensor, no_grad
from minigrad.engine import as_op
from minigrad.ops.elementwise import exp, tanh


def test_a_second_backward_raises_and_says_why():
    x = leaf([1.0, 2.0])
    y = exp(x).sum()
    y.backward()
    first = x.grad.copy()
    with pytest.raises(RuntimeError, match=r"already gone through \w+.* freed .*forward pass again.*retain_graph=True"):
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


# --- what backward refuses ---------------------------------------------------------------------------------------


def test_backward_from_more_than_one_number_says_how_to_make_it_one():
    y = leaf(np.ones((2, 3))) * 2
    with pytest.raises(
        ValueError, match=r"starts from a scalar, not shape \(2, 3\); take a \.sum\(\) or pass the grad"
    ):
        y.backward()
    y.sum().backward()  # and nothing was used up


@pytest.mark.parametrize("shape", [(3,), (2, 1), (3, 2), ()])
def test_backward_with_a_gradient_of_another_shape_is_refused(shape):
    y = leaf(np.ones((2, 3))) * 2
    with pytest.raises(ValueError) as caught:
        y.backward(np.ones(shape))
    assert str(caught.value) == f"backward(grad) of shape {shape} does not fit a Tensor of shape (2, 3)"
    y.backward(np.ones((2, 3)))


@pytest.mark.parametrize(
    "make",
    [
        lambda t: t.detach().sum(),
        lambda t: Tensor(t.numpy()).sum(),
        lambda t: minigrad.sum(np.exp(t.numpy())),
        lambda t: Tensor(1.0),
    ],
)
def test_backward_where_nothing_requires_a_gradient_says_why(make):
    with pytest.raises(RuntimeError, match=r"nowhere to go: no input.*requires a gradient.*no_grad.*detach.*numpy"):
        make(leaf(np.ones(3))).backward()


def test_backward_of_what_was_computed_under_no_grad_says_so():
    with no_grad():
        y = leaf(np.ones(3)).sum()
        with pytest.raises(RuntimeError, match=r"computed under no_grad\(\)"):
            y.backward()
    with pytest.raises(RuntimeError, match=r"computed under no_grad\(\)"):
        y.backward()


def test_an_array_that_a_vjp_returns_stays_its_owners_to_write():
    """Gradients are handed on read-only; the array behind them may be somebody's."""
    slope = np.array([3.0, 4.0])
    x = leaf([1.0, 2.0])
    y = as_op(lambda x: (slope @ x, lambda grad_y: slope), name="dot")(exp(x))
    y.backward()
    slope[0] = 5.0
    np.testing.assert_allclose(x.grad, np.exp([1.0, 2.0]) * [3.0, 4.0])


# --- what else may happen meanwhile ----------------------------------------------------------------------------------


def test_a_vjp_that_raises_leaves_every_gradient_as_it_was():
    """`late` is newer than the op that fails, so the walk has been at it before."""
    early, failing = leaf([1.0, 2.0]), True

    def vjp(grad_y):
        if failing:
            raise MemoryError("no room")
        return grad_y

    y = as_op(lambda x: (x + 0, vjp), name="fails")(early)
    late = leaf([3.0, 4.0])
    late.grad = np.array([5.0, 6.0])
    with pytest.raises(MemoryError) as caught:
        (y * late).sum().backward(retain_graph=True)
    assert "in the backward pass of fails" in caught.value.__notes__
    assert early.grad is None
    np.testing.assert_array_equal(late.grad, [5.0, 6.0])

    failing = False
    (y * late).sum().backward()  # a retry counts once
    np.testing.assert_array_equal(early.grad, [3.0, 4.0])
    np.testing.assert_array_equal(late.grad, [6.0, 8.0])


def test_threads_that_share_parameters_lose_no_gradient():
    """The parameter is large, so that one `+=` lasts long enough for another thread to begin its own."""
    shared, n_threads, n_passes = leaf(np.zeros(300_000)), 4, 25

    def work():
        for _ in range(n_passes):
            (shared * 1.0).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(shared.grad, n_threads * n_passes)


@pytest.mark.parametrize(
    ("grad", "says"),
    [
        (["a", "b"], "floats, integers or booleans, not <U1"),
        ([1j, 2.0], "not complex128"),
        (np.ma.masked_array([1.0, 2.0], [0, 1]), r"not a masked array: use \.filled\(number\)"),
    ],
)
def test_backward_from_what_is_no_real_number_is_refused(grad, says):
    with pytest.raises(TypeError, match=rf"backward\(grad\) must be .*{says}"):
        (leaf([1.0, 2.0]) * 2).backward(grad)
