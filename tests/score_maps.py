"""The maps from scores to weights, and the scores and the mask that the tests of ops give them."""

import functools

import numpy as np
import pytest

import minigrad

NAN, INF = np.nan, np.inf


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
# What takes scores and a mask; log_softmax keeps -inf for masked scores, the others 0 or one number for the row. The
# weights of softmax1 sum to less than 1.
MASKED = MAPS | {name: getattr(minigrad, name) for name in ("log_softmax", "logsumexp", "softmax1")}

SCORES = np.random.default_rng(0).uniform(0.1, 2.0, size=(4, 5))  # positive, so that sum_normalize gives weights too
MASK = np.array(
    [[True, True, False, True, True], [False, True, True, False, True], [True] * 5, [False, False, True, False, False]]
)

every_map = pytest.mark.parametrize("name", MAPS)
every_masked = pytest.mark.parametrize("name", MASKED)


def all_but(names, maps=MASKED):
    return pytest.mark.parametrize("name", [name for name in maps if name not in names])


GUMBEL = ("gumbel_softmax, hard", "gumbel_softmax, soft")
