"""Operators and methods of a Tensor: NumPy's words, NumPy's values, and types that a checker and an editor know."""

from __future__ import annotations

import operator
import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minigrad
from minigrad import Observer, Tensor, no_grad, watch


def leaf(data, dtype=np.float64):
    return Tensor(np.array(data, dtype), requires_grad=True)


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
            np.testing.assert_allclose(y.data, expected, rtol=1e-15)


def test_matrix_products_in_either_order():
    a, b = numbers(4, 2, 3), numbers(3, 5)
    for y in (leaf(a) @ b, a @ leaf(b), leaf(a) @ leaf(b), np.matmul(leaf(a), b), np.matmul(a, leaf(b))):
        assert type(y) is Tensor and y.node.op == "matmul"
        np.testing.assert_allclose(y.data, a @ b, rtol=1e-14)


def test_an_array_on_the_left_is_one_op_not_one_per_element():
    y = np.ones((3, 4)) * leaf(np.ones(4))
    assert type(y) is Tensor and y.shape == (3, 4) and y.node.op == "mul"


def test_signs():
    x = leaf([1.0, -2.0, 3.0])
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


# --- NumPy's functions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "negative", "absolute"])
def test_numpy_functions_of_one_tensor_are_the_ops(name):
    x = leaf(A)
    y = getattr(np, name)(x)
    assert type(y) is Tensor and y.node is not None
    np.testing.assert_array_equal(y.data, getattr(np, name)(A))


@pytest.mark.parametrize("f", [np.sin, np.floor, np.arctan, lambda x: np.arctan2(x, x), np.add.reduce, np.mod])
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


# --- methods -----------------------------------------------------------------------------------------------------

X = numbers(2, 3, 4)
AXES = [None, 0, 1, 2, -1, -2, -3, (0, 1), (0, 2), (-1, 0), (0, 1, 2), ()]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["sum", "mean", "var", "max", "min"])
def test_reductions_in_numpys_words_have_numpys_values(name, axis, keepdims):
    y = getattr(leaf(X), name)(axis=axis, keepdims=keepdims)
    expected = getattr(X, name)(axis=axis, keepdims=keepdims)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y.data, expected, rtol=1e-13, atol=1e-16)
    positional = getattr(leaf(X), name)(axis, keepdims)
    np.testing.assert_array_equal(positional.data, y.data)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["sum", "mean", "var", "max", "min"])
def test_keepdims_changes_no_gradient(name, axis):
    x, kept = leaf(X), leaf(X)
    y = getattr(x, name)(axis=axis)
    u = np.random.default_rng(0).normal(size=y.shape)
    y.backward(u)
    z = getattr(kept, name)(axis=axis, keepdims=True)
    z.backward(u.reshape(z.shape))
    np.testing.assert_array_equal(x.grad, kept.grad)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("reshape", (6, 4)),
        ("reshape", ((4, 6),)),
        ("reshape", (-1,)),
        ("reshape", ((2, -1),)),
        ("reshape", (24,)),
        ("transpose", ()),
        ("transpose", (0, 2, 1)),
        ("transpose", ((1, 2, 0),)),
        ("transpose", (-1, 0, 1)),
        ("swapaxes", (0, 2)),
        ("swapaxes", (-1, 0)),
        ("swapaxes", (1, 1)),
    ],
)
def test_shape_methods_move_values_and_gradients_alike(name, arguments):
    """Each is a permutation of elements: the gradient of element i is what arrived where it went."""
    x = leaf(X)
    y = getattr(x, name)(*arguments)
    np.testing.assert_array_equal(y.data, getattr(X, name)(*arguments))
    u = np.random.default_rng(0).permutation(X.size) * 1.0
    y.backward(u.reshape(y.shape))
    went_to = dict(zip(y.data.ravel(), u, strict=True))
    np.testing.assert_array_equal(x.grad, np.vectorize(went_to.get)(X))


def test_transposes_as_attributes():
    x = leaf(X)
    np.testing.assert_array_equal(x.mT.data, X.mT)
    np.testing.assert_array_equal(x.T.data, X.T)
    np.testing.assert_array_equal(x.transpose(None).data, X.T)
    assert leaf([1.0, 2.0]).T.shape == (2,)


def test_broadcast_to():
    x = leaf([[1.0], [2.0]])
    y = x.broadcast_to((3, 2, 4))
    np.testing.assert_array_equal(y.data, np.broadcast_to(x.data, (3, 2, 4)))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [[12], [12]])


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh", "sigmoid", "relu", "abs"])
def test_elementwise_methods_are_the_ops(name):
    np.testing.assert_array_equal(getattr(leaf(A), name)().data, getattr(minigrad, name)(leaf(A)).data)


def test_clip_and_softmax_methods():
    x = leaf(X)
    np.testing.assert_array_equal(x.clip(-0.2, 0.3).data, X.clip(-0.2, 0.3))
    np.testing.assert_array_equal(x.clip(low=0.1).data, X.clip(0.1, None))
    np.testing.assert_array_equal(x.clip(high=0.1).data, X.clip(None, 0.1))
    np.testing.assert_array_equal(x.softmax(axis=1).data, minigrad.softmax(x, axis=1).data)


# --- indexing ----------------------------------------------------------------------------------------------------

INDICES = {
    "an integer": 1,
    "a negative integer": -1,
    "a NumPy integer": np.int64(1),
    "integers": (1, -1, 0),
    "a slice": slice(0, 1),
    "steps": (slice(None), slice(None, None, 2)),
    "backwards": (slice(None, None, -1), slice(2, None, -2)),
    "an empty slice": slice(2, 2),
    "ellipsis": (..., 0),
    "only ellipsis": ...,
    "a new axis": (None, slice(None), None, 1),
    "an empty tuple": (),
    "a boolean": True,
    "a mask of all axes": X > 0,
    "a mask of the first axis": np.array([True, False]),
    "a mask of a later axis": (slice(None), np.array([True, False, True])),
    "a mask with nothing in it": np.zeros(2, bool),
    "a list": [1, 0],
    "repeated rows": np.array([1, 1, 1, 0]),
    "negative repeats": np.array([1, -1, -1]),
    "an array of 2 axes": np.array([[0, 1], [1, 1]]),
    "arrays paired up": (np.array([0, 1, 0]), np.array([2, 0, 2])),
    "arrays broadcast": (np.array([[0], [1]]), np.array([2, 0, 2])),
    "arrays around a slice": (np.array([0, 1, 1]), slice(None), np.array([3, 3, 3])),
    "array and ellipsis": (..., np.array([3, 3])),
    "array and new axis": (None, np.array([0, 0]), 1),
    "an empty array": np.array([], int),
    "array of no axes": np.array(1),
}


@pytest.mark.parametrize("what", INDICES)
def test_indexing_is_numpys_and_repeated_indices_add_up(what):
    index = INDICES[what]
    x = leaf(X)
    y = x[index]
    expected = X[index]
    assert y.shape == expected.shape
    np.testing.assert_array_equal(y.data, expected)
    u = np.random.default_rng(0).normal(size=y.shape)
    y.backward(u)
    grad = np.zeros(X.shape)
    np.add.at(grad, index, u)
    np.testing.assert_allclose(x.grad, grad, rtol=1e-14, atol=1e-16)


def test_a_tensor_of_integers_indexes_like_an_array():
    x, i = leaf(X), np.array([1, 1, 0])
    np.testing.assert_array_equal(x[Tensor(i)].data, X[i])
    np.testing.assert_array_equal(x[:, Tensor(i)].data, X[:, i])


def test_repeated_indices_add_up_by_hand():
    x = leaf([1.0, 2.0, 3.0])
    x[np.array([0, 0, 2])].backward(np.array([1.0, 10.0, 100.0]))
    np.testing.assert_array_equal(x.grad, [11, 0, 100])


# --- joining -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_concat_and_stack_are_numpys_and_hand_back_each_part(axis):
    parts = [X + i for i in range(3)]
    leaves = [leaf(p) for p in parts]
    mixed = [leaves[0], parts[1], leaves[2]]
    for join, numpys in [(minigrad.concat, np.concatenate), (minigrad.stack, np.stack)]:
        y = join(mixed, axis=axis)
        expected = numpys(parts, axis=axis)
        np.testing.assert_array_equal(y.data, expected)
        y.backward(expected * 2)
        np.testing.assert_array_equal(leaves[0].grad, parts[0] * 2)
        np.testing.assert_array_equal(leaves[2].grad, parts[2] * 2)
        leaves[0].grad = leaves[2].grad = None


def test_parts_of_different_length_are_concatenated():
    a, b, c = leaf(np.ones((2, 1))), leaf(np.ones((2, 3))), leaf(np.ones((2, 0)))
    y = minigrad.concat([a, b, c, a], axis=1)
    y.backward(np.arange(10.0).reshape(2, 5))
    np.testing.assert_array_equal(a.grad, [[0 + 4], [5 + 9]])
    np.testing.assert_array_equal(b.grad, [[1, 2, 3], [6, 7, 8]])
    assert c.grad.shape == (2, 0)


def test_a_generator_or_a_tensors_rows_can_be_joined():
    x = leaf(X)
    np.testing.assert_array_equal(minigrad.stack(list(x)).data, X)
    np.testing.assert_array_equal(minigrad.concat(row for row in x).data, np.concatenate(list(X)))


# --- for type checkers and editors -------------------------------------------------------------------------------


def test_a_user_program_is_clean_under_mypy_strict_and_gets_tensors(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        import numpy as np
        import minigrad
        from minigrad import Tensor, no_grad

        x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, name="x")
        y, z = x * 2, x.mT
        a = np.ones((2, 2))

        def loss(t: Tensor) -> Tensor:
            return (t + y @ z).mean()

        reveal_type(x + y @ z)
        reveal_type(2 * x - 1)
        reveal_type(x.sum(axis=(0, 1), keepdims=True))
        reveal_type(x.mean(axis=-1))
        reveal_type(x.reshape(4).reshape((2, 2)).swapaxes(0, 1))
        reveal_type(x[0, :1])
        reveal_type(-abs(x) ** 2)
        reveal_type(minigrad.softmax(x))
        reveal_type(minigrad.softmax(x, axis=-1, mask=x > 0))
        reveal_type(minigrad.cross_entropy(x, np.array([0, 1])))
        reveal_type(minigrad.attention(x, x, x, causal=True))
        reveal_type(minigrad.concat([x, x], axis=1))
        reveal_type(minigrad.where(x > 0, x, 0))
        reveal_type(x.detach())
        reveal_type([row for row in x][0])
        with no_grad():
            reveal_type(loss(x))
        loss(x).backward()
        number: float = loss(x).item()
        gradient = x.grad
        compared = x > 0
        assert gradient is not None and compared.any()
        """)
    )
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=_environment_with_minigrad(),
    )
    # Once installed, minigrad is not the user's to check: only what mypy says about the program counts.
    lines = [line for line in result.stdout.splitlines() if line.startswith(program.name)]
    assert [line for line in lines if "error:" in line] == [], result.stderr
    revealed = [line.split("Revealed type is ")[1].strip('"') for line in lines if "Revealed type" in line]
    assert revealed == ["minigrad.engine.Tensor"] * program.read_text().count("reveal_type")


def _environment_with_minigrad():
    """mypy finds minigrad where this very test found it."""
    return {**os.environ, "MYPYPATH": str(pathlib.Path(minigrad.__file__).parent.parent)}


def test_every_operator_is_spelled_out_where_an_editor_finds_it():
    documented = {n for n in dir(Tensor) if not n.startswith("_")}
    assert documented >= {
        *["sum", "mean", "var", "max", "min", "reshape", "transpose", "swapaxes", "broadcast_to", "mT", "T", "exp"],
        *["log", "sqrt", "tanh", "sigmoid", "relu", "abs", "clip", "softmax", "shape", "ndim", "size", "dtype", "data"],
        *["grad", "backward", "detach", "item", "numpy", "requires_grad", "name"],
    }


def test_results_without_gradients_still_work_in_every_operator():
    with no_grad():
        x = leaf(A)
        y = ((x + 1) @ x.mT)[0].sum() / 2
    np.testing.assert_allclose(y.item(), ((A + 1) @ A.T)[0].sum() / 2)
    assert y.node is None
