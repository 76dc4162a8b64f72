"""Matrix products: where nearly all the arithmetic of a transformer is."""

import math

from minigrad.engine import op


@op
def matmul(a, b):
    """y = a @ b, a matrix product for each entry of the (broadcast) batch axes

    Shapes.  a (..., n, k), b (..., k, m), y (..., n, m).

    Backward.  yᵢⱼ = Σₗ aᵢₗ bₗⱼ.  The entry aᵢₗ is used in row i of y, once for every j, each time multiplied by bₗⱼ.
    The entry bₗⱼ is used in column j of y, once for every i, each time multiplied by aᵢₗ. So
        grad_aᵢₗ = Σⱼ grad_yᵢⱼ bₗⱼ
        grad_bₗⱼ = Σᵢ aᵢₗ grad_yᵢⱼ
    In each, the index that is summed stands next to itself once one factor is transposed, (bᵀ)ⱼₗ and (aᵀ)ₗᵢ:
        grad_a = grad_y @ bᵀ
        grad_b = aᵀ @ grad_y
    The shapes check this, (n, m)·(m, k) and (k, n)·(n, m), but don't prove it: square matrices fit in any order.
    """
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(
            "is for matrices; for vectors write (a * b).sum(-1), or make one a matrix with a[None, :] or b[:, None]"
        )
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"the last axis of a ({a.shape[-1]}) must be as long as the second-last of b ({b.shape[-2]}); "
            f"is a .mT missing?"
        )

    def vjp_a(grad_y):
        return grad_y @ b.mT

    def vjp_b(grad_y):
        return a.mT @ grad_y

    return a @ b, (vjp_a, vjp_b)


@op
def linear(x, weight, bias=None):
    """y = x @ weight + bias: every row of x through the same affine map

    Shapes.  x (..., d_in), weight (d_in, d_out), bias (d_out) or None, y (..., d_out).

    Backward.  As in `matmul`. All rows use the same weight, so its gradient is a sum over all of them: that of one
    product, with the rows as one matrix. Each row of y has its own copy of bias, and the gradients of copies add up.
        grad_x      = grad_y @ weightᵀ
        grad_weight = xᵀ @ grad_y            x and grad_y as matrices of all rows
        grad_bias   = Σ_rows grad_y
    """
    check_linear(x, weight, bias)
    y = x @ weight if bias is None else x @ weight + bias

    def vjp_x(grad_y):
        return grad_y @ weight.T

    def vjp_weight(grad_y):
        return as_rows(x).T @ as_rows(grad_y)

    def vjp_bias(grad_y):
        return as_rows(grad_y).sum(0)

    return y, (vjp_x, vjp_weight, vjp_bias)


def as_rows(a):
    """All rows of a, whatever axes they are counted by, as one matrix."""
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


def check_linear(x, weight, bias):
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[0]:
        raise ValueError("needs x (..., d_in) and weight (d_in, d_out)")
    if bias is not None and bias.shape != weight.shape[1:]:
        raise ValueError(f"needs a bias of shape {weight.shape[1:]}, one number for each column of weight")
