"""The whole idea on one page, in NumPy alone: gradients by reverse mode, softmax, attention, and why attention is soft.

Read it from top to bottom; `python examples/micro.py` runs it in about a second. Each part says where it is found again
in minigrad, with its derivation, safe and complete. tests/examples/test_micro.py holds the two to the same numbers.
"""

import itertools
import math

import numpy as np


# --- A value that remembers how it was computed ----------------------------- in minigrad: engine.py, Node and Tensor
class Value:
    """An array, the values it was computed from, and for each of those its VJP: how a gradient is pulled back to it."""

    creation = itertools.count()

    def __init__(self, data, parents=(), vjps=()):
        self.data, self.parents, self.vjps = np.asarray(data, float), parents, vjps
        self.grad, self.created = None, next(Value.creation)  # a value is created after all that it was computed from


# --- Reverse mode: from new to old, every use adding its part ---------------------- in minigrad: engine.py, backward
def backward(y, grad=1.0):
    """For each value x that y was computed from: x.grad = Σ over all uses of x of (gradient there) · (slope)."""
    values, stack = {y}, [y]
    while stack:
        for parent in stack.pop().parents:
            if parent not in values:
                values.add(parent)
                stack.append(parent)
    for value in values:
        value.grad = np.zeros_like(value.data)
    y.grad = y.grad + grad
    for value in sorted(values, key=lambda value: value.created, reverse=True):  # so each use of x comes before x
        for parent, vjp in zip(value.parents, value.vjps, strict=True):
            parent.grad = parent.grad + vjp(value.grad)


# --- Ops: a value and its VJPs; g is the gradient that arrives --------------------------- in minigrad: ops/linear.py
def matmul(a, b):
    """yₙₘ = Σₖ aₙₖ bₖₘ. In each gradient a transpose brings the index that is summed next to itself."""
    return Value(a.data @ b.data, (a, b), (lambda g: g @ b.data.T, lambda g: a.data.T @ g))


def scores(q, k):  # ops/attention.py
    """S = q kᵀ/√d: how well each key fits each query. Two transposes, forward and back, cancel for q."""
    scale = 1 / math.sqrt(q.data.shape[-1])
    return Value(q.data @ k.data.T * scale, (q, k), (lambda g: g @ k.data * scale, lambda g: g.T @ q.data * scale))


def softmax(x):  # ops/softmax.py
    """Weights yᵢ = exp(xᵢ)/Σⱼ exp(xⱼ) in each row. A score xⱼ changes its own weight and the sum below all of them:
    ∂yᵢ/∂xⱼ = yᵢ(δᵢⱼ − yⱼ), with δᵢⱼ = 1 for i = j, else 0. So grad_xⱼ = Σᵢ gᵢ ∂yᵢ/∂xⱼ = yⱼ(gⱼ − Σᵢ gᵢ yᵢ)."""
    e = np.exp(x.data - x.data.max(-1, keepdims=True))
    y = e / e.sum(-1, keepdims=True)
    return Value(y, (x,), (lambda g: y * (g - (g * y).sum(-1, keepdims=True)),))


def hardmax(x):  # ops/normalizers.py
    """All the weight on the largest. A small change of x changes nothing, so the gradient is exactly 0."""
    return Value(np.eye(x.data.shape[-1])[x.data.argmax(-1)], (x,), (np.zeros_like,))


def cross_entropy(logits, targets):  # ops/softmax.py
    """The mean of −ln softmax(logits)[target]. Its gradient is what was predicted minus what was right, over n."""
    p, n = softmax(logits).data, len(targets)
    error = p - np.eye(p.shape[-1])[targets]
    return Value(-np.log(p[np.arange(n), targets]).mean(), (logits,), (lambda g: g * error / n,))


# --- Attention: the average of the values, weighted by how well each key fits ---------------------- ops/attention.py
def attention(q, k, v, normalize=softmax):
    return matmul(normalize(scores(q, k)), v)


# --- Is a gradient right? Move each input a little, and see ----------------------------- finite_differences/check.py
def gradcheck(f, *arrays, h=6e-6):
    """The largest distance of gradient and slope of Σ u·f, relative to the largest gradient. u is random: with u = 1
    the weights of a softmax sum to 1 for every x, and a VJP that returns 0 would pass."""
    inputs = [Value(a) for a in arrays]
    y = f(*inputs)
    u = np.random.default_rng(0).uniform(0.5, 1.5, y.data.shape)
    backward(y, u)
    error = 0.0
    for x in inputs:
        for i in np.ndindex(x.data.shape):
            step = np.zeros_like(x.data)
            step[i] = h
            above, below = ([Value(a.data + s * step) if a is x else a for a in inputs] for s in (1, -1))
            slope = (u * (f(*above).data - f(*below).data)).sum() / (2 * h)
            error = max(error, abs(slope - x.grad[i]))
    return error / max(np.abs(x.grad).max() for x in inputs)


# --- Soft attention learns, hard attention stands still ------------------------------------ examples/soft_vs_hard.py
def train(normalize, seed, steps=300, n=8, d=16):
    """Query i is to find what stands under key i. Returns the loss of each step, and how far the queries have moved."""
    rng = np.random.default_rng(seed)
    queries, keys = Value(rng.normal(size=(n, d))), Value(rng.normal(size=(n, d)))
    start, losses = queries.data, []
    for _ in range(steps):
        answers = rng.permutation(n)  # each time something else stands there: only looking at the right place helps
        found = attention(queries, keys, Value(5 * np.eye(n)[answers]), normalize)
        loss = cross_entropy(found, answers)
        backward(loss)
        for table in (queries, keys):  # optim/rules.py, sgd
            table.data = table.data - table.grad
        losses.append(loss.data.item())
    return losses, np.abs(queries.data - start).max()


if __name__ == "__main__":
    q, k, v = np.random.default_rng(1).normal(size=(3, 4, 5))
    print(f"gradcheck: softmax is off by {gradcheck(softmax, q):.0e}, attention by {gradcheck(attention, q, k, v):.0e}")
    for normalize in (softmax, hardmax):
        for seed in range(3):
            losses, moved = train(normalize, seed)
            print(f"{normalize.__name__}: loss {losses[0]:.2f}, then {losses[-1]:.2f}; queries moved by {moved:.2g}")
