"""A GRU's steps in place: one array for the gates, and all that does not depend on the running gradient in one pass.

Arrays are kept steps-first, so that each step's product finds its (rows, d) in one piece. In backward, only a product
and seven passes over one step are left in the loop.
"""

import numpy as np

from minigrad.engine import Joint
from minigrad.fast.rows import sum_rows
from minigrad.fast.switch import faster
from minigrad.ops.recurrent import check_mask, check_shapes, gru


@faster(gru)
def gru_in_place(x, h, weight, bias=None, *, mask=None):
    """σ(x) = ½ + ½ tanh(x/2) cannot overflow. A masked position has z = 1: σ(∞), exactly."""
    check_shapes(x, h, weight, bias)
    n_steps, d = x.shape[-2], weight.shape[0]
    # (T, rows, 3d): a copy, which becomes r, z and n
    gates = _steps_first(x).astype(np.result_type(x, h, weight), order="C")
    r, z, n = gates[..., :d], gates[..., d : 2 * d], gates[..., 2 * d :]
    if mask is not None:
        masked = ~_steps_first(check_mask(mask, x.shape[:-1])[..., None])[..., 0]
        gates[masked] = 0
        z[masked] = np.inf  # σ(∞) is 1, exactly
    states = np.empty((n_steps + 1, *z.shape[1:]), gates.dtype)  # the first is h
    states[0] = np.broadcast_to(h, (*x.shape[:-2], d)).reshape(-1, d)
    c = np.empty(z.shape, gates.dtype)
    for t in range(n_steps):
        u = states[t] @ weight
        np.add(u[:, 2 * d :], 0 if bias is None else bias, out=c[t])
        rz = gates[t, :, : 2 * d]
        rz += u[:, : 2 * d]
        _sigmoid_in_place(rz)
        n[t] += r[t] * c[t]
        np.tanh(n[t], out=n[t])
        np.multiply(1 - z[t], n[t], out=states[t + 1])
        states[t + 1] += z[t] * states[t]
    x_shape, h_shape = x.shape, (*x.shape[:-2], d)

    def vjp_all(grad_y):
        arriving = _steps_first(grad_y)
        slope_n = (1 - z) * (1 - n * n)
        slope_z = (states[:-1] - n) * z * (1 - z)
        slope_r = c * r * (1 - r)
        grad_u, grad_n = np.empty_like(gates), np.empty_like(c)
        g = np.zeros_like(states[0])
        for t in reversed(range(n_steps)):
            g += arriving[t]
            np.multiply(g, slope_n[t], out=grad_n[t])
            np.multiply(grad_n[t], slope_r[t], out=grad_u[t, :, :d])
            np.multiply(g, slope_z[t], out=grad_u[t, :, d : 2 * d])
            np.multiply(grad_n[t], r[t], out=grad_u[t, :, 2 * d :])
            g *= z[t]
            g += grad_u[t] @ weight.T
        grad_weight = states[:-1].reshape(-1, d).T @ grad_u.reshape(-1, 3 * d)
        grad_bias = sum_rows(grad_u[..., 2 * d :])
        grad_x = grad_u
        grad_x[..., 2 * d :] = grad_n  # the only part in which they differ
        return grad_x.swapaxes(0, 1).reshape(x_shape), g.reshape(h_shape), grad_weight, grad_bias

    return states[1:].swapaxes(0, 1).reshape(*x_shape[:-1], d), Joint(vjp_all)


def _steps_first(a):
    """(..., T, k) -> (T, rows, k), without a copy where there is one leading axis or none."""
    return a.reshape(-1, *a.shape[-2:]).swapaxes(0, 1)


def _sigmoid_in_place(a):
    a *= 0.5
    np.tanh(a, out=a)
    a *= 0.5
    a += 0.5
