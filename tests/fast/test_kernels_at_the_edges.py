"""Kernels against their pages where numbers end: nan and infinities, integers, nothing at all, two dtypes at once."""

import contextlib

import numpy as np
import pytest
from test_kernels_agree import KERNELS, TOLERANCES, assert_kernel_agrees, is_floating, normal

from agreement import assert_close, random_cotangent
from minigrad import OPS, Tensor
from minigrad.fast import textbook
from minigrad.finite_differences.cases import CASES, case

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCES)
every_kernel = pytest.mark.parametrize("name", KERNELS)


def results(name, case, arguments):
    """Value and gradients by the kernel, then by the page."""
    for code in (contextlib.nullcontext(), textbook()):
        tensors = [Tensor(a, requires_grad=is_floating(a)) if isinstance(a, np.ndarray) else a for a in arguments]
        with code:
            y = case.of(OPS[name])(*tensors)
        if y.node is not None:
            y.backward(random_cotangent(y))
        yield [y.data, *(t.grad for t in tensors if isinstance(t, Tensor) and t.requires_grad)]


def may_be_anything(name, position, array):
    """Floats, but for cross_entropy's probabilities: those that do not sum to 1 are refused."""
    return is_floating(array) and not (name == "cross_entropy" and position > 0)


def largest(arrays):
    return max((np.abs(a)[np.isfinite(a)].max(initial=0.0) for a in arrays), default=0.0)


def assert_same(by_kernel, by_page, size, what):
    """nan and infinities in the same places; all other numbers equal up to rounding, which grows with the inputs."""
    scale = max(size, 1) * largest(by_page)
    for kernels, pages in zip(by_kernel, by_page, strict=True):
        assert kernels.dtype == pages.dtype and kernels.shape == pages.shape, what
        finite = np.isfinite(pages)
        np.testing.assert_array_equal(kernels[~finite], pages[~finite], err_msg=what)
        tolerance = TOLERANCES[pages.dtype.type]
        assert_close(kernels[finite], pages[finite], tolerance, scale=scale, what=what)


@both_dtypes
@every_kernel
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_nan_or_an_infinity_in_one_number_goes_where_the_page_lets_it(name, bad, dtype):
    for c in CASES[name]:
        for position, array in enumerate(c.arrays):
            if not may_be_anything(name, position, array) or np.size(array) == 0:
                continue
            arguments = [np.array(a, dtype) if is_floating(a) else a for a in c.arrays]
            arguments[position].reshape(-1)[np.size(array) // 2] = bad
            kernels, pages = results(name, c, arguments)
            size = largest(a for a in arguments if is_floating(a))
            assert_same(kernels, pages, size, f"{name}{c}, {bad} in argument {position}")


@every_kernel
def test_integers_become_float32(name):
    for c in CASES[name]:
        arguments = [
            (3 * np.array(a)).astype(int) if may_be_anything(name, i, a) else a for i, a in enumerate(c.arrays)
        ]
        kernels, pages = results(name, c, arguments)
        if name != "embedding" and not any(map(is_floating, arguments)):  # embedding only picks rows
            assert kernels[0].dtype == np.float32
        assert_close(kernels[0], pages[0], 1e-5, scale=largest(arguments[:1]) * largest(pages) + 1, what=str(c))


@every_kernel
def test_of_two_floating_dtypes_the_wider_is_used(name):
    for c in CASES[name]:
        floating = [i for i, a in enumerate(c.arrays) if is_floating(a)]
        for wide in floating:
            arguments = [
                np.array(a, np.float64 if i == wide else np.float32) if i in floating else a
                for i, a in enumerate(c.arrays)
            ]
            kernels, pages = results(name, c, arguments)
            assert kernels[0].dtype == np.float64
            for a, grad in zip([arguments[i] for i in floating], kernels[1:], strict=True):
                assert grad.dtype == a.dtype
            assert_same(kernels, pages, largest(a for a in arguments if is_floating(a)), str(c))


EMPTY = {
    "attention": ("attention", case(normal(0, 3, 4), normal(0, 5, 4), normal(0, 5, 2))),
    "attention, heads": ("attention", case(normal(0, 3, 4), normal(0, 5, 4), normal(0, 5, 2), n_heads=2, causal=False)),
    "attention, values of width 0": ("attention", case(normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 0))),
    "cross_entropy": ("cross_entropy", case(normal(0, 4), np.zeros(0, int))),
    "cross_entropy, each": ("cross_entropy", case(normal(2, 0, 4), np.zeros((2, 0), int), reduction="none")),
    "embedding": ("embedding", case(normal(5, 4), np.zeros((2, 0), int))),
    "embedding, rows of width 0": ("embedding", case(normal(5, 0), np.array([1, 4]))),
    "embedding, an empty table": ("embedding", case(normal(0, 4), np.zeros(0, int))),
    "gelu": ("gelu", case(normal(3, 0))),
    "gru": ("gru", case(normal(0, 3, 6), normal(0, 2), normal(2, 6), normal(2))),
    "gru, masked": ("gru", case(normal(0, 3, 6), normal(2), normal(2, 6), mask=np.ones((0, 3), bool))),
    "layer_norm": ("layer_norm", case(normal(0, 4), normal(4), normal(4))),
    "linear": ("linear", case(normal(2, 0, 4), normal(4, 3), normal(3))),
    "linear, of width 0": ("linear", case(normal(2, 3, 0), normal(0, 3), normal(3))),
    "linear, to width 0": ("linear", case(normal(2, 3, 4), normal(4, 0), normal(0))),
    "tiled_attention": ("tiled_attention", case(normal(0, 3, 4), normal(0, 5, 4), normal(0, 5, 2))),
}


@both_dtypes
@pytest.mark.parametrize("what", EMPTY)
def test_nothing_in_nothing_out(what, dtype):
    assert_kernel_agrees(*EMPTY[what], dtype)


@both_dtypes
def test_a_bad_gradient_reaches_only_the_row_it_belongs_to(dtype):
    grad_y = np.ones((3, 2), dtype)
    grad_y[1] = np.inf, np.nan
    for code in (contextlib.nullcontext(), textbook()):
        table = Tensor(np.ones((4, 2), dtype), requires_grad=True)
        with code:
            OPS["embedding"](table, np.array([3, 1, 3])).backward(grad_y)
        np.testing.assert_array_equal(table.grad, [[0, 0], [np.inf, np.nan], [0, 0], [2, 2]])
