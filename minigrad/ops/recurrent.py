"""A gated recurrent unit: a whole sequence in one node, and backpropagation through time by hand."""

import numpy as np

from minigrad.engine import Joint, op
from minigrad.ops.softmax import boolean


@op
def gru(x, h, weight, bias=None, *, mask=None):
    """Read a sequence step by step: at each, a gate decides how much of the state is kept.  (Cho et al. 2014)

        u = hₜ₋₁ W                          what the state says to reset gate, update gate and candidate, in this order
        r = σ(xʳₜ + uʳ)                     reset gate
        z = σ(xᶻₜ + uᶻ)                     update gate
        n = tanh(xⁿₜ + r ∘ (uⁿ + b))        candidate
        hₜ = (1 − z) ∘ n + z ∘ hₜ₋₁

    This is the variant of cuDNN and PyTorch, with their order of gates. It applies r after the product, where the paper
    applies it before, so there is one product a step. b is the only bias here: at the gates it would add to that of x.

    Shapes.  x (..., T, 3d), what the input says to r, z and n, made for all positions at once by one `linear` outside;
    h (..., d), the state before the first step; weight (d, 3d); bias (d) or None; y (..., T, d), all the states.
    Leading axes of h and of mask broadcast. mask is boolean (..., T), True = this position counts. At any other the
    state stays as it was: there z = 1.

    Backward.  Through time, from the last step to the first. At step t the gradient g of hₜ is the sum of what arrives
    in grad_y and what comes back from step t+1. Into the arguments of tanh and σ, with c = uⁿ + b,
        grad_xⁿ = g ∘ (1 − z) ∘ (1 − n²)
        grad_xᶻ = g ∘ (hₜ₋₁ − n) ∘ z (1 − z)
        grad_xʳ = grad_xⁿ ∘ c ∘ r (1 − r)
    u enters where x does, but for its last part, behind the reset gate:
        grad_u = (grad_xʳ, grad_xᶻ, grad_xⁿ ∘ r)
    and hₜ₋₁ has two ways on, straight through z and through u:
        g ← g ∘ z + grad_u Wᵀ                        the gradient of hₜ₋₁; in the end, grad_h
    W and b are used at every step, so their gradients add up over all steps:
        grad_weight = Σₜ hₜ₋₁ᵀ grad_u
        grad_bias   = Σₜ (grad_xⁿ ∘ r)
    Where a position is masked, z = 1 makes all of grad_x and grad_u 0, and g passes on as it is.

    Numerics.  A nan in x where the mask is False affects neither the output nor any gradient.
    """
    check_shapes(x, h, weight, bias)
    d, T = weight.shape[0], x.shape[-2]
    b = 0 if bias is None else bias
    counts = np.broadcast_to(True if mask is None else check_mask(mask, x.shape[:-1]), x.shape[:-1])[..., None]
    x = np.where(counts, x, 0)

    states, gates = [np.broadcast_to(h, (*x.shape[:-2], d))], []
    for t in range(T):
        xr, xz, xn = np.split(x[..., t, :], 3, -1)
        ur, uz, un = np.split(states[t] @ weight, 3, -1)
        c = un + b
        r = sigmoid(xr + ur)
        z = np.where(counts[..., t, :], sigmoid(xz + uz), 1)
        n = np.tanh(xn + r * c)
        states.append((1 - z) * n + z * states[t])
        gates.append((r, z, n, c))

    def vjp_all(grad_y):
        grad_x, grad_h = np.zeros(x.shape, x.dtype), np.zeros_like(states[0])
        grad_weight, grad_bias = np.zeros_like(weight), np.zeros_like(weight[0, :d])
        for t in reversed(range(T)):
            r, z, n, c = gates[t]
            g = grad_h + grad_y[..., t, :]
            grad_xn = g * (1 - z) * (1 - n * n)
            grad_xz = g * (states[t] - n) * z * (1 - z)
            grad_xr = grad_xn * c * r * (1 - r)
            grad_u = np.concatenate([grad_xr, grad_xz, grad_xn * r], -1)
            grad_x[..., t, :] = np.concatenate([grad_xr, grad_xz, grad_xn], -1)
            grad_h = g * z + grad_u @ weight.T
            grad_weight += states[t].reshape(-1, d).T @ grad_u.reshape(-1, 3 * d)
            grad_bias += (grad_xn * r).reshape(-1, d).sum(0)
        return grad_x, grad_h, grad_weight, grad_bias

    return np.stack(states[1:], -2), Joint(vjp_all)


def sigmoid(a):
    return 0.5 + 0.5 * np.tanh(a / 2)  # cannot overflow


def check_shapes(x, h, weight, bias):
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


def check_mask(mask, shape):
    """The mask as an array, if it is boolean and broadcasts to the positions of x."""
    mask = boolean(mask, "a position counts")
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(f"a mask of shape {mask.shape} does not broadcast to positions of shape {shape}") from None
