"""The tests of modules draw from one generator each, always seeded alike."""

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(0)
