"""Masks: True may attend; masking equals deleting; nothing leaks; a row with everything masked is 0."""

import numpy as np
import pytest

import minigrad
from agreement import assert_close, leaf, pulled, random_cotangent
from score_maps import GUMBEL, INF, MASK, MASKED, NAN, SCORES, all_but, every_masked

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("kernel_and_page")]


@all_but(GUMBEL)  # deleting a score shifts the noise of those behind it
def test_masking_equals_deleting(name):
    for row, allowed in zip(SCORES, MASK, strict=True):
        u = np.random.default_rng(1).normal(size=5) if name != "logsumexp" else np.array(1.5)
        y, grad = pulled(lambda x, m=allowed: MASKED[name](x, mask=m), row, cotangent=u)
        y_deleted, grad_deleted = pulled(MASKED[name], row[allowed], cotangent=u[allowed] if u.ndim else u)
        assert_close(y[allowed] if u.ndim else y, y_deleted, 1e-14)
        assert_close(grad[allowed], grad_deleted, 1e-14)
        np.testing.assert_array_equal(grad[~allowed], 0)
        if u.ndim:
            np.testing.assert_array_equal(y[~allowed], -INF if name == "log_softmax" else 0)


@all_but(("uniform", "sum_normalize"))  # these give weight to a score of -inf, or a nan
def test_masking_equals_a_score_of_minus_infinity(name):
    y, grad = pulled(lambda x: MASKED[name](x, mask=MASK), SCORES)
    y_inf, grad_inf = pulled(MASKED[name], np.where(MASK, SCORES, -INF))
    assert_close(y_inf, y, 1e-14)
    assert_close(grad_inf, grad, 1e-14)


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
        u = random_cotangent(y)  # the one that was pulled back
        y_others, grad_others = pulled(
            lambda x: MASKED[name](x, mask=mask[others]), scores[others], cotangent=u[others]
        )
        assert_close(y[others], y_others, 1e-14)
        assert_close(grad[others], grad_others, 1e-14)


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


@pytest.mark.parametrize(
    "name", ["softmax", "hardmax", "uniform", "sparsemax", "entmax15", "top_k_softmax", "sigmoid_normalize"]
)
def test_a_score_of_minus_infinity_is_a_masked_score(name):
    y = minigrad.OPS[name](np.array([[-np.inf, 0.0, 0.0], [-np.inf] * 3])).data
    assert y[0, 0] == 0 and y[0].sum() == pytest.approx(1) and not y[1].any()


def test_a_score_of_plus_infinity_is_not_masked():
    scores = np.array([[0.0, INF, 0.0]])
    np.testing.assert_array_equal(minigrad.uniform(scores).data, np.full((1, 3), 1 / 3))
    np.testing.assert_array_equal(minigrad.hardmax(scores).data, [[0, 1, 0]])
    assert_close(minigrad.sigmoid_normalize(scores).data, [[0.25, 0.5, 0.25]], 1e-14)  # sigmoids 1/2, 1 and 1/2
    assert np.isnan(minigrad.sum_normalize(scores).data[0, 1])  # inf/inf: shown, not left out


def test_a_mask_may_have_the_leading_axes_of_the_values():
    """One set of scores, five sets of values, and for each of these a mask of its own."""
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4)), rng.normal(size=(5, 2, 3, 2))
    mask = rng.random((5, 1, 3, 3)) < 0.7
    y = minigrad.attention(q, k, v, mask=mask).data
    each = [minigrad.attention(q, k, v[i], mask=mask[i]).data for i in range(5)]
    assert_close(y, np.stack(each), 1e-13)
