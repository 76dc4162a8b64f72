"""NumPy's functions on Tensors, and Tensors in other libraries: plots, DLPack, copies, lists."""

import contextlib
import copy
import gc
import weakref
from inspect import signature

import numpy as np
import pytest

from agreement import leaf
from minigrad import Tensor

X = np.random.default_rng(0).normal(size=(2, 3))
NEW_CLIP = "min" in signature(np.clip).parameters  # from NumPy 2.1 on
CALLS = {
    "sum": lambda x: np.sum(x),
    "sum by position": lambda x: np.sum(x, 1),
    "sum by name": lambda x: np.sum(x, axis=1, keepdims=True),
    "mean": lambda x: np.mean(x, axis=(0, 1)),
    "var": lambda x: np.var(x, axis=0),
    "std": lambda x: np.std(x, axis=0),
    "max": lambda x: np.max(x, axis=1),
    "amax": lambda x: np.amax(x, 1),
    "min": lambda x: np.min(x, 0, keepdims=True),
    "prod": lambda x: np.prod(x, axis=0),
    "cumsum": lambda x: np.cumsum(x, axis=1),
    "cumsum of all": lambda x: np.cumsum(x),
    "where": lambda x: np.where(X > 0, x, 0),
    "clip": lambda x: np.clip(x, -0.4, 0.4),
    "clip by name": lambda x: np.clip(x, a_min=-0.4, a_max=None),
    "clip by another name": lambda x: (
        np.clip(x, min=0) if "min" in signature(np.clip).parameters else np.clip(x, 0, None)
    ),
    "transpose": lambda x: np.transpose(x),
    "transpose with axes": lambda x: np.transpose(x, (1, 0)),
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 2, 3)),
    "reshape": lambda x: np.reshape(x, (3, -1)),
    "ravel": lambda x: np.ravel(x),
    "squeeze": lambda x: np.squeeze(x[:1]),
    "expand_dims": lambda x: np.expand_dims(x, 1),
    "concatenate": lambda x: np.concatenate([x, X, x], axis=1),
    "concatenate by position": lambda x: np.concatenate((X, x), 0),
    "stack": lambda x: np.stack([x, x], axis=-1),
    "split": lambda x: np.split(x, [1], axis=1)[1],
    "tril": lambda x: np.tril(x, 1),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, X),
    "norm": lambda x: np.linalg.norm(x, axis=1),
    "matmul": lambda x: np.matmul(X, x.T),
    "sin": lambda x: np.sin(x),
}


@pytest.mark.parametrize("what", CALLS)
def test_numpys_functions_are_the_ops_and_keep_the_gradient(what):
    x = leaf(X)
    y, expected = CALLS[what](x), CALLS[what](X)
    assert type(y) is Tensor and y.requires_grad and y.shape == expected.shape
    np.testing.assert_allclose(y.data, expected, rtol=1e-13)
    y.sum().backward()
    assert np.abs(x.grad).max() > 0
    assert type(CALLS[what](Tensor(X))) is Tensor  # of a constant, too


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: np.sum(x, out=np.empty(())), r"np\.sum of a Tensor is minigrad\.sum: .* axis, keepdims.*not out$"),
        (lambda x: np.mean(x, dtype=np.float32), r"np\.mean .*, not dtype$"),
        (lambda x: np.var(x, ddof=1), r"np\.var .*, not ddof$"),
        (lambda x: np.sum(x, 0, np.float32), r"np\.sum .*: it takes its arrays first, then axis, keepdims, by name$"),
        (lambda x: np.max(x, initial=0.0), r"np\.max .*, not initial$"),
        (lambda x: np.linalg.norm(x, 1), r"np\.linalg\.norm of a Tensor is minigrad\.norm: .*, not ord$"),
        (lambda x: np.stack([x], dtype=np.float32), r"np\.stack of a Tensor is minigrad\.stack: .*, not dtype$"),
        (lambda x: np.concatenate([x, x], axis=None), r"concat takes one list and an axis, an integer"),
        (lambda x: np.sum(a=x), r"np\.sum of a Tensor is minigrad\.sum: it takes its arrays first"),
        (lambda x: np.linalg.inv(x), r"np\.inv does not know how to differentiate a Tensor"),
    ],
)
def test_what_the_ops_do_not_have_is_refused_not_ignored(call, says):
    with pytest.raises(TypeError, match=says):
        call(leaf(X))


def test_numpys_functions_make_no_reference_cycles():
    gc.collect()
    gc.disable()
    try:
        y = leaf(X).exp()
        node = weakref.ref(y.node)
        for call in (np.sum, np.shape, np.argmax, lambda y: np.concatenate([y, y]), lambda y: np.sum(y, out=1)):
            with contextlib.suppress(TypeError):
                call(y)
        del y
        assert node() is None
    finally:
        gc.enable()


# --- other libraries, and Python -----------------------------------------------------------------------------------


def test_dlpack_hands_out_a_copy():
    y = leaf(X) * 2
    array = np.from_dlpack(y)
    np.testing.assert_array_equal(array, y.data)
    assert not np.shares_memory(array, y.data)


def test_pytorch_takes_a_tensor():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    y = leaf(X) * 2
    theirs = torch.from_dlpack(y)
    theirs.zero_()
    np.testing.assert_array_equal(y.data, X * 2)


def test_a_computed_tensor_can_be_plotted():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from matplotlib.figure import Figure

    y = leaf(X) * 2
    axes = Figure().subplots()
    (line,) = axes.plot(y[0])
    np.testing.assert_array_equal(line.get_ydata(), y.data[0])
    (line,) = axes.plot(y[0], y[1])
    np.testing.assert_array_equal(line.get_xydata(), y.data.T)
    axes.imshow(y)
    axes.scatter(y[0], y[1])
    axes.hist(y[0])


def test_a_copy_of_a_leaf_is_a_leaf_and_of_a_computed_tensor_the_same():
    x = leaf(X)
    y = x * 2
    assert copy.copy(y) is y
    for f in (copy.copy, copy.deepcopy):
        other = f(x)
        assert other is not x and other.requires_grad and not np.shares_memory(other.data, x.data)
        constant = f(y.detach())
        assert not constant.requires_grad
        np.testing.assert_array_equal(constant.data, y.data)
    with pytest.raises(TypeError, match=r"computed by mul: take t\.detach\(\)"):
        copy.deepcopy(y)


def test_lists_are_pythons():
    assert leaf([[1.0, 2.5]]).tolist() == [[1.0, 2.5]] and leaf(3.0).tolist() == 3.0
    assert (leaf([1.0]) * 2).tolist() == [2.0]


def test_an_integer_counts_and_indexes():
    three = Tensor(np.array(3))
    assert list(range(three)) == [0, 1, 2] and "abcd"[three] == "d" and np.arange(5)[three] == 3
    for other in (Tensor(3.0), Tensor(np.array([3])), leaf(X)):
        with pytest.raises(TypeError, match=r"only a Tensor of one integer can be an index, not"):
            range(other)


def test_std_and_norm_keep_dimensions_as_numpy_does():
    x = Tensor(np.arange(6.0).reshape(2, 3))
    assert np.std(x, axis=1, keepdims=True).shape == np.linalg.norm(x, axis=1, keepdims=True).shape == (2, 1)
