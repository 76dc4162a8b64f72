"""What becomes of the arguments: their dtypes, and what is not accepted as a Tensor."""

import numpy as np
import pytest

import minigrad
from agreement import leaf
from minigrad import Observer, Tensor, watch
from minigrad.ops.elementwise import tanh, where
from observers import Log

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


# --- what makes no Tensor ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [np.array([1, 2]), np.array([True]), np.array([1], np.uint8)])
def test_integers_cannot_require_a_gradient(data):
    with pytest.raises(TypeError, match=r"only floating Tensors have gradients, not \w+: give it dtype=np\.float32"):
        Tensor(data, requires_grad=True)
    t = Tensor(data)
    with pytest.raises(TypeError, match="only floating Tensors have gradients"):
        t.requires_grad = True
    assert t.node is None and Tensor(data, dtype=np.float32, requires_grad=True).requires_grad


@pytest.mark.parametrize("data", ["text", None, 1j, np.array(["a"]), object(), {"a": 1}])
def test_only_numbers_make_a_tensor(data):
    with pytest.raises(TypeError, match="a Tensor holds floats, integers or booleans, not"):
        Tensor(data)


def test_ragged_lists_are_refused():
    with pytest.raises(ValueError, match="inhomogeneous"):
        Tensor([[1.0, 2.0], [3.0]])


def test_a_list_of_tensors_says_to_stack_them():
    rows = [leaf(np.ones(3)), leaf(np.ones(3))]
    for nested in (rows, tuple(rows), [rows, rows], [[1.0, 2.0], [rows[0][0], 4.0]]):
        with pytest.raises(TypeError, match=r"stack\(\[\.\.\.\]\)"):
            Tensor(nested)
    for f in (
        minigrad.exp,
        minigrad.softmax,
        lambda r: leaf(np.ones((2, 3))) + r,
        lambda r: minigrad.layer_norm(leaf(np.ones((2, 3))), r),
    ):
        with pytest.raises(TypeError, match="stack"):  # as an argument it would lose its gradients just as silently
            f(rows)
