"""The queries, keys and values that tests of attention share."""

import functools

import numpy as np
import pytest

import minigrad

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
