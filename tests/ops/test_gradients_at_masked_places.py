"""A nan or inf in the gradient that arrives where the mask forbids everything reaches no other score, key or value."""

import numpy as np
import pytest

import minigrad
from agreement import pulled
from score_maps import INF, MASK, MASKED, NAN, SCORES

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("kernel_and_page")]


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("name", ["uniform", "hardmax", "sum_normalize", "sparsemax", "entmax15"])
def test_it_stays_out_of_the_scores(name, bad):
    """The weight of a masked score is 0, whatever the scores are. (Softmax has a weight times grad_y: 0 · nan.)"""
    u = np.random.default_rng(0).normal(size=SCORES.shape)
    _, expected = pulled(lambda x: MASKED[name](x, mask=MASK), SCORES, cotangent=u)
    _, grad = pulled(lambda x: MASKED[name](x, mask=MASK), SCORES, cotangent=np.where(MASK, u, bad))
    np.testing.assert_array_equal(grad, expected)


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("attention", [minigrad.attention, minigrad.tiled_attention])
def test_a_query_that_may_attend_to_nothing_hands_nothing_on(attention, bad):
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 3, 4))
    mask = np.array([[True, True, False], [False, False, False], [True, True, True]])
    u = rng.normal(size=(3, 4))
    for position, x in enumerate((q, k, v)):

        def f(t, position=position):
            return attention(*[t if i == position else a for i, a in enumerate((q, k, v))], mask=mask)

        u_bad = np.where(mask.any(-1, keepdims=True), u, bad)
        _, expected = pulled(f, x, cotangent=np.where(mask.any(-1, keepdims=True), u, 0))
        _, grad = pulled(f, x, cotangent=u_bad)
        np.testing.assert_array_equal(grad, expected)
