"""cross_entropy: what it is, and targets that are ignored."""

import functools
import math

import numpy as np
import pytest

import minigrad
from agreement import assert_close, pulled
from score_maps import INF, NAN, SCORES

pytestmark = pytest.mark.filterwarnings("error")  # a convention is decided: NumPy has nothing to warn of
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
    assert_close(y, y_deleted, 1e-14)
    assert_close(grad[~ignored], grad_deleted, 1e-14)
    np.testing.assert_array_equal(grad[ignored], 0)


def test_cross_entropy_is_the_negative_log_softmax_of_the_target():
    y, grad = pulled(lambda x: minigrad.cross_entropy(x, TARGETS, reduction="none"), SCORES, cotangent=1)
    assert_close(y, -minigrad.log_softmax(SCORES).data[np.arange(4), TARGETS], 1e-14)
    assert_close(grad, minigrad.softmax(SCORES).data - np.eye(5)[TARGETS], 1e-14)
    np.testing.assert_allclose(minigrad.cross_entropy(SCORES, TARGETS).item(), y.mean(), rtol=1e-14)


def test_uniform_logits_cost_log_of_the_number_of_classes():
    for smoothing in (0.0, 0.3, 1.0):
        loss = minigrad.cross_entropy(np.zeros((4, 5)), TARGETS, label_smoothing=smoothing)
        np.testing.assert_allclose(loss.item(), math.log(5), rtol=1e-14)
