"""Gradients through a discrete choice: straight-through, Gumbel-softmax, REINFORCE."""

import functools

import numpy as np
import pytest

import minigrad
from agreement import assert_close, leaf, pulled
from score_maps import MASK, SCORES, gumbel_softmax

pytestmark = pytest.mark.filterwarnings("error")  # a convention is decided: NumPy has nothing to warn of


def test_straight_through_is_hardmax_forward_and_softmax_backward():
    y, grad = pulled(lambda x: minigrad.straight_through(x, mask=MASK), SCORES)
    _, soft = pulled(lambda x: minigrad.softmax(x, mask=MASK), SCORES)
    np.testing.assert_array_equal(y, minigrad.hardmax(SCORES, mask=MASK).data)
    assert_close(grad, soft, 1e-14)


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
    assert_close(loss.item(), -np.mean((reward - 0.5) * log_prob.data), 1e-14)
    loss.backward()
    assert_close(log_prob.grad, -(reward - 0.5) / 3, 1e-14)
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


def test_gumbel_noise_on_integer_scores_is_not_rounded():
    scores, rng = np.tile([0, 1, 2], (100_000, 1)), np.random.default_rng(0)
    drawn = minigrad.gumbel_softmax(scores, rng=rng).data.mean(0)
    np.testing.assert_allclose(drawn, minigrad.softmax([0.0, 1.0, 2.0]).data, atol=0.006)  # 4 standard errors
