"""Every kernel of minigrad.fast against the page it stands in for: the same values and gradients, up to rounding."""

import numpy as np
import pytest

from agreement import assert_close, leaf, random_cotangent
from minigrad import OPS, Tensor, causal_mask, length_mask
from minigrad.fast import textbook
from minigrad.finite_differences.cases import CASES, case

KERNELS = sorted(name for name, op in OPS.items() if op.kernel is not None)
TOLERANCES = {np.float32: 1e-5, np.float64: 1e-12}
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCES)


def is_floating(array):
    return array is not None and np.asarray(array).dtype.kind == "f"


def value_and_gradients(name, case, dtype):
    """The op's value, and its gradient with respect to each floating argument, for a random cotangent."""
    arguments = [leaf(a, dtype) if is_floating(a) else a for a in case.arrays]
    y = case.of(OPS[name])(*arguments)
    y.backward(random_cotangent(y))
    return [y.data, *(a.grad for a in arguments if isinstance(a, Tensor))]


def assert_kernel_agrees(name, case, dtype):
    """Rounding errors grow with the inputs: scores of size 100 are off by 100 eps, and their exponentials, too."""
    assert OPS[name].kernel is not None
    by_kernel = value_and_gradients(name, case, dtype)
    with textbook():
        by_page = value_and_gradients(name, case, dtype)
    size = max(np.abs(a).max(initial=1.0) for a in case.arrays if is_floating(a))
    largest = max(np.abs(a).max(initial=0.0) for a in by_page)  # a gradient that is 0 consists of rounding errors of it
    for kernels, pages in zip(by_kernel, by_page, strict=True):
        assert kernels.dtype == pages.dtype == dtype and kernels.shape == pages.shape
        own = TOLERANCES[dtype] * np.abs(pages).max(initial=0.0)
        assert_close(kernels, pages, size, scale=own + 10 * np.finfo(dtype).eps * largest)


def test_far_scores_are_far():
    scores = FAR[0] @ FAR[1].mT / np.sqrt(8)
    assert scores.max() > 40 and scores.min() < -40


def test_there_are_kernels_to_compare():
    named = ["attention", "cross_entropy", "embedding", "erf", "gelu", "gru", "layer_norm", "linear", "tiled_attention"]
    assert named == KERNELS


@both_dtypes
@pytest.mark.parametrize(
    ("name", "case"), [pytest.param(name, c, id=f"{name}{c}") for name in KERNELS for c in CASES[name]]
)
def test_the_kernel_gives_what_the_page_gives(name, case, dtype):
    assert_kernel_agrees(name, case, dtype)


# --- larger than the cases -----------------------------------------------------------------------------------------

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape)


def qkv(*lead, n_queries=130, n_keys=130, d=8, d_v=8):
    return normal(*lead, n_queries, d), normal(*lead, n_keys, d), normal(*lead, n_keys, d_v)


SOME = rng.random((130, 130)) < 0.5
A_QUERY_LEFT_WITH_NOTHING = SOME & (np.arange(130) != 70)[:, None]
LENGTHS = length_mask([130, 65, 1], 130)
LATER_KEYS = np.broadcast_to(np.arange(130) >= 64, (130, 130))  # causal, a whole block of queries is left with nothing


def one_sided(score):
    return 1 + 0.1 * np.abs(normal(2, 130, 1)), score + normal(2, 130, 1), normal(2, 130, 8)


FAR = (10 * normal(130, 8), *qkv(2)[1:])
ids = rng.integers(0, 50, size=(30, 20))

LARGER = {
    # 130 positions are two blocks of 64 queries and a rest of 2
    "attention": ("attention", case(*qkv())),
    "attention, causal": ("attention", case(*qkv(), causal=True)),
    "attention, heads": ("attention", case(*qkv(2, d=12, d_v=6), n_heads=3)),
    "attention, heads, causal": ("attention", case(*qkv(2, d=12, d_v=6), n_heads=3, causal=True)),
    # scores beyond ±10, so that the maximum is subtracted
    "attention, far scores": ("attention", case(*FAR)),
    "attention, far scores, causal": ("attention", case(*FAR, causal=True)),
    "attention, far scores, mask": ("attention", case(*FAR, mask=A_QUERY_LEFT_WITH_NOTHING)),
    # all of them near 150, or near −150
    "attention, high scores": ("attention", case(*one_sided(150), scale=1.0)),
    "attention, high scores, causal": ("attention", case(*one_sided(150), scale=1.0, causal=True)),
    "attention, low scores": ("attention", case(*one_sided(-150), scale=1.0)),
    "attention, low scores, causal": ("attention", case(*one_sided(-150), scale=1.0, causal=True)),
    "attention, mask": ("attention", case(*qkv(2), mask=SOME)),
    "attention, causal mask given as a mask": ("attention", case(*qkv(2), mask=causal_mask(130))),
    "attention, a query left with nothing": ("attention", case(*qkv(2), mask=A_QUERY_LEFT_WITH_NOTHING)),
    "attention, mask and causal": ("attention", case(*qkv(2), mask=SOME, causal=True)),
    "attention, blocks left with nothing": ("attention", case(*qkv(2), mask=LATER_KEYS, causal=True)),
    "attention, lengths and heads": ("attention", case(*qkv(3, d=12, d_v=12), n_heads=2, mask=LENGTHS)),
    "attention, two leading axes": ("attention", case(*qkv(2, 3), causal=True)),
    "attention, leading axes broadcast": (
        "attention",
        case(normal(2, 1, 130, 8), normal(3, 70, 8), normal(70, 5), mask=SOME[:, :70]),
    ),
    "attention, one query": ("attention", case(*qkv(4, n_queries=1))),
    "attention, a batch beyond the cache": ("attention", case(*qkv(40, d=16, d_v=16), causal=True)),
    "attention, large scores": ("attention", case(*(10 * a for a in qkv(2)), causal=True)),
    "gelu, in pieces of 32,768": ("gelu", case(3 * normal(70_000))),
    "gelu, one piece exactly": ("gelu", case(3 * normal(32_768))),
    "gelu, many axes": ("gelu", case(3 * normal(7, 100, 100))),
    "gelu, the erf form": ("gelu", case(3 * normal(70_000), approximate="none")),
    "erf, in pieces of 32,768": ("erf", case(3 * normal(70_000))),
    "erf, from tiny to beyond 6": ("erf", case(10.0 ** rng.uniform(-9, 1, 1000) * rng.choice([-1, 1], 1000))),
    "embedding, a large table": ("embedding", case(normal(2000, 6), rng.integers(0, 2000, size=(40, 50)))),
    "embedding, a small table": ("embedding", case(normal(50, 6), ids)),
    "embedding, a row of a large table 600 times": ("embedding", case(normal(2000, 6), np.full((30, 20), 1234))),
    "layer_norm": ("layer_norm", case(normal(3, 5, 129), normal(129), normal(129))),
    "layer_norm, no weight": ("layer_norm", case(normal(3, 5, 129), None, normal(129))),
    "layer_norm, no bias": ("layer_norm", case(normal(3, 5, 129), normal(129))),
    "layer_norm, alone": ("layer_norm", case(normal(3, 5, 129))),
    "gru, 40 steps": ("gru", case(normal(3, 40, 36), normal(3, 12), 0.3 * normal(12, 36), normal(12))),
    "gru, 40 steps, one state, no bias": ("gru", case(normal(3, 40, 36), normal(12), 0.3 * normal(12, 36))),
    "gru, 40 steps, masked": (
        "gru",
        case(normal(3, 40, 36), normal(3, 12), 0.3 * normal(12, 36), normal(12), mask=rng.random((3, 40)) < 0.7),
    ),
}


@both_dtypes
@pytest.mark.parametrize("what", LARGER)
def test_the_kernel_gives_what_the_page_gives_on_larger_arrays(what, dtype):
    assert_kernel_agrees(*LARGER[what], dtype)


# --- would it be noticed? ------------------------------------------------------------------------------------------


def damaged(kernel, damage):
    """The kernel of an op of one argument, with `damage(y, vjp)` in place of what it returns."""

    def f(x, **static):
        y, vjp = kernel(x, **static)
        return damage(np.asarray(y), vjp)

    return f


def with_one_number_off(y):
    y = y.copy()
    y[np.abs(y).argmax()] *= 1 + 1e-4
    return y


DAMAGE = {
    "the value": lambda y, vjp: (y * y.dtype.type(1 + 1e-4), vjp),
    "the gradient": lambda y, vjp: (y, lambda grad_y: vjp(grad_y) * grad_y.dtype.type(1 + 1e-4)),
    "one number of the value": lambda y, vjp: (with_one_number_off(y), vjp),
    "one number of the gradient": lambda y, vjp: (y, lambda grad_y: with_one_number_off(vjp(grad_y))),
    "the dtype": lambda y, vjp: (y.astype(np.float32 if y.dtype == np.float64 else np.float64), vjp),
}


@both_dtypes
@pytest.mark.parametrize("what", DAMAGE)
def test_a_kernel_that_is_a_little_off_is_noticed(monkeypatch, what, dtype):
    numbers = case(np.linspace(0.2, 1, 7))
    assert_kernel_agrees("gelu", numbers, dtype)
    monkeypatch.setattr(OPS["gelu"], "kernel", damaged(OPS["gelu"].kernel, DAMAGE[what]))
    with pytest.raises(AssertionError):
        assert_kernel_agrees("gelu", numbers, dtype)
