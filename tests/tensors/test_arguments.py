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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
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


X = np.array([[3, 1, 2, 2]])
COMPUTES = {
    **{name: getattr(minigrad, name) for name in ("exp", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "neg")},
    **{name: getattr(minigrad, name) for name in ("sum", "mean", "var", "max", "min", "logsumexp", "layer_norm")},
    **{name: getattr(minigrad, name) for name in ("softmax", "log_softmax", "hardmax", "uniform", "sum_normalize")},
    **{name: getattr(minigrad, name) for name in ("sigmoid_normalize", "top_k_softmax", "sparsemax", "entmax15")},
    **{name: getattr(minigrad, name) for name in ("sin", "cos", "erf", "softplus", "silu", "prod", "cumsum")},
    **{name: getattr(minigrad, name) for name in ("std", "norm", "entropy")},
    "gelu, the erf form": lambda x: minigrad.gelu(x, approximate="none"),
    "einsum": lambda x: minigrad.einsum("ij,ij->i", x, x),
    "binary_cross_entropy": lambda x: minigrad.binary_cross_entropy(x, minigrad.clip(x, high=1)),
    "mse_loss": lambda x: minigrad.mse_loss(x, x),
    "abs": minigrad.abs,
    "clip": lambda x: minigrad.clip(x, low=0, high=2),
    "dropout": lambda x: minigrad.dropout(x, p=0.5, rng=np.random.default_rng(0)),
    **{
        name: lambda x, name=name: getattr(minigrad, name)(x, x)
        for name in ("add", "sub", "mul", "div", "pow", "maximum", "minimum")
    },
    "mul by a number": lambda x: minigrad.mul(x, 2),
    "matmul": lambda x: minigrad.matmul(x, minigrad.swapaxes(x, axis1=0, axis2=1)),
    "linear": lambda x: minigrad.linear(x, minigrad.swapaxes(x, axis1=0, axis2=1)),
    "attention": lambda x: minigrad.attention(x, x, x),
}
MOVES = {
    "reshape": lambda x: minigrad.reshape(x, shape=(2, 2)),
    "transpose": minigrad.transpose,
    "swapaxes": lambda x: minigrad.swapaxes(x, axis1=0, axis2=1),
    "broadcast_to": lambda x: minigrad.broadcast_to(x, shape=(3, 1, 4)),
    "squeeze": minigrad.squeeze,
    "expand_dims": lambda x: minigrad.expand_dims(x, 0),
    "flatten": minigrad.flatten,
    "split": lambda x: minigrad.split(x, 2, axis=1)[0],
    "tril": minigrad.tril,
    "getitem": lambda x: minigrad.getitem(x, index=(0, [1, 1])),
    "concat": lambda x: minigrad.concat([x, x]),
    "stack": lambda x: minigrad.stack([x, x]),
    "embedding": lambda x: minigrad.embedding(x, [0, 0]),
    "where": lambda x: minigrad.where(np.array([True, False, True, True]), x, x),
}


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("kind", [Tensor, np.array])
@pytest.mark.parametrize("name", COMPUTES)
def test_every_op_that_computes_makes_float32_of_integers(name, kind, dtype):
    x = X.astype(dtype)
    for run in (COMPUTES[name], minigrad.textbook()(COMPUTES[name])):
        y = run(kind(x))
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.data, run(Tensor(x.astype(np.float32))).data)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
@pytest.mark.parametrize("kind", [Tensor, np.array])
@pytest.mark.parametrize("name", MOVES)
def test_every_op_that_moves_elements_keeps_their_dtype(name, kind, dtype):
    assert MOVES[name](kind(X.astype(dtype))).dtype == dtype


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, ">f4", ">f8"])
def test_other_floats_are_refused_with_the_way_out(dtype):
    a = np.ones(3, dtype)
    for door in (
        lambda: Tensor(a),
        lambda: Tensor([1.0], dtype=dtype),
        lambda: minigrad.exp(a),
        lambda: minigrad.softmax(a),
        lambda: minigrad.reshape(a, shape=(3, 1)),
        lambda: minigrad.nn.Linear(2, 2).astype(dtype),
    ):
        with pytest.raises(TypeError, match=r"float32 or float64, not float\d+.*use \.astype\(np\.float32\)"):
            door()
    y = leaf([1.0, 2.0, 3.0], np.float32) * a  # beside a Tensor it takes the Tensor's dtype
    assert y.dtype == Tensor(a.astype(np.float32)).dtype == np.float32


def test_masked_arrays_are_refused():
    masked = np.ma.masked_array([1.0, 2.0], [True, False])
    for door in (Tensor, minigrad.exp, lambda a: leaf([1.0, 2.0]) * a):
        with pytest.raises(TypeError, match=r"lose its mask: use \.filled\(number\)"):
            door(masked)


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


# --- static arguments --------------------------------------------------------------------------------------------


RNG = np.random.default_rng(0)
CONSTANTS = {
    "low": lambda x, t: x.clip(low=t),
    "high": lambda x, t: minigrad.clip(x, high=t),
    "tau": lambda x, t: minigrad.gumbel_softmax(x, rng=RNG, tau=t),
    "eps": lambda x, t: minigrad.layer_norm(x, eps=t),
    "p": lambda x, t: minigrad.dropout(x, p=t, rng=RNG),
    "label_smoothing": lambda x, t: minigrad.cross_entropy(x, 1, label_smoothing=t),
    "mask": lambda x, t: minigrad.softmax(x, mask=t),
    "index": lambda x, t: x[..., t],
}


@pytest.mark.parametrize("key", CONSTANTS)
def test_a_keyword_that_would_lose_a_gradient_is_refused(key):
    x, t = leaf([1.0, 2.0, 3.0]), leaf(0.5)
    with pytest.raises(TypeError, match=rf"\w+ takes {key} as a constant.*no gradient: pass {key}=t\.detach\(\)"):
        CONSTANTS[key](x, t)
    if key not in ("mask", "index"):  # the way out
        for constant in (t.detach(), np.array(0.5), np.float64(0.5)):
            y = CONSTANTS[key](leaf([1.0, 2.0, 3.0], np.float32), constant)
            y.sum().backward()
            assert y.dtype == np.float32
