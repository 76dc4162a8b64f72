"""Losses beside cross_entropy's classes: probabilities, yes-or-no questions, numbers; and entropy."""

import math

import numpy as np
import pytest

import minigrad
from agreement import assert_all_close, assert_close, leaf, pulled
from score_maps import INF, SCORES

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("kernel_and_page")]
TARGETS = np.array([1, 0, 4, 2])
SHARES = np.exp(np.random.default_rng(0).normal(size=(4, 5)))
SHARES /= SHARES.sum(-1, keepdims=True)


def x(*shape):
    return leaf(np.ones(shape))


# --- probabilities as targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_one_hot_probabilities_are_classes(reduction, smoothing):
    options = {"reduction": reduction, "label_smoothing": smoothing}
    classes = pulled(lambda x: minigrad.cross_entropy(x, TARGETS, **options), SCORES)
    one_hot = pulled(lambda x: minigrad.cross_entropy(x, np.eye(5)[TARGETS], **options), SCORES)
    assert_all_close(one_hot, classes, 1e-14)


def test_the_loss_is_least_and_the_gradient_0_where_softmax_gives_the_probabilities():
    loss, grad, _ = pulled(minigrad.cross_entropy, np.log(SHARES), SHARES, cotangent=1)
    assert_close(grad, np.zeros_like(grad), 1e-15, scale=1)
    assert_close(loss, minigrad.entropy(SHARES).data.mean(), 1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_beside_a_tensor_take_its_dtype_and_may_be_a_list_or_a_tensor(dtype):
    logits, expected = leaf(SCORES[:1], dtype), minigrad.cross_entropy(SCORES[:1], SHARES[:1]).item()
    for targets in (SHARES[:1], SHARES[:1].tolist(), minigrad.Tensor(SHARES[:1].astype(dtype))):
        y = minigrad.cross_entropy(logits, targets)
        assert y.dtype == dtype and math.isclose(y.item(), expected, rel_tol=1e-6)


def test_a_class_of_probability_0_may_have_the_logit_minus_infinity():
    y, grad, _ = pulled(minigrad.cross_entropy, [[0.0, -INF, 0.0]], [[0.5, 0.0, 0.5]], cotangent=1)
    assert_close(y, math.log(2), 1e-15)
    np.testing.assert_array_equal(grad, 0)
    y, grad = pulled(lambda x: minigrad.cross_entropy(x, [0]), [[0.0, -INF, 0.0]], cotangent=1)
    assert_close(y, math.log(2), 1e-15)


def test_sums_of_losses_need_no_counting():
    rows = minigrad.cross_entropy(SCORES, TARGETS, reduction="none").data
    assert_close(minigrad.cross_entropy(SCORES, TARGETS, reduction="sum").data, rows.sum(), 1e-14)
    ignored = minigrad.cross_entropy(SCORES, TARGETS, reduction="sum", ignore_index=4).data
    assert_close(ignored, rows[TARGETS != 4].sum(), 1e-14)


# --- the others --------------------------------------------------------------------------------------------------


def test_binary_cross_entropy_is_the_cross_entropy_of_two_classes():
    logits, answers = SCORES[0], np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    y, grad = pulled(lambda x: minigrad.binary_cross_entropy(x, answers), logits, cotangent=1)
    two = np.stack([0 * logits, logits], -1)
    expected, grad_two = pulled(lambda x: minigrad.cross_entropy(x, answers.astype(int)), two, cotangent=1)
    assert_close(y, expected, 1e-14)
    assert_close(grad, grad_two[:, 1], 1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_of_huge_logits_is_finite_and_exact(dtype):
    logits = np.array([1e30, -1e30, 1e30, -1e30, 0.0, 40.0], dtype)
    answers = np.array([1, 0, 0, 1, 1, 1])
    y, grad = pulled(lambda x: minigrad.binary_cross_entropy(x, answers, reduction="none"), logits, cotangent=1)
    assert y.dtype == grad.dtype == dtype
    np.testing.assert_allclose(y, [0, 0, 1e30, 1e30, math.log(2), math.exp(-40)], rtol=1e-5)
    np.testing.assert_allclose(grad, [0, 0, 1, -1, -0.5, -math.exp(-40)], rtol=1e-5)


def test_mse_loss_is_the_mean_of_squares():
    a, b = SCORES, SHARES
    y, grad_a, grad_b = pulled(minigrad.mse_loss, a, b, cotangent=1)
    assert_close(y, ((a - b) ** 2).mean(), 1e-14)
    assert_close(grad_a, 2 * (a - b) / a.size, 1e-14)
    np.testing.assert_array_equal(grad_b, -grad_a)
    assert_close(minigrad.mse_loss(a, b, reduction="sum").data, ((a - b) ** 2).sum(), 1e-14)
    assert minigrad.mse_loss(a, b, reduction="none").shape == a.shape


@pytest.mark.parametrize("size", [0, 1])
def test_losses_of_one_row_and_of_none(size):
    rows, answers = SCORES[:size], np.zeros((size, 5))
    for loss in (
        lambda x: minigrad.cross_entropy(x, SHARES[:size]),
        lambda x: minigrad.cross_entropy(x, TARGETS[:size], reduction="sum"),
        lambda x: minigrad.binary_cross_entropy(x, answers),
        lambda x: minigrad.mse_loss(x, answers, reduction="sum"),
    ):
        y, grad = pulled(loss, rows, cotangent=1)
        assert y.shape == () and np.isfinite(y) and grad.shape == rows.shape
        assert size or y == 0


# --- entropy -----------------------------------------------------------------------------------------------------


def test_entropy_of_weights_is_scipys():
    scipy_stats = pytest.importorskip("scipy.stats")
    assert_close(minigrad.entropy(SHARES).data, scipy_stats.entropy(SHARES, axis=-1), 1e-14)


def test_entropy_takes_no_notice_of_weights_that_are_0():
    y, grad = pulled(minigrad.entropy, [[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]], cotangent=1)
    np.testing.assert_allclose(y, [math.log(2), 0], rtol=1e-15)
    assert (grad == 0).sum() == 3
    np.testing.assert_allclose(grad[0, 0], math.log(2) - 1, rtol=1e-14)


def test_masking_equals_deleting_in_the_entropy_of_softmax():
    mask = np.array([True, False, True, True, False])
    y, grad = pulled(lambda x: minigrad.entropy(minigrad.softmax(x, mask=mask)), SCORES, cotangent=1)
    y_deleted, grad_deleted = pulled(lambda x: minigrad.entropy(minigrad.softmax(x)), SCORES[:, mask], cotangent=1)
    assert_close(y, y_deleted, 1e-14)
    assert_close(grad[:, mask], grad_deleted, 1e-13)
    np.testing.assert_array_equal(grad[:, ~mask], 0)


def test_a_softmax_that_rounds_to_one_hot_has_a_finite_gradient():
    _, grad = pulled(lambda x: minigrad.entropy(minigrad.softmax(x)), np.array([0.0, 1e30, -200.0], np.float32))
    np.testing.assert_array_equal(grad, 0)


# --- what is refused ---------------------------------------------------------------------------------------------

LOSSES_REFUSE = {
    "probabilities that don't sum to 1": (
        lambda: minigrad.cross_entropy(x(2, 3), np.full((2, 3), 0.5)),
        ValueError,
        r"cross_entropy of .*: .*probabilities: each row sums to 1, not 1\.5, as in targets / ",
    ),
    "negative probabilities": (
        lambda: minigrad.cross_entropy(x(1, 3), np.array([[2.0, -1.0, 0.0]])),
        ValueError,
        r"cross_entropy of .*: .*probabilities, and -1 is none",
    ),
    "probabilities that are nan": (
        lambda: minigrad.cross_entropy(x(1, 2), np.array([[np.nan, 1.0]])),
        ValueError,
        r"cross_entropy of .*: .*probabilities, and nan is none",
    ),
    "probabilities and an ignored class": (
        lambda: minigrad.cross_entropy(x(1, 2), np.array([[0.5, 0.5]]), ignore_index=0),
        ValueError,
        r"cross_entropy of .*: ignore_index is a class, .*leave their rows out",
    ),
    "another loss, an unknown reduction": (
        lambda: minigrad.mse_loss(x(2), x(2), reduction="avg"),
        ValueError,
        r"mse_loss of .*: reduction is 'mean', 'sum' or 'none', not 'avg'",
    ),
    "losses of shapes that would broadcast": (
        lambda: minigrad.mse_loss(x(2), x(2, 1)),
        ValueError,
        r"mse_loss of shapes \(2,\) and \(2, 1\): needs one target for each prediction",
    ),
    "targets that would broadcast": (
        lambda: minigrad.binary_cross_entropy(x(2), x(2, 1)),
        ValueError,
        r"binary_cross_entropy of shapes \(2,\) and \(2, 1\): needs one target for each logit",
    ),
    "an answer beyond yes": (
        lambda: minigrad.binary_cross_entropy(x(2), np.array([1.0, 2.0])),
        ValueError,
        r"binary_cross_entropy of .*: targets are 0, 1, or a probability",
    ),
    "entropy of a number": (lambda: minigrad.entropy(x()), ValueError, r"entropy of shape \(\): needs weights along"),
}


@pytest.mark.parametrize("what", LOSSES_REFUSE)
def test_losses_say_what_is_wrong(what):
    call, kind, says = LOSSES_REFUSE[what]
    with pytest.raises(kind, match=says):
        call()


def test_the_gradient_is_right_for_probabilities_that_sum_to_almost_1():
    logits, p = np.random.default_rng(0).normal(size=(3, 4)), np.full((3, 4), 0.2502)
    assert minigrad.gradcheck(lambda x: minigrad.cross_entropy(x, p, reduction="sum"), logits).relative_error < 1e-8


def test_nothing_cancels_in_the_gradient_of_a_sure_and_right_answer():
    for x, t in ((20.0, 1.0), (-20.0, 0.0)):
        logits = leaf(np.array([x], np.float32))
        minigrad.binary_cross_entropy(logits, np.array([t], np.float32), reduction="sum").backward()
        np.testing.assert_allclose(abs(logits.grad[0]), math.exp(-20), rtol=1e-5)


def test_infinite_logits_are_right_or_wrong_without_end():
    logits, targets = np.array([INF, -INF, INF, -INF]), np.array([1.0, 0.0, 0.0, 1.0])
    y, grad = pulled(
        lambda x: minigrad.binary_cross_entropy(x, targets, reduction="none"), logits, cotangent=np.ones(4)
    )
    np.testing.assert_array_equal(y, [0, 0, INF, INF])
    np.testing.assert_array_equal(grad, [0, 0, 1, -1])
