"""Layer normalization."""

import numpy as np

from minigrad.engine import op
from minigrad.ops.linear import ones, sum_rows


@op
def layer_norm(x, weight=None, bias=None, *, eps=1e-5):
    """Shift and scale each row of x to mean 0 and variance 1, then by a learned weight and bias.  (Ba et al. 2016)

        x̂ = (x − μ) r,   μ = mean(x),  r = 1/√(var(x) + ε)        along the last axis, of length d
        y = x̂ · weight + bias

    Shapes.  x (..., d), weight (d) and bias (d), each may be left out, y (..., d).

    Backward.  Into x̂ comes g = grad_y · weight. From x to x̂ there are three ways, directly, through μ and through r:
        ∂x̂ᵢ/∂xⱼ = r δᵢⱼ − r/d + (xᵢ − μ) ∂r/∂xⱼ
        ∂r/∂xⱼ = −½ (var + ε)^(−3/2) · 2 (xⱼ − μ)/d = −r² x̂ⱼ/d
    so, as (xᵢ − μ) r = x̂ᵢ,  ∂x̂ᵢ/∂xⱼ = r (δᵢⱼ − 1/d − x̂ᵢ x̂ⱼ/d), and
        grad_xⱼ     = r (gⱼ − mean(g) − x̂ⱼ mean(g x̂))
        grad_weight = Σ_rows grad_y x̂
        grad_bias   = Σ_rows grad_y
    A row's gradient sums to 0, as shifting x changes nothing; but for ε it has no part along x̂ either, as scaling x
    would change nothing.

    Numerics.  The mean over a short row is a matrix product with 1/d, and the row-wise dot product is np.vecdot: both
    are several times faster than .mean(-1).
    """
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError("normalizes the last axis, which must have at least one element")
    d = x.shape[-1]
    x = x if x.dtype.kind == "f" else x.astype(np.float32)
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and parameter.shape != (d,):
            raise ValueError(f"needs a {name} of shape ({d},), not {parameter.shape}")
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
