"""A GRU's steps in place. One array holds all gates, and what does not depend on the running gradient g is one pass.

Arrays are kept with the steps in front, (T, rows, d), so that the product of each step finds its rows in one piece.
Backward makes the slopes of all steps at once. What is left in its loop is one product and seven passes over a step.
"""

import numpy as np

from minigrad.engine import Joint
from minigrad.fast.rows import sum_rows
from minigrad.fast.switch import faster
from minigrad.ops.recurrent import check_mask, check_shapes, gru


@faster(gru)
def gru_in_place(x, h, weight, bias=None, *, mask=None):
    """σ(x) = ½ + ½ tanh(x/2), in place, cannot overflow."""
    check_shapes(x, h, weight, bias)
    n_steps, d = x.shape[-2], weight.shape[0]
    gates = _steps_first(x).astype(np.result_type(x, h, weight), order="C")  # a copy, which becomes r, z and n
    r, z, n = gates[..., :d], gates[..., d : 2 * d], gates[..., 2 * d :]
    masked = None
    if mask is not None:
        masked = ~_steps_first(check_mask(mask, x.shape[:-1])[..., None])  # (T, rows, 1)
        gates[masked[..., 0]] = 0  # whatever stands there, nan included
    states = np.empty((n_steps + 1, *z.shape[1:]), gates.dtype)  # the first is h
    states[0] = np.broadcast_to(h, (*x.shape[:-2], d)).reshape(-1, d)
    c = np.empty(z.shape, gates.dtype)
    for t in range(n_steps):
        u = states[t] @ weight
        np.add(u[:, 2 * d :], 0 if bias is None else bias, out=c[t])
        rz = gates[t, :, : 2 * d]
        rz += u[:, : 2 * d]
        _sigmoid_in_place(rz)
        if masked is not None:
            np.copyto(z[t], 1, where=masked[t])  # the state stays as it was
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
