"""Operators of a Tensor, NumPy's functions, comparisons: NumPy's words and NumPy's values."""

import operator

import numpy as np
import pytest

import minigrad
from agreement import assert_close, leaf
from minigrad import Observer, Tensor, no_grad, watch


def numbers(*shape):
    """Positive and negative, none of them equal, none 0."""
    n = int(np.prod(shape))
    return (np.random.default_rng(n).permutation(n) - n / 2 + 0.25).reshape(shape) / n


# --- operators ---------------------------------------------------------------------------------------------------

A, B = np.abs(numbers(2, 3)) + 0.5, np.abs(numbers(3)) + 1.5
BINARY = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "np.add": np.add,
    "np.subtract": np.subtract,
    "np.multiply": np.multiply,
    "np.divide": np.divide,
    "np.power": np.power,
    "np.float_power": np.float_power,
    "np.maximum": np.maximum,
    "np.minimum": np.minimum,
}


@pytest.mark.parametrize("how", BINARY)
def test_tensor_and_array_in_either_order_give_a_tensor_with_numpys_values(how):
    f = BINARY[how]
    expected = f(A, B)
    for a, b in [(leaf(A), B), (A, leaf(B)), (leaf(A), leaf(B)), (Tensor(A), B), (A, Tensor(B))]:
        y = f(a, b)
        assert type(y) is Tensor
        np.testing.assert_array_equal(y.data, expected)
        assert y.requires_grad == any(isinstance(t, Tensor) and t.requires_grad for t in (a, b))


@pytest.mark.parametrize("how", BINARY)
def test_the_order_of_the_operands_is_kept_in_the_gradients(how):
    """x op array and array op x have different derivatives: compared with the two-Tensor form of the same op."""
    f = BINARY[how]
    both_a, both_b = leaf(A), leaf(B)
    f(both_a, both_b).sum().backward()
    left, right = leaf(A), leaf(B)
    f(left, B).sum().backward()
    f(A, right).sum().backward()
    np.testing.assert_array_equal(left.grad, both_a.grad)
    np.testing.assert_array_equal(right.grad, both_b.grad)


@pytest.mark.parametrize("number", [3, 2.5, np.float64(2.5), np.float32(2.5), np.int64(3), np.array(2.5)])
def test_numbers_may_stand_on_either_side(number):
    x = leaf(A)
    for f in (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow):
        for y, expected in [(f(x, number), f(A, number)), (f(number, x), f(number, A))]:
            assert type(y) is Tensor and y.node is not None
            np.testing.assert_allclose(y.data, expected, rtol=1e-14)


def test_matrix_products_in_either_order():
    a, b = numbers(4, 2, 3), numbers(3, 5)
    for y in (leaf(a) @ b, a @ leaf(b), leaf(a) @ leaf(b), np.matmul(leaf(a), b), np.matmul(a, leaf(b))):
        assert type(y) is Tensor and y.node.op == "matmul"
        assert_close(y.data, a @ b, 1e-14)


def test_an_array_on_the_left_is_one_op_not_one_per_element():
    y = np.ones((3, 4)) * leaf(np.ones(4))
    assert type(y) is Tensor and y.shape == (3, 4) and y.node.op == "mul"


def test_signs():
    x = leaf([1.0, -2.0, 3.0])
    assert +x is x
    for y, expected in [(-x, [-1, 2, -3]), (abs(x), [1, 2, 3]), (x.abs(), [1, 2, 3]), (np.negative(x), [-1, 2, -3])]:
        assert type(y) is Tensor
        np.testing.assert_array_equal(y.data, expected)


def test_operators_that_work_in_place_make_a_new_tensor():
    x = leaf([1.0, 2.0])
    before = y = x * 1
    y += 1
    y *= 3
    assert y is not before
    np.testing.assert_array_equal(before.data, [1, 2])
    np.testing.assert_array_equal(y.data, [6, 9])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [3, 3])


def test_an_array_cannot_be_added_to_in_place():
    total = np.zeros(2)
    with pytest.raises(TypeError, match=r"np\.add"):
        total += leaf([1.0, 2.0])
    np.testing.assert_array_equal(total, 0)


def test_results_without_gradients_still_work_in_every_operator():
    with no_grad():
        x = leaf(A)
        y = ((x + 1) @ x.mT)[0].sum() / 2
    assert_close(y.item(), ((A + 1) @ A.T)[0].sum() / 2, 1e-13)
    assert y.node is None


# --- NumPy's functions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "sin", "cos", "negative", "absolute"])
def test_numpy_functions_of_one_tensor_are_the_ops(name):
    x = leaf(A)
    y = getattr(np, name)(x)
    assert type(y) is Tensor and y.node is not None
    np.testing.assert_array_equal(y.data, getattr(np, name)(A))


@pytest.mark.parametrize("f", [np.sinh, np.floor, np.arctan, lambda x: np.arctan2(x, x), np.add.reduce, np.mod])
def test_numpy_functions_without_an_op_say_what_to_call(f):
    x = leaf(A)
    with pytest.raises(TypeError, match=r"np\.\w+(\.reduce)? does not know how to differentiate a Tensor: use .*numpy"):
        f(x) if f is not np.mod else f(x, 2.0)


def test_ufuncs_with_options_are_refused_not_ignored():
    x = leaf(A)
    for options in [{"out": np.empty(A.shape)}, {"where": A > 1}, {"dtype": np.float32}]:
        with pytest.raises(TypeError, match=r"np\.exp does not know"):
            np.exp(x, **options)


@pytest.mark.parametrize("f", [np.sum, np.mean, np.max, np.var, np.prod, np.concatenate, np.stack, np.dot, np.where])
def test_numpy_functions_that_are_no_ufuncs_work_or_say_what_to_call_or_show_as_a_cut(f):
    """None may silently drop a gradient: a Tensor, an error in minigrad's words, or a cut that observers see."""
    cuts = []

    class Cuts(Observer):
        def cut(self, how, tensor):
            cuts.append(tensor)

    x = leaf(A)
    arguments = {np.concatenate: ([x, x],), np.stack: ([x, x],), np.dot: (x, x.mT), np.where: (A > 1, x, 0)}
    with watch(Cuts()):
        try:
            y = f(*arguments.get(f, (x,)))
        except TypeError as error:
            assert "Tensor" in str(error) and "unexpected keyword" not in str(error)
        else:
            assert isinstance(y, Tensor) or cuts


def test_asarray_is_the_array_and_array_a_copy():
    x = leaf(A)
    assert np.asarray(x) is x.data or np.shares_memory(np.asarray(x), x.data)
    assert not np.shares_memory(np.array(x), x.data)
    assert np.asarray(x, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.asarray(x, np.float32), A.astype(np.float32))
    with pytest.raises(ValueError):
        np.array(x, np.float32, copy=False)  # cannot be had without a copy


def test_numpys_questions_about_shape_are_answered():
    x = leaf(np.ones((2, 3)))
    assert np.shape(x) == (2, 3) and np.ndim(x) == 2 and np.size(x) == 6


@pytest.mark.parametrize("name", ["isnan", "isfinite", "isinf", "sign"])
def test_tests_of_values_give_plain_arrays(name):
    a = np.array([1.0, -np.inf, np.nan])
    y = getattr(np, name)(leaf(a))
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, getattr(np, name)(a))


# --- comparisons -------------------------------------------------------------------------------------------------

COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.mark.parametrize("f", COMPARISONS)
def test_comparisons_give_plain_boolean_arrays(f):
    a, b = np.array([1.0, 2.0, np.nan]), np.array([2.0, 2.0, 2.0])
    x, z = leaf(a), leaf(b)
    for y, expected in [(f(x, b), f(a, b)), (f(a, z), f(a, b)), (f(x, z), f(a, b)), (f(x, 2), f(a, 2))]:
        assert type(y) is np.ndarray and y.dtype == bool
        np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(f(np.float64(2), x), f(2.0, a))
    np.testing.assert_array_equal(f(2, x), f(2, a))
    assert f(x[0], 1.0).shape == ()


def test_a_comparison_serves_as_mask_and_condition():
    x = leaf([1.0, -2.0, 3.0])
    minigrad.where(x > 0, x * 2, 0).sum().backward()
    np.testing.assert_array_equal(x.grad, [2, 0, 2])
    np.testing.assert_array_equal(x[x > 0].data, [1, 3])
    assert minigrad.softmax(x, mask=x > 0).data[1] == 0


def test_truth_is_for_one_element():
    assert leaf(2.0) and not leaf(0.0) and leaf([3.0]) > 2
    with pytest.raises(ValueError, match="ambiguous"):
        bool(leaf([1.0, 2.0]))


def test_tensors_are_told_apart_by_identity_in_sets_and_dicts():
    a, b = leaf([1.0, 2.0]), leaf([1.0, 2.0])
    assert len({a, b}) == 2 and {a: "a", b: "b"}[b] == "b"
    assert hash(a) == hash(a)


# --- as a sequence and a number ----------------------------------------------------------------------------------


def test_iteration_gives_rows_that_can_be_differentiated():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    first, second = x
    (first * second).sum().backward()
    np.testing.assert_array_equal(x.grad, [[3, 4], [1, 2]])
    assert len(x) == 2 and len(list(x)) == 2 and [len(row) for row in x] == [2, 2]
    for nothing in (len, list):
        with pytest.raises(TypeError):
            nothing(leaf(1.0))


def test_numbers_come_out_as_pythons():
    x = leaf([[2.5]], np.float32)
    assert x.item() == 2.5 and type(x.item()) is float
    assert float(x) == 2.5 and int(x) == 2 and type(int(x)) is int
    assert f"{x.item():.2f}" == "2.50"
    with pytest.raises(ValueError):
        leaf([1.0, 2.0]).item()


def test_shape_words_are_numpys():
    x = leaf(np.ones((2, 3, 4)), np.float32)
    assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 3, 4), 3, 24, np.dtype(np.float32), 2)


def test_repr_shows_numbers_dtype_and_origin():
    x = leaf([1.0, 2.0], np.float32)
    assert repr(x) == "Tensor([1., 2.], float32, requires_grad=True)"
    assert repr(x * 2) == "Tensor([2., 4.], float32, op=mul)"
    assert repr(x.detach()) == "Tensor([1., 2.], float32)"
    assert len(repr(leaf(np.ones((1000, 1000))))) < 1000
