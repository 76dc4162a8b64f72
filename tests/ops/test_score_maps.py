"""What always holds of the weights a map makes from scores: sums, shifts, permutations, axes."""

import functools
import math

import numpy as np
import pytest

import minigrad
from agreement import assert_close, leaf, pulled
from score_maps import GUMBEL, MAPS, MASK, MASKED, SCORES, all_but, every_map

pytestmark = pytest.mark.filterwarnings("error")  # a convention is decided: NumPy has nothing to warn of


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
    assert_close(grad.sum(axis), 0, 1e-14, scale=np.abs(grad).max())


@pytest.mark.parametrize("axis", [-1, 0])
def test_gradients_of_log_softmax_sum_to_0_and_of_logsumexp_to_the_incoming_gradient(axis):
    _, grad = pulled(lambda x: minigrad.log_softmax(x, axis=axis), SCORES)
    assert_close(grad.sum(axis), 0, 1e-14, scale=np.abs(grad).max())
    u = np.arange(1.0, 1 + np.delete(SCORES.shape, axis)[0])
    _, grad = pulled(lambda x: minigrad.logsumexp(x, axis=axis), SCORES, cotangent=u)
    assert_close(grad.sum(axis), u, 1e-14)


@pytest.mark.parametrize("name", ["softmax", "hardmax", "uniform", "top_k_softmax", "sparsemax", "entmax15"])
def test_adding_a_constant_to_all_scores_changes_nothing(name):
    for constant in (-100.0, 1e6):
        y, grad = pulled(MAPS[name], SCORES)
        y_shifted, grad_shifted = pulled(MAPS[name], SCORES + constant)
        assert_close(y_shifted, y, 1e-8)
        assert_close(grad_shifted, grad, 1e-8)


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
    assert_close(y_permuted, y if name == "logsumexp" else y[:, order], 1e-13)
    assert_close(grad_permuted, grad[:, order], 1e-13)


@all_but(GUMBEL)  # the noise is drawn in the shape of the scores
def test_any_axis_is_the_last_axis_of_the_transposed(name):
    cube = np.random.default_rng(2).uniform(0.1, 2, size=(2, 3, 4))
    mask = np.random.default_rng(3).random((2, 3, 4)) < 0.6
    for axis in (0, 1, -2, -3):
        move = functools.partial(np.moveaxis, source=axis, destination=-1)
        y, grad = pulled(lambda x, axis=axis: MASKED[name](x, axis=axis, mask=mask), cube, cotangent=1.5)
        y_last, grad_last = pulled(lambda x, move=move: MASKED[name](x, mask=move(mask)), move(cube), cotangent=1.5)
        assert_close(y if name == "logsumexp" else move(y), y_last, 1e-13)
        assert_close(move(grad), grad_last, 1e-13)


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
        assert_close(every, y, 1e-14)
        assert_close(grad, expected, 1e-14)


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
            assert_close(MAPS[name](x).data, np.maximum(z - low, 0) ** power, 1e-13)


def test_sparse_maps_have_exact_zeros_and_softmax_never():
    x = np.array([3.0, 2.9, 0.0, -5.0])
    assert (minigrad.sparsemax(x).data[2:] == 0).all() and (minigrad.sparsemax(x).data[:2] > 0).all()
    assert minigrad.entmax15(x).data[3] == 0
    assert (minigrad.softmax(x).data > 0).all()


def test_logsumexp_is_at_least_the_maximum_and_its_gradient_is_softmax():
    y, grad = pulled(minigrad.logsumexp, SCORES, cotangent=1)
    assert (y >= SCORES.max(-1)).all() and (y <= SCORES.max(-1) + math.log(5)).all()
    assert_close(grad, minigrad.softmax(SCORES).data, 1e-14)
    assert_close(minigrad.log_softmax(SCORES).data, SCORES - y[:, None], 1e-14)


@pytest.mark.parametrize("mask", [None, MASK])
def test_softmax1_is_softmax_with_one_more_score_of_0_left_out(mask):
    for scores in (SCORES, SCORES - 300, SCORES + 300):
        more = np.concatenate([scores, np.zeros((4, 1))], -1)
        mask_of_more = None if mask is None else np.concatenate([mask, np.full((4, 1), True)], -1)
        u = np.concatenate([np.random.default_rng(0).normal(size=SCORES.shape), np.zeros((4, 1))], -1)
        expected, expected_grad = pulled(lambda x, m=mask_of_more: minigrad.softmax(x, mask=m), more, cotangent=u)
        y, grad = pulled(lambda x: minigrad.softmax1(x, mask=mask), scores, cotangent=u[:, :-1])
        assert_close(y, expected[:, :-1], 1e-14)
        assert_close(grad, expected_grad[:, :-1], 1e-14, scale=1)


def test_softmax1_gives_hardly_any_weight_where_all_scores_are_very_negative():
    assert minigrad.softmax1(SCORES - 50).data.sum() < 1e-18
    assert_close(minigrad.softmax1(SCORES + 50).data.sum(-1), 1, 1e-12)
