"""layer_norm with fewer and faster passes: means over short rows as products, dots of rows by np.vecdot."""

import numpy as np

from minigrad.fast.rows import ones, sum_rows
from minigrad.fast.switch import faster
from minigrad.ops.layer_norm import check_rows, layer_norm


@faster(layer_norm)
def layer_norm_by_products(x, weight=None, bias=None, *, eps=1e-5):
    """NumPy's mean over a last axis of 128 takes several times as long as a product with 1/d."""
    check_rows(x, weight, bias, eps)
    d = x.shape[-1]
    averaging = ones(d, x.dtype)[:, None] / d

    x_hat = x - x @ averaging
    r = 1 / np.sqrt(np.vecdot(x_hat, x_hat)[..., None] / d + eps)
    x_hat *= r
    y = x_hat.copy() if weight is None else x_hat * weight
    if bias is not None:
        y += bias

    def vjp_x(grad_y):
        g = grad_y if weight is None else grad_y * weight
        grad_x = x_hat * (np.vecdot(g, x_hat)[..., None] / -d)
        grad_x += g
        grad_x -= g @ averaging
        grad_x *= r
        return grad_x

    def vjp_weight(grad_y):
        return sum_rows(grad_y * x_hat)

    def vjp_bias(grad_y):
        return sum_rows(grad_y)

    return y, (vjp_x, vjp_weight, vjp_bias)
