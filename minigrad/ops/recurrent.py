"""A gated recurrent unit: a whole sequence in one node, and backpropagation through time by hand."""

import numpy as np

from minigrad.engine import Joint, op
from minigrad.ops.linear import sum_rows
from minigrad.ops.softmax import boolean


@op
def gru(x, h, weight, bias=None, *, mask=None):
    """Read a sequence step by step: at each, a gate decides how much of the state is kept.  (Cho et al. 2014)

        u = hₜ₋₁ W                          what the state says to reset gate, update gate and candidate, in this order
        r = σ(xʳₜ + uʳ)                     reset gate
        z = σ(xᶻₜ + uᶻ)                     update gate
        n = tanh(xⁿₜ + r ∘ (uⁿ + b))        candidate
        hₜ = (1 − z) ∘ n + z ∘ hₜ₋₁

    The variant of cuDNN and PyTorch, with their order of gates: r after the product, not inside it as in the paper, so
    that there is one product a step. b is the only bias here: at the gates it would add up with that of x.

    Shapes.  x (..., T, 3d), what the input says to r, z and n, made for all positions at once by one `linear` outside;
    h (..., d), the state before the first step; weight (d, 3d); bias (d) or None; y (..., T, d), all the states.
    Leading axes of h and of mask broadcast. mask is boolean (..., T), True = this position counts; at any other the
    state stays what it was: there z = 1.

    Backward.  Through time, from the last step to the first. At step t the gradient g of hₜ is what arrives in grad_y
    and what comes back from step t+1. Into the arguments of tanh and σ, with c = uⁿ + b,
        grad_xⁿ = g ∘ (1 − z) ∘ (1 − n²)
        grad_xᶻ = g ∘ (hₜ₋₁ − n) ∘ z (1 − z)
        grad_xʳ = grad_xⁿ ∘ c ∘ r (1 − r)
    u enters where x does, but for its last part, behind the reset gate:
        grad_u = (grad_xʳ, grad_xᶻ, grad_xⁿ ∘ r)
    and hₜ₋₁ has two ways on, straight through z and through u:
        g ← g ∘ z + grad_u Wᵀ                        the gradient of hₜ₋₁; in the end, grad_h
    W and b were used at every step, and their gradients add up over all of them, in one matrix product at the end:
        grad_weight = Σₜ hₜ₋₁ᵀ grad_u
        grad_bias   = Σₜ (grad_xⁿ ∘ r)
    All that does not depend on g is one pass over all steps; what is left in the loop are a product and seven passes
    over one step. Where a position is masked, z = 1 makes all of grad_x and grad_u 0, and g passes on as it is.

    Numerics.  σ(x) = ½ + ½ tanh(x/2) cannot overflow. Arrays are kept steps-first, so that each step's product finds
    its (rows, d) in one piece. A nan in x where the mask is False goes nowhere.
    """
    _check_shapes(x, h, weight, bias)
    n_steps, d = x.shape[-2], weight.shape[0]
    # (T, rows, 3d): a copy, which becomes r, z and n
    gates = _steps_first(x).astype(np.result_type(x, h, weight), order="C")
    r, z, n = gates[..., :d], gates[..., d : 2 * d], gates[..., 2 * d :]
    if mask is not None:
        masked = ~_steps_first(_check_mask(mask, x.shape[:-1])[..., None])[..., 0]
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


def _check_shapes(x, h, weight, bias):
    d = weight.shape[0] if weight.ndim else 0
    if weight.shape != (d, 3 * d) or x.ndim < 2 or x.shape[-1] != 3 * d or h.shape[-1:] != (d,):
        raise ValueError("needs x (..., T, 3d), h (..., d) and weight (d, 3d)")
    if x.shape[-2] == 0:
        raise ValueError("the sequence is empty: there is no state to return")
    if bias is not None and bias.shape != (d,):
        raise ValueError(f"needs a bias of shape ({d},), for the candidate alone: the gates' biases belong in x")
    try:
        np.broadcast_to(h, (*x.shape[:-2], d))
    except ValueError:
        raise ValueError(f"for this x needs an h of shape {(*x.shape[:-2], d)}, or one that broadcasts to it") from None


def _check_mask(mask, shape):
    """The mask as an array, if it is boolean and broadcasts to the positions of x."""
    mask = boolean(mask, "a position counts")
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(f"a mask of shape {mask.shape} does not broadcast to positions of shape {shape}") from None
