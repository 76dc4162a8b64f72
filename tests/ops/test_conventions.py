"""What the ops do where mathematics leaves a choice: masks, ties, kinks, nan, huge numbers; and what always holds."""

from __future__ import annotations

import functools
import math
import warnings

import numpy as np
import pytest

import minigrad
from minigrad import OPS, Tensor
from minigrad.engine import Leaf, newest_first, pull_back
from minigrad.finite_differences.cases import CASES

NAN, INF = np.nan, np.inf


@pytest.fixture(autouse=True)
def warnings_are_errors():
    """A convention is decided: NumPy has nothing to warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def leaf(data, dtype=np.float64):
    return Tensor(np.array(data, dtype), requires_grad=True)


def pulled(f, *inputs, cotangent=None):
    """f's value, and the gradient of <cotangent, value> with respect to each input; the cotangent is random if None."""
    leaves = [leaf(x, np.asarray(x).dtype) for x in inputs]
    y = f(*leaves)
    if cotangent is None:
        cotangent = np.random.default_rng(7).normal(size=y.shape)
    y.backward(np.broadcast_to(cotangent, y.shape))
    grads = [x.grad for x in leaves]
    return y.data, *grads


def gumbel_softmax(scores, *, axis=-1, mask=None, hard=True):
    return minigrad.gumbel_softmax(scores, rng=np.random.default_rng(3), axis=axis, mask=mask, hard=hard)


# Every map from scores to weights.
MAPS = {
    "softmax": minigrad.softmax,
    "hardmax": minigrad.hardmax,
    "uniform": minigrad.uniform,
    "sum_normalize": minigrad.sum_normalize,
    "sigmoid_normalize": minigrad.sigmoid_normalize,
    "top_k_softmax": functools.partial(minigrad.top_k_softmax, k=2),
    "sparsemax": minigrad.sparsemax,
    "entmax15": minigrad.entmax15,
    "straight_through": minigrad.straight_through,
    "gumbel_softmax, hard": gumbel_softmax,
    "gumbel_softmax, soft": functools.partial(gumbel_softmax, hard=False),
}
# What takes scores and a mask; log_softmax keeps -inf for masked scores, the others 0 or one number for the row.
MASKED = MAPS | {"log_softmax": minigrad.log_softmax, "logsumexp": minigrad.logsumexp}

SCORES = np.random.default_rng(0).uniform(0.1, 2.0, size=(4, 5))  # positive, so that sum_normalize gives weights too
MASK = np.array(
    [[True, True, False, True, True], [False, True, True, False, True], [True] * 5, [False, False, True, False, False]]
)

every_map = pytest.mark.parametrize("name", MAPS)
every_masked = pytest.mark.parametrize("name", MASKED)


def all_but(names, maps=MASKED):
    return pytest.mark.parametrize("name", [name for name in maps if name not in names])


GUMBEL = ("gumbel_softmax, hard", "gumbel_softmax, soft")


# --- weights -----------------------------------------------------------------------------------------------------


@every_map
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("mask", [None, MASK])
def test_weights_are_not_negative_and_sum_to_1(name, axis, mask):
    y = MAPS[name](leaf(SCORES), axis=axis, mask=mask).data
    assert y.shape == SCORES.shape and (y >= 0).all()
    sums = y.sum(axis)
    expected = np.ones(sums.shape) if mask is None else mask.any(axis)
    np.testing.assert_allclose(sums, expected, rtol=1e-12)


@all_but(("sum_normalize", "sigmoid_normalize"), MAPS)
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("mask", [None, MASK])
def test_gradients_sum_to_0_where_adding_a_constant_changes_nothing(name, axis, mask):
    _, grad = pulled(lambda x: MAPS[name](x, axis=axis, mask=mask), SCORES)
    np.testing.assert_allclose(grad.sum(axis), 0, atol=1e-15)


@pytest.mark.parametrize("axis", [-1, 0])
def test_gradients_of_log_softmax_sum_to_0_and_of_logsumexp_to_the_incoming_gradient(axis):
    _, grad = pulled(lambda x: minigrad.log_softmax(x, axis=axis), SCORES)
    np.testing.assert_allclose(grad.sum(axis), 0, atol=1e-15)
    u = np.arange(1.0, 1 + np.delete(SCORES.shape, axis)[0])
    _, grad = pulled(lambda x: minigrad.logsumexp(x, axis=axis), SCORES, cotangent=u)
    np.testing.assert_allclose(grad.sum(axis), u, rtol=1e-14)


@pytest.mark.parametrize("name", ["softmax", "hardmax", "uniform", "top_k_softmax", "sparsemax", "entmax15"])
def test_adding_a_constant_to_all_scores_changes_nothing(name):
    for constant in (-100.0, 1e6):
        y, grad = pulled(MAPS[name], SCORES)
        y_shifted, grad_shifted = pulled(MAPS[name], SCORES + constant)
        np.testing.assert_allclose(y_shifted, y, atol=1e-8)
        np.testing.assert_allclose(grad_shifted, grad, atol=1e-8)


@all_but(GUMBEL)  # the noise stays where it is
def test_weights_move_with_their_scores_when_these_are_permuted(name):
    order = np.array([3, 1, 4, 0, 2])
    u = np.random.default_rng(1).normal(size=SCORES.shape)
    y, grad = pulled(lambda x: MASKED[name](x, mask=MASK), SCORES, cotangent=u if name != "logsumexp" else 1)
    y_permuted, grad_permuted = pulled(
        lambda x: MASKED[name](x, mask=MASK[:, order]),
        SCORES[:, order],
        cotangent=u[:, order] if name != "logsumexp" else 1,
    )
    np.testing.assert_allclose(y_permuted, y if name == "logsumexp" else y[:, order], rtol=1e-13)
    np.testing.assert_allclose(grad_permuted, grad[:, order], rtol=1e-12, atol=1e-15)


@all_but(GUMBEL)  # the noise is drawn in the shape of the scores
def test_any_axis_is_the_last_axis_of_the_transposed(name):
    cube = np.random.default_rng(2).uniform(0.1, 2, size=(2, 3, 4))
    mask = np.random.default_rng(3).random((2, 3, 4)) < 0.6
    for axis in (0, 1, -2, -3):
        move = functools.partial(np.moveaxis, source=axis, destination=-1)
        y, grad = pulled(lambda x, axis=axis: MASKED[name](x, axis=axis, mask=mask), cube, cotangent=1.5)
        y_last, grad_last = pulled(lambda x, move=move: MASKED[name](x, mask=move(mask)), move(cube), cotangent=1.5)
        np.testing.assert_allclose(y if name == "logsumexp" else move(y), y_last, rtol=1e-13)
        np.testing.assert_allclose(move(grad), grad_last, rtol=1e-12, atol=1e-15)


def test_hardmax_and_uniform_teach_nothing():
    for name in ("hardmax", "uniform"):
        _, grad = pulled(MAPS[name], SCORES)
        np.testing.assert_array_equal(grad, 0)


def test_top_k_softmax_runs_from_hardmax_to_softmax():
    one, grad = pulled(lambda x: minigrad.top_k_softmax(x, k=1), SCORES)
    np.testing.assert_array_equal(one, minigrad.hardmax(SCORES).data)
    np.testing.assert_array_equal(grad, 0)
    for k in (5, 99):
        every, grad = pulled(lambda x, k=k: minigrad.top_k_softmax(x, k=k), SCORES)
        y, expected = pulled(minigrad.softmax, SCORES)
        np.testing.assert_allclose(every, y, rtol=1e-14)
        np.testing.assert_allclose(grad, expected, rtol=1e-13, atol=1e-16)


def test_top_k_keeps_4_unless_told_otherwise():
    assert (minigrad.top_k_softmax(np.arange(10.0)).data > 0).sum() == 4


@pytest.mark.parametrize(("name", "power"), [("sparsemax", 1), ("entmax15", 2)])
def test_sparse_maps_agree_with_bisection_on_their_threshold(name, power):
    """weight = max(x/power - threshold, 0)**power, with the threshold that makes the weights sum to 1."""
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 10, 50):
        for scale in (0.01, 1, 10):
            x = rng.normal(size=n) * scale
            z = x / power
            low, high = z.max() - 1, z.max()
            for _ in range(100):
                middle = (low + high) / 2
                if (np.maximum(z - middle, 0) ** power).sum() > 1:
                    low = middle
                else:
                    high = middle
            np.testing.assert_allclose(MAPS[name](x).data, np.maximum(z - low, 0) ** power, atol=1e-13)


def test_sparse_maps_have_exact_zeros_and_softmax_never():
    x = np.array([3.0, 2.9, 0.0, -5.0])
    assert (minigrad.sparsemax(x).data[2:] == 0).all() and (minigrad.sparsemax(x).data[:2] > 0).all()
    assert minigrad.entmax15(x).data[3] == 0
    assert (minigrad.softmax(x).data > 0).all()


def test_logsumexp_is_at_least_the_maximum_and_its_gradient_is_softmax():
    y, grad = pulled(minigrad.logsumexp, SCORES, cotangent=1)
    assert (y >= SCORES.max(-1)).all() and (y <= SCORES.max(-1) + math.log(5)).all()
    np.testing.assert_allclose(grad, minigrad.softmax(SCORES).data, rtol=1e-14)
    np.testing.assert_allclose(minigrad.log_softmax(SCORES).data, SCORES - y[:, None], rtol=1e-14)


# --- masks -------------------------------------------------------------------------------------------------------


@all_but(GUMBEL)  # deleting a score shifts the noise of those behind it
def test_masking_equals_deleting(name):
    for row, allowed in zip(SCORES, MASK, strict=True):
        u = np.random.default_rng(1).normal(size=5) if name != "logsumexp" else np.array(1.5)
        y, grad = pulled(lambda x, m=allowed: MASKED[name](x, mask=m), row, cotangent=u)
        y_deleted, grad_deleted = pulled(MASKED[name], row[allowed], cotangent=u[allowed] if u.ndim else u)
        np.testing.assert_allclose(y[allowed] if u.ndim else y, y_deleted, rtol=1e-14)
        np.testing.assert_allclose(grad[allowed], grad_deleted, rtol=1e-13, atol=1e-15)
        np.testing.assert_array_equal(grad[~allowed], 0)
        if u.ndim:
            np.testing.assert_array_equal(y[~allowed], -INF if name == "log_softmax" else 0)


@all_but(("uniform", "sum_normalize"))  # these give weight to a score of -inf, or a nan
def test_masking_equals_a_score_of_minus_infinity(name):
    y, grad = pulled(lambda x: MASKED[name](x, mask=MASK), SCORES)
    y_inf, grad_inf = pulled(MASKED[name], np.where(MASK, SCORES, -INF))
    np.testing.assert_allclose(y_inf, y, rtol=1e-14)
    np.testing.assert_allclose(grad_inf, grad, rtol=1e-13, atol=1e-16)


@every_masked
def test_a_mask_of_true_changes_nothing(name):
    for mask in (np.full(SCORES.shape, True), np.array(True)):
        y, grad = pulled(lambda x, m=mask: MASKED[name](x, mask=m), SCORES)
        y_without, grad_without = pulled(MASKED[name], SCORES)
        np.testing.assert_array_equal(y, y_without)
        np.testing.assert_array_equal(grad, grad_without)


@every_masked
def test_masks_broadcast(name):
    for small in (MASK[0], MASK[:, :1], MASK[1:2]):
        full = np.broadcast_to(small, SCORES.shape)
        for a, b in zip(
            pulled(lambda x, m=small: MASKED[name](x, mask=m), SCORES),
            pulled(lambda x, m=full: MASKED[name](x, mask=m), SCORES),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)


@every_masked
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("behind", [NAN, INF, -INF, 1e30, -1e30])
def test_nothing_leaks_from_behind_a_mask(name, dtype, behind):
    scores = SCORES.astype(dtype)
    y, grad = pulled(lambda x: MASKED[name](x, mask=MASK), scores)
    y_dirty, grad_dirty = pulled(lambda x: MASKED[name](x, mask=MASK), np.where(MASK, scores, np.array(behind, dtype)))
    assert y.dtype == grad.dtype == dtype
    np.testing.assert_array_equal(y_dirty, y)
    np.testing.assert_array_equal(grad_dirty, grad)


@every_masked
@pytest.mark.parametrize("behind", [0.0, NAN, INF, -INF])
def test_a_row_with_everything_masked_has_no_weights_and_no_gradient(name, behind):
    mask = MASK.copy()
    mask[1] = False
    scores = SCORES.copy()
    scores[1] = behind
    y, grad = pulled(lambda x: MASKED[name](x, mask=mask), scores)
    np.testing.assert_array_equal(y[1], -INF if name in ("log_softmax", "logsumexp") else 0)
    np.testing.assert_array_equal(grad[1], 0)
    assert np.isfinite(grad).all()
    others = [0, 2, 3]
    if "gumbel" not in name:  # and the other rows don't notice
        u = np.random.default_rng(7).normal(size=y.shape)
        y_others, grad_others = pulled(
            lambda x: MASKED[name](x, mask=mask[others]), scores[others], cotangent=u[others]
        )
        np.testing.assert_array_equal(y[others], y_others)
        np.testing.assert_array_equal(grad[others], grad_others)


@every_masked
def test_everything_may_be_masked(name):
    for axis in (0, -1):
        y, grad = pulled(lambda x, axis=axis: MASKED[name](x, axis=axis, mask=np.array(False)), SCORES)
        np.testing.assert_array_equal(y, -INF if name in ("log_softmax", "logsumexp") else 0)
        np.testing.assert_array_equal(grad, 0)


@all_but(("uniform", "hardmax", "straight_through", "gumbel_softmax, hard"))  # all their weights are 0, 1 or 1/n
def test_a_nan_that_is_not_masked_is_not_hidden(name):
    """A diagnosis must be able to find it: a row of plausible weights made from a nan would lead it astray."""
    scores = SCORES.copy()
    scores[1, 2] = NAN
    with np.errstate(invalid="ignore"):  # NumPy may well have said so
        y = MASKED[name](leaf(scores)).data
    assert np.isnan(y[1]).any()
    assert np.isfinite(y[[0, 2, 3]]).all()


def test_causal_mask_and_length_mask():
    np.testing.assert_array_equal(
        minigrad.causal_mask(3), [[True, False, False], [True, True, False], [True, True, True]]
    )
    lengths = minigrad.length_mask([2, 0, 3], 3)
    assert lengths.shape == (3, 1, 3) and lengths.dtype == bool
    np.testing.assert_array_equal(lengths[:, 0], [[True, True, False], [False] * 3, [True] * 3])
    assert minigrad.length_mask(np.array([[1], [2]]), 4).shape == (2, 1, 1, 4)
    assert minigrad.length_mask(2, 3).shape == (1, 3)


# --- attention ---------------------------------------------------------------------------------------------------

_rng = np.random.default_rng(5)
Q, K, V = _rng.normal(size=(2, 3, 4)), _rng.normal(size=(2, 5, 4)), _rng.normal(size=(2, 5, 6))
PAIRS = np.array(
    [[True, True, False, True, False], [False, True, True, True, False], [True, False, False, True, False]]
)


both_attentions = pytest.mark.parametrize(
    "attention",
    [minigrad.attention, functools.partial(minigrad.tiled_attention, tile=2)],
    ids=["attention", "tiled_attention"],
)


def test_attention_scales_its_scores_by_1_over_sqrt_d_head():
    scores = Q @ K.mT / math.sqrt(4)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(minigrad.attention_weights(Q, K).data, weights, rtol=1e-13)
    np.testing.assert_allclose(minigrad.attention(Q, K, V).data, weights @ V, rtol=1e-12)


@both_attentions
@pytest.mark.parametrize("mask", [None, PAIRS, PAIRS[0], PAIRS[:, :1], np.stack([PAIRS, PAIRS[::-1]])])
def test_attention_is_its_weights_times_the_values(attention, mask):
    def in_steps(q, k, v):
        return minigrad.attention_weights(q, k, mask=mask) @ v

    fused = pulled(lambda q, k, v: attention(q, k, v, mask=mask), Q, K, V)
    for a, b in zip(fused, pulled(in_steps, Q, K, V), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-14)


@both_attentions
def test_a_masked_key_equals_a_deleted_key(attention):
    kept = np.array([True, False, True, True, False])
    y, grad_q, grad_k, grad_v = pulled(lambda q, k, v: attention(q, k, v, mask=kept), Q, K, V)
    y_del, grad_q_del, grad_k_del, grad_v_del = pulled(attention, Q, K[:, kept], V[:, kept])
    np.testing.assert_allclose(y, y_del, rtol=1e-13)
    np.testing.assert_allclose(grad_q, grad_q_del, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(grad_k[:, kept], grad_k_del, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(grad_v[:, kept], grad_v_del, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(grad_k[:, ~kept], 0)
    np.testing.assert_array_equal(grad_v[:, ~kept], 0)


@both_attentions
def test_the_order_of_keys_does_not_matter_nor_the_other_queries(attention):
    order = np.array([4, 2, 0, 1, 3])
    np.testing.assert_allclose(attention(Q, K[:, order], V[:, order]).data, attention(Q, K, V).data, rtol=1e-12)
    np.testing.assert_allclose(attention(Q[:, 1:2], K, V).data, attention(Q, K, V).data[:, 1:2], rtol=1e-12)


@both_attentions
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_keys_and_values_no_query_may_attend_do_not_leak(attention, bad):
    mask = PAIRS  # the last key is masked for all queries
    clean = pulled(lambda q, k, v: attention(q, k, v, mask=mask), Q, K, V)
    k, v = K.copy(), V.copy()
    k[:, 4], v[:, 4] = bad, bad
    for a, b in zip(pulled(lambda q, k, v: attention(q, k, v, mask=mask), Q, k, v), clean, strict=True):
        np.testing.assert_array_equal(a, b)
    with np.errstate(invalid="ignore"):  # the plain product of all queries with all keys comes first
        weights = minigrad.attention_weights(Q, k, mask=mask).data
    np.testing.assert_array_equal(weights, minigrad.attention_weights(Q, K, mask=mask).data)


@both_attentions
def test_a_key_masked_in_one_batch_entry_alone_does_not_leak_there(attention):
    mask = np.stack([PAIRS, np.full((3, 5), True)])
    k, v = K.copy(), V.copy()
    k[0, 4], v[0, 4] = NAN, NAN
    clean = pulled(lambda q, k, v: attention(q, k, v, mask=mask), Q, K, V)
    for a, b in zip(pulled(lambda q, k, v: attention(q, k, v, mask=mask), Q, k, v), clean, strict=True):
        np.testing.assert_array_equal(a, b)


@both_attentions
@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_query_that_may_attend_to_nothing_gets_0_and_does_not_leak(attention, bad):
    mask = PAIRS.copy()
    mask[1] = False
    clean = pulled(lambda q, k, v: attention(q, k, v, mask=mask), Q, K, V)
    q = Q.copy()
    q[:, 1] = bad
    y, grad_q, grad_k, grad_v = pulled(lambda q, k, v: attention(q, k, v, mask=mask), q, K, V)
    np.testing.assert_array_equal(y[:, 1], 0)
    np.testing.assert_array_equal(grad_q[:, 1], 0)
    for a, b in zip((y, grad_q, grad_k, grad_v), clean, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(minigrad.attention_weights(Q, K, mask=mask).data[:, 1], 0)


@both_attentions
def test_with_causal_too_nan_does_not_leak_from_keys_masked_for_all(attention):
    square = [a[:, :3] for a in (Q, K, V)]
    kept = np.array([True, False, True])
    clean = pulled(lambda q, k, v: attention(q, k, v, mask=kept, causal=True), *square)
    q, k, v = [a.copy() for a in square]
    k[:, 1], v[:, 1] = NAN, NAN
    dirty = pulled(lambda q, k, v: attention(q, k, v, mask=kept, causal=True), q, k, v)
    for a, b in zip(dirty, clean, strict=True):
        np.testing.assert_array_equal(a, b)


@both_attentions
def test_causal_is_the_causal_mask(attention):
    q, k, v = (a[:, :3] for a in (Q, K, V))
    both = [minigrad.causal_mask(3), minigrad.causal_mask(3) & PAIRS[:, :3]]
    for mask, expected in zip([None, PAIRS[:, :3]], both, strict=True):
        causal = pulled(lambda q, k, v, m=mask: attention(q, k, v, mask=m, causal=True), q, k, v)
        masked = pulled(lambda q, k, v, m=expected: attention(q, k, v, mask=m), q, k, v)
        for a, b in zip(causal, masked, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-16)
        np.testing.assert_allclose(
            minigrad.attention_weights(q, k, mask=mask, causal=True).data,
            minigrad.attention_weights(q, k, mask=expected).data,
            rtol=1e-13,
        )


@both_attentions
def test_causal_attention_cannot_see_the_future(attention):
    q, k, v = (leaf(a[:, :3]) for a in (Q, K, V))
    y = attention(q, k, v, causal=True)
    upstream = np.zeros(y.shape)
    upstream[:, 1] = 1
    y.backward(upstream)
    for t in (k, v):
        np.testing.assert_array_equal(t.grad[:, 2], 0)
        assert (t.grad[:, 0] != 0).any()
    np.testing.assert_array_equal(y.data[:, 0], V[:, 0])  # the first position has only itself


def test_causal_needs_as_many_queries_as_keys():
    for f in (lambda: minigrad.attention(Q, K, V, causal=True), lambda: minigrad.attention_weights(Q, K, causal=True)):
        with pytest.raises(ValueError, match="causal=True needs as many queries as keys, not 3 and 5"):
            f()


def test_large_batches_are_worked_through_in_parts_with_the_same_result():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(7, 3, 40, 8)).astype(np.float32) for _ in "qkv")
    lengths = minigrad.length_mask(rng.integers(0, 41, size=(7, 1)), 40)
    together = pulled(lambda q, k, v: minigrad.attention(q, k, v, mask=lengths), q, k, v)
    upstream = np.random.default_rng(7).normal(size=together[0].shape)
    for i in range(7):
        alone = pulled(
            lambda q, k, v, i=i: minigrad.attention(q, k, v, mask=lengths[i]), q[i], k[i], v[i], cotangent=upstream[i]
        )
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=2e-5, atol=2e-6)


# --- losses ------------------------------------------------------------------------------------------------------

TARGETS = np.array([1, 0, 4, 2])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_with_all_targets_ignored_loss_and_gradient_are_0(reduction, smoothing):
    y, grad = pulled(
        lambda x: minigrad.cross_entropy(
            x, np.full(4, -100), ignore_index=-100, reduction=reduction, label_smoothing=smoothing
        ),
        SCORES,
        cotangent=1,
    )
    np.testing.assert_array_equal(y, 0)
    np.testing.assert_array_equal(grad, 0)


@pytest.mark.parametrize("behind", [0.0, NAN, INF, 1e30])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ignoring_equals_deleting(smoothing, behind):
    ignored = TARGETS == 4
    scores = np.where(ignored[:, None], behind, SCORES)
    loss = functools.partial(minigrad.cross_entropy, label_smoothing=smoothing)
    y, grad = pulled(lambda x: loss(x, TARGETS, ignore_index=4), scores, cotangent=1)
    y_deleted, grad_deleted = pulled(lambda x: loss(x, TARGETS[~ignored]), scores[~ignored], cotangent=1)
    np.testing.assert_allclose(y, y_deleted, rtol=1e-14)
    np.testing.assert_allclose(grad[~ignored], grad_deleted, rtol=1e-14)
    np.testing.assert_array_equal(grad[ignored], 0)


def test_cross_entropy_is_the_negative_log_softmax_of_the_target():
    y, grad = pulled(lambda x: minigrad.cross_entropy(x, TARGETS, reduction="none"), SCORES, cotangent=1)
    np.testing.assert_allclose(y, -minigrad.log_softmax(SCORES).data[np.arange(4), TARGETS], rtol=1e-14)
    np.testing.assert_allclose(grad, minigrad.softmax(SCORES).data - np.eye(5)[TARGETS], rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(minigrad.cross_entropy(SCORES, TARGETS).item(), y.mean(), rtol=1e-14)


def test_uniform_logits_cost_log_of_the_number_of_classes():
    for smoothing in (0.0, 0.3, 1.0):
        loss = minigrad.cross_entropy(np.zeros((4, 5)), TARGETS, label_smoothing=smoothing)
        np.testing.assert_allclose(loss.item(), math.log(5), rtol=1e-14)


# --- ties --------------------------------------------------------------------------------------------------------


def test_max_and_min_share_the_gradient_among_equals():
    x = [[3.0, 1.0, 3.0, 3.0], [2.0, 5.0, 5.0, 2.0]]
    _, grad = pulled(lambda x: x.max(axis=1), x, cotangent=[6.0, 8.0])
    np.testing.assert_array_equal(grad, [[2, 0, 2, 2], [0, 4, 4, 0]])
    _, grad = pulled(lambda x: x.min(axis=1), x, cotangent=[6.0, 8.0])
    np.testing.assert_array_equal(grad, [[0, 6, 0, 0], [4, 0, 0, 4]])
    _, grad = pulled(lambda x: x.max(), x, cotangent=6.0)
    np.testing.assert_array_equal(grad, [[0, 0, 0, 0], [0, 3, 3, 0]])
    _, grad = pulled(lambda x: x.max(axis=(0, 1)), np.zeros((2, 4)), cotangent=8.0)
    np.testing.assert_array_equal(grad, np.ones((2, 4)))
    _, grad = pulled(lambda x: x.max(axis=0), [[INF, -INF], [INF, -INF]], cotangent=[1.0, 1.0])
    np.testing.assert_array_equal(grad, 0.5)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_maximum_and_minimum_share_equally(name):
    f = getattr(minigrad, name)
    _, grad_a, grad_b = pulled(f, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0], cotangent=[2.0, 4.0, 6.0])
    greater = np.array([0.0, 2.0, 6.0]) if name == "maximum" else np.array([2.0, 2.0, 0.0])
    np.testing.assert_array_equal(grad_a, greater)
    np.testing.assert_array_equal(grad_b, np.array([2.0, 4.0, 6.0]) - greater)
    _, grad = pulled(lambda x: f(x, x), [1.0, 2.0], cotangent=1)
    np.testing.assert_array_equal(grad, 1)


def test_hardmax_keeps_the_lowest_index_of_equals():
    ties = np.array([[1.0, 3.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    for f in (minigrad.hardmax, minigrad.straight_through):
        np.testing.assert_array_equal(f(ties).data, [[0, 1, 0, 0], [1, 0, 0, 0]])
        np.testing.assert_array_equal(f(ties, axis=0).data, [[1, 1, 1, 1], [0, 0, 0, 0]])
        masked = f(ties, mask=np.array([False, False, True, True])).data
        np.testing.assert_array_equal(masked, [[0, 0, 1, 0], [0, 0, 1, 0]])


def test_top_k_keeps_exactly_k_and_the_lowest_indices_of_equals():
    ties = np.array([[1.0, 3.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    kept = minigrad.top_k_softmax(ties, k=2).data
    np.testing.assert_array_equal(kept, [[0, 0.5, 0.5, 0], [0.5, 0.5, 0, 0]])
    many = np.random.default_rng(0).integers(0, 3, size=(50, 12)).astype(float)
    for k in (1, 3, 7):
        y = minigrad.top_k_softmax(many, k=k).data
        assert ((y > 0).sum(-1) == k).all()
        order = np.argsort(-many, axis=-1, kind="stable")[:, :k]
        np.testing.assert_array_equal(np.sort(order), np.nonzero(y)[1].reshape(50, k))


def test_equal_scores_get_equal_weights_in_the_maps_that_do_not_choose():
    for name in ("softmax", "uniform", "sum_normalize", "sigmoid_normalize", "sparsemax", "entmax15"):
        np.testing.assert_allclose(MAPS[name](np.full(3, 0.7)).data, 1 / 3, rtol=1e-14)


# --- kinks -------------------------------------------------------------------------------------------------------


def test_relu_and_abs_have_slope_0_at_0():
    for f in (minigrad.relu, minigrad.abs):
        _, grad = pulled(f, [-2.0, -0.0, 0.0, 2.0], cotangent=1)
        np.testing.assert_array_equal(grad[1:3], 0)
        assert grad[3] == 1


def test_clip_passes_at_its_bounds():
    _, grad = pulled(lambda x: minigrad.clip(x, low=-1, high=1), [-1.5, -1.0, 0.0, 1.0, 1.5], cotangent=1)
    np.testing.assert_array_equal(grad, [0, 1, 1, 1, 0])
    _, grad = pulled(lambda x: minigrad.clip(x, low=0), [-1.0, 0.0, 9.0], cotangent=1)
    np.testing.assert_array_equal(grad, [0, 1, 1])
    _, grad = pulled(lambda x: minigrad.clip(x, high=0), [-9.0, 0.0, 1.0], cotangent=1)
    np.testing.assert_array_equal(grad, [1, 1, 0])


def test_powers_of_0_give_no_gradient_to_the_exponent():
    exponents = [0.0, 0.5, 1.0, 2.0]
    y, _, grad_exponent = pulled(minigrad.pow, np.zeros(4), exponents, cotangent=1)
    np.testing.assert_array_equal(y, [1, 0, 0, 0])
    np.testing.assert_array_equal(grad_exponent, 0)
    _, grad = pulled(lambda a: a ** np.array([0.0, 1.0, 2.0, 3.0]), np.zeros(4), cotangent=1)
    np.testing.assert_array_equal(grad, [0, 1, 0, 0])
    _, grad = pulled(lambda e: 0.0**e, [1.0, 2.0], cotangent=1)
    np.testing.assert_array_equal(grad, 0)


def test_an_exponent_of_0_gives_no_gradient_to_the_base():
    _, grad = pulled(lambda a: a**0, [-2.0, 0.0, INF, 3.0], cotangent=1)
    np.testing.assert_array_equal(grad, 0)


def test_negative_bases_with_whole_exponents_are_fine():
    y, grad = pulled(lambda a: a**3, [-2.0, -1.0], cotangent=1)
    np.testing.assert_allclose(y, [-8, -1])
    np.testing.assert_allclose(grad, [12, 3])


def test_sqrt_at_0_has_slope_infinity_and_its_docstring_says_so():
    _, grad = pulled(minigrad.sqrt, [0.0, 4.0], cotangent=1)
    np.testing.assert_array_equal(grad, [INF, 0.25])
    assert "infinite" in minigrad.sqrt.__doc__


def test_log_and_division_at_0_are_numpys_without_a_warning():
    y, grad = pulled(minigrad.log, [0.0, 1.0], cotangent=1)
    np.testing.assert_array_equal(y, [-INF, 0])
    np.testing.assert_array_equal(grad, [INF, 1])
    y, grad_a, grad_b = pulled(minigrad.div, [1.0, -1.0, 0.0], [0.0, 0.0, 0.0], cotangent=1)
    np.testing.assert_array_equal(y, [INF, -INF, NAN])
    np.testing.assert_array_equal(grad_a, INF)
    np.testing.assert_array_equal(grad_b, [-INF, INF, NAN])


def test_where_gives_the_side_not_chosen_exactly_nothing():
    chosen = np.array([True, False])
    _, grad_a, grad_b = pulled(
        lambda a, b: minigrad.where(chosen, a, b), [1.0, NAN], [INF, 2.0], cotangent=np.array([INF, NAN])
    )
    np.testing.assert_array_equal(grad_a, [INF, 0])
    np.testing.assert_array_equal(grad_b, [0, NAN])


# --- huge numbers ------------------------------------------------------------------------------------------------


def huge_scores():
    """Rows of float32 with magnitudes up to 1e30, of every sort: mixed, equal, opposite, one large, all tiny."""
    rng = np.random.default_rng(0)
    mixed = rng.choice([0, 1, -1, 1e-30, -1e-30, 88, -104, 1e10, -1e10, 1e30, -1e30], size=(200, 6))
    spread = rng.normal(size=(100, 6)) * 10.0 ** rng.integers(-30, 30, size=(100, 6))
    rows = [[1e30] * 6, [-1e30] * 6, [1e30, -1e30] * 3, [1e30, 0, 0, 0, 0, 0], [-1e30, 0, 0, 0, 0, 0], [1e-38] * 6]
    rows += [[9.9e29, 1e30, 1e30, 9.9e29, -1e30, 0]]
    return np.concatenate([mixed, spread, rows]).clip(-1e30, 1e30).astype(np.float32)


SAFE = ["softmax", "log_softmax", "logsumexp", "sparsemax", "entmax15", "hardmax", "uniform", "top_k_softmax"]
SAFE += ["sigmoid_normalize"]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", SAFE)
def test_huge_scores_make_no_nan_forward_or_backward(name, masked):
    x = huge_scores()
    mask = np.random.default_rng(1).random(x.shape) < 0.6 if masked else None
    y, grad = pulled(lambda x: MASKED[name](x, mask=mask), x)
    assert y.dtype == grad.dtype == np.float32
    assert not np.isnan(y).any() and np.isfinite(grad).all()
    if name in MAPS:
        np.testing.assert_allclose(y.sum(-1), 1 if mask is None else mask.any(-1), rtol=1e-5)


@pytest.mark.parametrize("arguments", [{}, {"label_smoothing": 0.1}, {"ignore_index": 3}, {"reduction": "none"}])
def test_huge_logits_make_no_nan_in_cross_entropy(arguments):
    x = huge_scores()
    targets = np.random.default_rng(1).integers(0, 6, size=len(x))
    y, grad = pulled(lambda x: minigrad.cross_entropy(x, targets, **arguments), x, cotangent=1)
    assert y.dtype == grad.dtype == np.float32
    assert np.isfinite(y).all() and np.isfinite(grad).all()


@both_attentions
@pytest.mark.parametrize(("size_q", "size_k"), [(1e15, 1e15), (1e30, 1), (1, 1e30), (1e-30, 1e30), (1e30, 1e6)])
@pytest.mark.parametrize("how", ["plain", "causal", "mask"])
def test_attention_makes_no_nan_as_long_as_its_scores_can_be_represented(attention, size_q, size_k, how):
    rng = np.random.default_rng(0)
    q, k = (rng.choice([-1, 0, 1], size=(8, 6, 4)) * np.float32(s) for s in (size_q, size_k))
    v = rng.normal(size=(8, 6, 3)).astype(np.float32)
    assert np.isfinite(q @ k.mT).all()
    mask = rng.random((8, 6, 6)) < 0.5 if how == "mask" else None
    y, *grads = pulled(
        lambda q, k, v: attention(q, k, v, mask=mask, causal=how == "causal"),
        *(a.astype(np.float32) for a in (q, k, v)),
    )
    for a in (y, *grads):
        assert a.dtype == np.float32 and np.isfinite(a).all()


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu", "relu", "abs", "neg"])
def test_huge_inputs_make_no_nan_in_activations(name):
    y, grad = pulled(getattr(minigrad, name), huge_scores().ravel(), cotangent=1)
    assert np.isfinite(y).all() and np.isfinite(grad).all()


def test_far_apart_scores_round_to_one_hot_and_keep_exact_logarithms():
    x = np.array([0.0, 1e30, -1e30], np.float32)
    np.testing.assert_array_equal(minigrad.softmax(x).data, [0, 1, 0])
    np.testing.assert_array_equal(minigrad.log_softmax(x).data, np.array([-1e30, 0, -2e30], np.float32))
    assert minigrad.logsumexp(x).item() == np.float32(1e30)


def test_small_probabilities_keep_their_precision():
    x = np.array([0.0, -50.0], np.float64)
    np.testing.assert_allclose(minigrad.softmax(x).data[1], math.exp(-50), rtol=1e-14)
    np.testing.assert_allclose(minigrad.sigmoid(x).data[1], math.exp(-50), rtol=1e-14)
    assert minigrad.sigmoid(np.array(-100.0, np.float32)).item() > 0


# --- the others --------------------------------------------------------------------------------------------------


def test_var_is_the_population_variance():
    y, grad = pulled(minigrad.var, [1.0, 2.0, 6.0], cotangent=1)
    assert y == np.var([1.0, 2.0, 6.0])
    np.testing.assert_allclose(grad, 2 / 3 * np.array([-2, -1, 3]))


def test_gelu_is_the_tanh_form():
    x = np.linspace(-6, 6, 101)
    expected = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(minigrad.gelu(x).data, expected, rtol=1e-13, atol=1e-16)


def test_layer_norms_gradient_has_no_part_along_ones_nor_along_its_output():
    x = np.random.default_rng(0).normal(size=(3, 6))
    y, grad = pulled(lambda x: minigrad.layer_norm(x, eps=0.0), x)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-15)
    np.testing.assert_allclose(y.var(-1), 1, rtol=1e-13)
    np.testing.assert_allclose(grad.sum(-1), 0, atol=1e-14)
    np.testing.assert_allclose((grad * y).sum(-1), 0, atol=1e-14)


def test_layer_norm_of_a_constant_row_is_its_bias():
    y, grad, grad_weight, _ = pulled(minigrad.layer_norm, np.full((2, 4), 3.0), np.full(4, 2.0), np.arange(4.0))
    np.testing.assert_allclose(y, [np.arange(4.0)] * 2, atol=1e-12)
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(grad_weight, 0, atol=1e-12)


def test_dropout_keeps_or_drops_and_scales_what_it_keeps():
    x = np.random.default_rng(1).normal(size=10_000)
    y, grad = pulled(lambda x: minigrad.dropout(x, p=0.25, rng=np.random.default_rng(0)), x, cotangent=1)
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / 0.75, rtol=1e-6)
    np.testing.assert_allclose(grad, kept / 0.75, rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 0.02
    again = minigrad.dropout(x, p=0.25, rng=np.random.default_rng(0)).data
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(minigrad.dropout(x, p=0.0, rng=np.random.default_rng(0)).data, x)


# --- the smallest arrays -----------------------------------------------------------------------------------------

ONE_INPUT = ["exp", "neg", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "abs"]
TWO_INPUTS = ["add", "sub", "mul", "div", "pow", "maximum", "minimum"]


@pytest.mark.parametrize("name", ONE_INPUT + TWO_INPUTS)
def test_elementwise_ops_take_a_single_number_and_an_empty_array(name):
    f = getattr(minigrad, name)
    inputs = 1 if name in ONE_INPUT else 2
    single, *single_grads = pulled(f, *[np.array(0.5)] * inputs, cotangent=2.0)
    row, *row_grads = pulled(f, *[np.array([0.5])] * inputs, cotangent=2.0)
    assert single.shape == ()
    for a, b in zip([single, *single_grads], [row, *row_grads], strict=True):
        assert a.shape == () and a == b[0]
    empty, *empty_grads = pulled(f, *[np.zeros((0, 3))] * inputs)
    assert empty.shape == (0, 3) and all(g.shape == (0, 3) for g in empty_grads)


@pytest.mark.parametrize(
    "f", [minigrad.exp, minigrad.softmax, minigrad.layer_norm, lambda x: x @ np.ones((3, 2)), minigrad.sum]
)
def test_a_batch_of_nothing_is_no_error(f):
    x = leaf(np.zeros((0, 3)))
    f(x).sum().backward()
    assert x.grad.shape == (0, 3)


# --- estimators --------------------------------------------------------------------------------------------------


def test_straight_through_is_hardmax_forward_and_softmax_backward():
    y, grad = pulled(lambda x: minigrad.straight_through(x, mask=MASK), SCORES)
    _, soft = pulled(lambda x: minigrad.softmax(x, mask=MASK), SCORES)
    np.testing.assert_array_equal(y, minigrad.hardmax(SCORES, mask=MASK).data)
    np.testing.assert_allclose(grad, soft, rtol=1e-13, atol=1e-16)


def test_gumbel_softmax_chooses_as_often_as_softmax_says():
    rng, x = np.random.default_rng(0), np.array([0.0, 1.0, 2.0, -1.0])
    draws = minigrad.gumbel_softmax(np.tile(x, (20_000, 1)), rng=rng).data
    assert set(np.unique(draws)) == {0, 1} and (draws.sum(-1) == 1).all()
    np.testing.assert_allclose(draws.mean(0), minigrad.softmax(x).data, atol=0.015)  # four standard errors


def test_gumbel_softmax_uses_one_draw_for_its_hard_and_soft_forms():
    hard, grad_hard = pulled(gumbel_softmax, SCORES)
    soft, grad_soft = pulled(functools.partial(gumbel_softmax, hard=False), SCORES)
    np.testing.assert_array_equal(hard.argmax(-1), soft.argmax(-1))
    np.testing.assert_array_equal(grad_hard, grad_soft)


def test_reinforce_is_a_loss_whose_gradient_is_minus_advantage_over_n():
    log_prob, reward = leaf([-1.0, -2.0, -3.0]), np.array([1.0, 0.0, 4.0])
    loss = minigrad.reinforce(log_prob, reward, baseline=0.5)
    np.testing.assert_allclose(loss.item(), -np.mean((reward - 0.5) * log_prob.data))
    loss.backward()
    np.testing.assert_allclose(log_prob.grad, -(reward - 0.5) / 3)
    learned = leaf(reward)
    minigrad.reinforce(log_prob, learned, baseline=leaf(0.5)).backward()
    assert learned.grad is None  # rewards are what the world says, not what we move


def test_reinforce_is_on_average_the_gradient_of_the_expected_reward():
    rng, n, reward = np.random.default_rng(0), 100_000, np.array([1.0, 3.0, 0.0])
    scores = leaf([0.2, -0.1, 0.5])
    p = minigrad.softmax(scores).data
    exact = p * (reward - p @ reward)
    for baseline in (0.0, 1.5):
        scores.grad = None
        choice = rng.choice(3, size=n, p=p)
        minigrad.reinforce(minigrad.log_softmax(scores)[choice], reward[choice], baseline).backward()
        np.testing.assert_allclose(-scores.grad, exact, atol=0.015)


# --- what every op keeps to, on the cases that gradcheck uses (more of that in test_all_ops.py) ---------------------

every_op = pytest.mark.parametrize("op_name", sorted(OPS))


def calls(op_name, dtype=np.float64):
    """Each case of an op as (arguments, leaves among them, the Tensor it gives)."""
    for case in CASES[op_name]:
        arrays = [None if a is None else np.array(a) for a in case.arrays]
        arguments = [
            leaf(a, dtype) if a is not None and a.dtype.kind == "f" else a
            for a in arrays  # integers, masks and None stay as they are
        ]
        result = OPS[op_name](*arguments, **case.keywords())
        yield case, arguments, [a for a in arguments if isinstance(a, Tensor)], result


@every_op
def test_vjps_compute_in_the_dtype_they_are_given(op_name):
    """The engine would cast a float64 contribution back, but the time and memory would have been spent."""
    for case, _, _, y in calls(op_name, np.float32):
        node = y.node
        grad = np.ones(y.shape, np.float32)
        found = node.vjp(grad)
        for contribution in found:
            if contribution is not None:
                assert contribution.dtype == np.float32, case


@every_op
def test_vjps_are_linear(op_name):
    """J^T(2u - 3v) = 2 J^T u - 3 J^T v, whatever J is."""
    for case, _, _, y in calls(op_name):
        rng = np.random.default_rng(0)
        u, v = rng.normal(size=y.shape), rng.normal(size=y.shape)
        for a, b, c in zip(pull_back(y.node, 2 * u - 3 * v), pull_back(y.node, u), pull_back(y.node, v), strict=True):
            if a is not None:
                np.testing.assert_allclose(a, 2 * b - 3 * c, rtol=1e-9, atol=1e-11, err_msg=str(case))


@every_op
def test_a_gradient_laid_out_differently_in_memory_gives_the_same(op_name):
    """Gradients arrive broadcast (strides of 0), transposed, or backwards, from the ops behind."""
    for case, _, _, y in calls(op_name):
        same = np.broadcast_to(np.array(1.5), y.shape)
        for contiguous, other in [
            (np.full(y.shape, 1.5), same),
            (np.arange(float(y.size)).reshape(y.shape), np.arange(float(y.size)).reshape(y.shape).T.copy().T),
        ]:
            for a, b in zip(pull_back(y.node, contiguous), pull_back(y.node, other), strict=True):
                if a is not None:
                    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14, err_msg=str(case))


@every_op
def test_inputs_laid_out_differently_in_memory_give_the_same(op_name):
    for case in CASES[op_name]:
        results = []
        for layout in (np.ascontiguousarray, np.asfortranarray, lambda a: np.repeat(a, 2, -1)[..., ::2]):
            arrays = [a if a is None or np.ndim(a) == 0 else layout(a) for a in case.arrays]
            results.append(OPS[op_name](*arrays, **case.keywords()).data)
        for other in results[1:]:
            np.testing.assert_allclose(other, results[0], rtol=1e-12, atol=1e-14, err_msg=str(case))


@every_op
def test_every_op_remembers_no_arrays_in_its_node(op_name):
    for case, _, _, y in calls(op_name):
        held = [*y.node.inputs, *_flat(y.node.static)]
        assert not any(isinstance(h, (np.ndarray, Tensor)) for h in held), case
        assert all(isinstance(n, Leaf) for n in newest_first(y.node)[1:]), case  # an op is one Node


def _flat(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _flat(item)]
    return [value]


@every_op
def test_every_ops_docstring_derives_its_gradient(op_name):
    doc = OPS[op_name].__doc__
    assert doc and ("Backward." in doc), f"{op_name} has no derivation"


# --- heads, integers, and the ends of the number range ---------------------------------------------------------------


@pytest.mark.parametrize(
    "batch", [2, 3]
)  # 2 is the number of heads, too: the mask's first axis must not be taken for it
def test_a_mask_without_an_axis_for_heads_is_for_all_heads(batch):
    q = np.random.default_rng(3).normal(size=(batch, 5, 8))
    mask = minigrad.length_mask([5, 2, 3][:batch], 5)  # (batch, 1, 5)
    y = minigrad.attention(q, q, q, n_heads=2, mask=mask).data
    np.testing.assert_array_equal(y, minigrad.attention(q, q, q, n_heads=2, mask=mask[:, None]).data)
    weights = minigrad.attention_weights(q, q, n_heads=2, mask=mask).data  # (batch, 2, 5, 5)
    np.testing.assert_array_equal(weights[1, :, :, 2:], 0)
    assert (weights[1, :, :, :2] > 0).all() and (weights[0] > 0).all()


def test_heads_attend_each_with_its_own_features():
    q, k, v = (np.random.default_rng(i).normal(size=(2, 5, 6)) for i in range(3))
    together = minigrad.attention(q, k, v, n_heads=2, causal=True).data
    for head in (np.s_[..., :3], np.s_[..., 3:]):
        np.testing.assert_allclose(
            together[head], minigrad.attention(q[head], k[head], v[head], causal=True).data, rtol=1e-13
        )


@pytest.mark.parametrize("length", [63, 64, 65, 130])
def test_causal_blocks_of_queries_are_the_whole(length):
    q, k, v = (np.random.default_rng(i).normal(size=(2, length, 4)) for i in range(3))
    masked = minigrad.attention(q, k, v, mask=minigrad.causal_mask(length)).data
    np.testing.assert_allclose(minigrad.attention(q, k, v, causal=True).data, masked, rtol=1e-12, atol=1e-14)


def test_gumbel_noise_on_integer_scores_is_not_rounded():
    scores, rng = np.tile([0, 1, 2], (100_000, 1)), np.random.default_rng(0)
    drawn = minigrad.gumbel_softmax(scores, rng=rng).data.mean(0)
    np.testing.assert_allclose(drawn, minigrad.softmax([0.0, 1.0, 2.0]).data, atol=0.006)  # 4 standard errors


def test_an_infinite_gradient_stays_in_its_own_row_of_a_table():
    table = minigrad.Tensor(np.zeros((5, 2)), requires_grad=True)
    grad = np.ones((3, 2))
    grad[1, 0] = np.inf
    minigrad.embedding(table, [0, 3, 0]).backward(grad)
    np.testing.assert_array_equal(table.grad, [[2, 2], [0, 0], [0, 0], [np.inf, 1], [0, 0]])


def test_the_slope_of_sigmoid_is_symmetric_to_the_last_bit_that_counts():
    x = minigrad.Tensor([-20.0, 20.0], requires_grad=True)
    x.sigmoid().sum().backward()
    np.testing.assert_allclose(x.grad, math.exp(-20) / (1 + math.exp(-20)) ** 2, rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["softmax", "hardmax", "uniform", "sparsemax", "entmax15", "top_k_softmax", "sigmoid_normalize"]
)
def test_a_score_of_minus_infinity_is_a_masked_score(name):
    y = minigrad.OPS[name](np.array([[-np.inf, 0.0, 0.0], [-np.inf] * 3])).data
    assert y[0, 0] == 0 and y[0].sum() == pytest.approx(1) and not y[1].any()
