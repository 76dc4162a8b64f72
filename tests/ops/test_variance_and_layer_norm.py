"""var and layer_norm: which variance, and where the gradient has no part."""

import numpy as np
import pytest

import minigrad
from agreement import assert_close, pulled

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("kernel_and_page")]


def test_var_is_the_population_variance():
    y, grad = pulled(minigrad.var, [1.0, 2.0, 6.0], cotangent=1)
    assert y == np.var([1.0, 2.0, 6.0])
    assert_close(grad, 2 / 3 * np.array([-2, -1, 3]), 1e-14)


def test_layer_norms_gradient_has_no_part_along_ones_nor_along_its_output():
    x = np.random.default_rng(0).normal(size=(3, 6))
    y, grad = pulled(lambda x: minigrad.layer_norm(x, eps=0.0), x)
    assert_close(y.mean(-1), 0, 1e-14, scale=1)
    np.testing.assert_allclose(y.var(-1), 1, rtol=1e-13)
    assert_close(grad.sum(-1), 0, 1e-14, scale=np.abs(grad).max())
    assert_close((grad * y).sum(-1), 0, 1e-14, scale=np.abs(grad).max())


def test_layer_norm_of_a_constant_row_is_its_bias():
    y, grad, grad_weight, _ = pulled(minigrad.layer_norm, np.full((2, 4), 3.0), np.full(4, 2.0), np.arange(4.0))
    assert_close(y, [np.arange(4.0)] * 2, 1e-12)
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(grad_weight, 0, atol=1e-12)
