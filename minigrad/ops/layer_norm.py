"""Layer normalization."""

import numpy as np

from minigrad.engine import op


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
    A row's gradient sums to 0, as shifting x changes nothing. If ε were 0, scaling x would change nothing either, and
    the gradient would have no part along x̂.
    """
    check_rows(x, weight, bias, eps)
    mean = x.mean(-1, keepdims=True)
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    x_hat = (x - mean) * r
    y = x_hat if weight is None else x_hat * weight
    y = y if bias is None else y + bias

    def vjp_x(grad_y):
        g = grad_y if weight is None else grad_y * weight
        return r * (g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True))

    def vjp_weight(grad_y):
        return grad_y * x_hat  # the engine sums over the rows: each has its own copy of weight

    def vjp_bias(grad_y):
        return grad_y

    return y, (vjp_x, vjp_weight, vjp_bias)


def check_rows(x, weight, bias, eps):
    if not 0 <= eps < np.inf:
        raise ValueError(f"needs a finite eps >= 0, not {eps}")
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError("normalizes the last axis, which must have at least one element")
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and parameter.shape != x.shape[-1:]:
            raise ValueError(f"needs a {name} of shape {x.shape[-1:]}, not {parameter.shape}")
