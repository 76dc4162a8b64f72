"""The GPT of `minigrad.nn` as one function of its weights, for libraries that differentiate such: JAX, HIPS autograd.

Both speak NumPy, so that the model is written once and is given `np`: jax.numpy or autograd.numpy.
"""

from __future__ import annotations

import math


def loss(np, size, weights, ids, targets):
    """The mean cross-entropy; `weights` have minigrad's names and layout."""
    B, T = ids.shape
    allowed = np.tri(T, dtype=bool)

    def linear(name, x):
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def layer_norm(name, x):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(x):
        return np.swapaxes(x.reshape(B, T, size.n_heads, -1), 1, 2)  # (B, n_heads, T, d_head)

    def attention(name, x):
        q, k, v = (heads(linear(f"{name}.{part}", x)) for part in ("query", "key", "value"))
        scores = q @ np.swapaxes(k, -1, -2) * (1 / math.sqrt(q.shape[-1]))  # (B, n_heads, T, T)
        scores = np.where(allowed, scores, -math.inf)
        e = np.exp(scores - np.max(scores, -1, keepdims=True))
        y = e / np.sum(e, -1, keepdims=True) @ v
        return linear(f"{name}.out", np.swapaxes(y, 1, 2).reshape(B, T, -1))

    def gelu(x):
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))

    x = weights["token_embedding.weight"][ids] + weights["position_embedding.weight"][:T]
    for i in range(size.n_layers):
        x = x + attention(f"blocks.{i}.attn", layer_norm(f"blocks.{i}.norm1", x))
        hidden = gelu(linear(f"blocks.{i}.mlp.up", layer_norm(f"blocks.{i}.norm2", x)))
        x = x + linear(f"blocks.{i}.mlp.down", hidden)
    logits = (layer_norm("norm", x) @ weights["head.weight"]).reshape(B * T, -1)
    logits = logits - np.max(logits, -1, keepdims=True)
    log_total = np.log(np.sum(np.exp(logits), -1))
    return np.mean(log_total - logits[np.arange(B * T), targets.reshape(-1)])


def adamw(weights, grads, m, v, t, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    """New weights and running means, as dictionaries."""
    m = {name: betas[0] * m[name] + (1 - betas[0]) * g for name, g in grads.items()}
    v = {name: betas[1] * v[name] + (1 - betas[1]) * g * g for name, g in grads.items()}
    correct1, correct2 = 1 - betas[0] ** t, 1 - betas[1] ** t
    weights = {
        name: w * (1 - lr * weight_decay) - lr / correct1 * m[name] / ((v[name] / correct2) ** 0.5 + eps)
        for name, w in weights.items()
    }
    return weights, m, v


def autograd_step(size, weights):
    """A function (ids, targets) -> loss that makes one step."""
    import autograd.numpy as anp
    from autograd import value_and_grad

    loss_and_grads = value_and_grad(lambda weights, ids, targets: loss(anp, size, weights, ids, targets))
    zeros = {name: 0 * w for name, w in weights.items()}
    state = (dict(weights), zeros, zeros, 0)

    def step(ids, targets):
        nonlocal state
        weights, m, v, t = state
        value, grads = loss_and_grads(weights, ids, targets)
        state = (*adamw(weights, grads, m, v, t + 1, size.lr), t + 1)
        return value

    return step


def jax_step(size, weights):
    """A function (ids, targets) -> loss that makes one step, compiled."""
    import jax

    @jax.jit
    def update(state, ids, targets):
        weights, m, v, t = state
        value, grads = jax.value_and_grad(lambda weights: loss(jax.numpy, size, weights, ids, targets))(weights)
        return value, (*adamw(weights, grads, m, v, t + 1, size.lr), t + 1)

    zeros = {name: 0 * w for name, w in weights.items()}
    state = jax.tree.map(jax.numpy.asarray, (dict(weights), zeros, zeros, 0.0))

    def step(ids, targets):
        nonlocal state
        value, state = jax.block_until_ready(update(state, ids, targets))
        return value

    return step
