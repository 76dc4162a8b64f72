"""Calls of an op, drawn at random, each beside the same call in PyTorch."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import pytest

import minigrad
from minigrad import Tensor

torch = pytest.importorskip("torch", reason="PyTorch is not installed: no parity tests")
hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed: no parity tests")
st = pytest.importorskip("hypothesis.strategies")
hnp = pytest.importorskip("hypothesis.extra.numpy")
F = torch.nn.functional

TOLERANCE = 1e-10


class Call(NamedTuple):
    """One drawn call: an op of ours, the same in PyTorch, and the floating arrays that both are differentiated by."""

    ours: Any
    theirs: Any
    arrays: tuple[Any, ...]


def assert_same(call, seed=0):
    ours = [Tensor(a, requires_grad=True) for a in call.arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in call.arrays]
    y, z = call.ours(*ours), call.theirs(*theirs)
    assert y.shape == tuple(z.shape)
    assert y.dtype == np.float64 and z.dtype == torch.float64
    close(y.data, z.detach().numpy(), "value")
    u = np.random.default_rng(seed).normal(size=y.shape)
    y.backward(u)
    z.backward(torch.tensor(u))
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        expected = np.zeros(a.shape) if b.grad is None else b.grad.numpy()
        close(a.grad, expected, f"gradient of argument {i}")


def close(a, b, what):
    """To 1e-10 of the largest number in it, or 1e-10 where all are small."""
    finite = np.abs(b[np.isfinite(b)])
    np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * max(1.0, finite.max(initial=0.0)), err_msg=what)


# --- what is drawn -----------------------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=4)
nonscalar = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


def normal(draw, shape):
    """Normally distributed, so no ties and no kinks; the seed is drawn, the numbers come from NumPy."""
    return np.random.default_rng(draw(seeds)).normal(size=shape)


def positive(draw, shape):
    return np.exp(normal(draw, shape))


def draw_axis(draw, shape):
    return draw(st.integers(-len(shape), len(shape) - 1))


def draw_axes(draw, shape):
    """None, an int or a tuple, negative ones among them."""
    if not shape or draw(st.integers(0, 4)) == 0:
        return None
    if draw(st.booleans()):
        return draw_axis(draw, shape)
    return draw(hnp.valid_tuple_axes(len(shape), min_size=1))


def draw_mask(draw, shape, axis):
    """Boolean, at least one True in every row along `axis`."""
    rng = np.random.default_rng(draw(seeds))
    mask = rng.random(shape) < draw(st.sampled_from([0.3, 0.7, 1.0]))
    return mask | (rng.random(shape).argsort(axis) == 0)


# --- elementwise -------------------------------------------------------------------------------------------------


def unary(theirs, numbers=normal, scale=1.0):
    def draw_call(draw, op):
        return Call(op, theirs, (numbers(draw, draw(shapes)) * scale,))

    return draw_call


def binary(theirs, left=normal, right=normal):
    def draw_call(draw, op):
        a, b = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3)).input_shapes
        return Call(op, theirs, (left(draw, a), right(draw, b)))

    return draw_call


def power(draw, op):
    if draw(st.booleans()):
        return binary(torch.pow, left=positive)(draw, op)
    exponent = draw(st.integers(-3, 4))
    return Call(lambda a: op(a, exponent), lambda a: a**exponent, (normal(draw, draw(shapes)),))


def where(draw, op):
    c, a, b = draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3)).input_shapes
    condition = np.random.default_rng(draw(seeds)).random(c) < 0.5
    return Call(
        lambda a, b: op(condition, a, b),
        lambda a, b: torch.where(torch.tensor(condition), a, b),
        (normal(draw, a), normal(draw, b)),
    )


def clip(draw, op):
    low, high = draw(st.sampled_from([(-0.5, 0.5), (None, 0.3), (-0.3, None), (0.0, 0.1)]))
    return Call(
        lambda x: op(x, low=low, high=high), lambda x: x.clamp(min=low, max=high), (normal(draw, draw(shapes)),)
    )


# --- reductions --------------------------------------------------------------------------------------------------


def reduction(theirs):
    def draw_call(draw, op):
        shape = draw(shapes)
        axis, keepdims = draw_axes(draw, shape), draw(st.booleans())
        dims = tuple(range(len(shape))) if axis is None else axis
        return Call(
            lambda x: op(x, axis=axis, keepdims=keepdims),
            lambda x: theirs(x, dim=dims, keepdim=keepdims),
            (normal(draw, shape),),
        )

    return draw_call


def logsumexp(draw, op):
    shape = draw(nonscalar)
    axis, keepdims = draw_axis(draw, shape), draw(st.booleans())
    if draw(st.booleans()):
        axis = draw(hnp.valid_tuple_axes(len(shape), min_size=1))
        return Call(
            lambda x: op(x, axis=axis, keepdims=keepdims),
            lambda x: torch.logsumexp(x, axis, keepdims),
            (10 * normal(draw, shape),),
        )
    mask = draw_mask(draw, shape, axis)
    return Call(
        lambda x: op(x, axis=axis, mask=mask, keepdims=keepdims),
        lambda x: torch.logsumexp(masked(x, mask), axis, keepdims),
        (10 * normal(draw, shape),),
    )


def masked(x, mask):
    return x.masked_fill(torch.tensor(~mask), -math.inf)


# --- shape -------------------------------------------------------------------------------------------------------


def reshape(draw, op):
    shape = draw(shapes)
    left = math.prod(shape)
    new = []
    while left > 1:
        new.append(draw(st.sampled_from([d for d in range(1, left + 1) if left % d == 0])))
        left //= new[-1]
        if len(new) == 4:
            new[-1] *= left
            break
    if new and draw(st.booleans()):
        new[draw(st.integers(0, len(new) - 1))] = -1
    new = tuple(new)
    return Call(lambda x: op(x, shape=new), lambda x: x.reshape(new), (normal(draw, shape),))


def transpose(draw, op):
    shape = draw(shapes)
    if draw(st.booleans()):
        backwards = tuple(reversed(range(len(shape))))
        return Call(op, lambda x: x.permute(backwards), (normal(draw, shape),))
    axes = draw(st.permutations(range(len(shape))))
    axes = tuple(a - len(shape) if draw(st.booleans()) else a for a in axes)
    return Call(lambda x: op(x, axes=axes), lambda x: x.permute(axes), (normal(draw, shape),))


def swapaxes(draw, op):
    shape = draw(nonscalar)
    a, b = draw_axis(draw, shape), draw_axis(draw, shape)
    return Call(lambda x: op(x, axis1=a, axis2=b), lambda x: x.transpose(a, b), (normal(draw, shape),))


def broadcast_to(draw, op):
    drawn = draw(hnp.mutually_broadcastable_shapes(num_shapes=1, base_shape=draw(shapes), max_dims=4))
    shape = drawn.result_shape
    return Call(lambda x: op(x, shape=shape), lambda x: x.expand(shape), (normal(draw, drawn.input_shapes[0]),))


def getitem(draw, op):
    shape = draw(nonscalar)
    kind = draw(st.sampled_from(["basic", "boolean", "integers", "mixed"]))
    if kind == "basic":
        index = draw(hnp.basic_indices(shape, allow_newaxis=True).filter(_only_forward))
    elif kind == "boolean":
        index = np.random.default_rng(draw(seeds)).random(shape[: draw(st.integers(1, len(shape)))]) < 0.5
    elif kind == "integers":
        index = draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=6)))
    else:  # an array of repeated rows behind slices
        axis = draw(st.integers(0, len(shape) - 1))
        rows = np.random.default_rng(draw(seeds)).integers(-shape[axis], shape[axis], size=5)
        index = (*[slice(None)] * axis, rows)
    return Call(lambda x: op(x, index=index), lambda x: x[_for_torch(index)], (normal(draw, shape),))


def _only_forward(index):
    """PyTorch has no negative steps."""
    parts = index if isinstance(index, tuple) else (index,)
    return not any(isinstance(p, slice) and p.step is not None and p.step < 0 for p in parts)


def _for_torch(index):
    if isinstance(index, tuple):
        return tuple(_for_torch(i) for i in index)
    return torch.tensor(index) if isinstance(index, np.ndarray) else index


def concat(draw, op):
    shape = draw(nonscalar)
    axis = draw_axis(draw, shape)
    lengths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    parts = []
    for length in lengths:
        part = list(shape)
        part[axis] = length
        parts.append(normal(draw, part))
    return Call(lambda *p: minigrad.concat(p, axis=axis), lambda *p: torch.cat(p, axis), tuple(parts))


def stack(draw, op):
    shape, n = draw(shapes), draw(st.integers(1, 4))
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    parts = tuple(normal(draw, shape) for _ in range(n))
    return Call(lambda *p: minigrad.stack(p, axis=axis), lambda *p: torch.stack(p, axis), parts)


def embedding(draw, op):
    rows, width = draw(st.sampled_from([1, 3, 10, 1500])), draw(st.integers(1, 5))
    ids = np.random.default_rng(draw(seeds)).integers(0, rows, size=draw(shapes))
    return Call(
        lambda table: op(table, ids),
        lambda table: F.embedding(torch.tensor(ids), table),
        (normal(draw, (rows, width)),),
    )


# --- matrix products ---------------------------------------------------------------------------------------------


def matmul(draw, op):
    n, k, m = (draw(st.integers(1, 4)) for _ in range(3))
    a, b = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)).input_shapes
    return Call(op, torch.matmul, (normal(draw, (*a, n, k)), normal(draw, (*b, k, m))))


def linear(draw, op):
    d_in, d_out = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    arrays = [normal(draw, (*draw(shapes), d_in)), normal(draw, (d_in, d_out))]
    if draw(st.booleans()):
        arrays.append(normal(draw, (d_out,)))
    return Call(op, lambda x, weight, bias=None: F.linear(x, weight.mT, bias), tuple(arrays))


# --- softmax and its relatives -----------------------------------------------------------------------------------


def softmax_like(theirs):
    def draw_call(draw, op):
        shape = draw(nonscalar)
        axis = draw_axis(draw, shape)
        x = normal(draw, shape) * draw(st.sampled_from([0.1, 1, 30, 1000]))
        if draw(st.booleans()):
            return Call(lambda x: op(x, axis=axis), lambda x: theirs(x, axis), (x,))
        mask = draw_mask(draw, shape, axis)
        return Call(lambda x: op(x, axis=axis, mask=mask), lambda x: theirs(masked(x, mask), axis), (x,))

    return draw_call


def log_softmax(draw, op):
    call = softmax_like(torch.log_softmax)(draw, op)

    # <u, y> with u = 1 times y = -inf has no gradient in PyTorch; masked elements are set aside, as a user would
    def finite(f, where_):
        return lambda x: where_(f(x))

    return Call(
        finite(call.ours, lambda y: minigrad.where(np.isfinite(y.data), y, 0.0)),
        finite(call.theirs, lambda y: torch.where(torch.isfinite(y), y, 0.0)),
        call.arrays,
    )


def top_k_softmax(draw, op):
    shape = draw(nonscalar)
    axis = draw_axis(draw, shape)
    k = draw(st.integers(1, shape[axis]))

    def theirs(x):
        values, places = torch.topk(x, k, axis)
        return torch.zeros_like(x).scatter(axis, places, torch.softmax(values, axis))

    return Call(lambda x: op(x, k=k, axis=axis), theirs, (normal(draw, shape),))


def hardmax(draw, op):
    def theirs(x, axis):
        one_hot = F.one_hot(x.argmax(axis), x.shape[axis]).movedim(-1, axis).to(x.dtype)
        return one_hot + 0 * x.nan_to_num(neginf=0)  # so that PyTorch too has a gradient: 0

    return softmax_like(theirs)(draw, op)


def straight_through(draw, op):
    def theirs(x, axis):  # the idiom everyone writes
        soft = torch.softmax(x, axis)
        hard = F.one_hot(x.argmax(axis), x.shape[axis]).movedim(-1, axis).to(x.dtype)
        return hard + soft - soft.detach()

    return softmax_like(theirs)(draw, op)


def gumbel_softmax(draw, op):
    shape = draw(nonscalar)
    axis, tau, seed = draw_axis(draw, shape), draw(st.sampled_from([0.5, 1.0, 3.0])), draw(seeds)
    noise = torch.tensor(np.random.default_rng(seed).gumbel(size=shape))
    return Call(
        lambda x: op(x, rng=np.random.default_rng(seed), tau=tau, hard=False, axis=axis),
        lambda x: torch.softmax((x + noise) / tau, axis),
        (normal(draw, shape),),
    )


def cross_entropy(draw, op):
    n_classes, shape = draw(st.integers(1, 6)), draw(shapes)
    rng = np.random.default_rng(draw(seeds))
    targets = rng.integers(0, n_classes, size=shape)
    reduction, smoothing = draw(st.sampled_from(["mean", "none"])), draw(st.sampled_from([0.0, 0.1, 0.7]))
    ignored = draw(st.sampled_from([None, -100, 0, n_classes - 1]))
    if ignored is not None:
        targets = np.where(rng.random(shape) < 0.3, ignored, targets)
        hypothesis.assume((targets != ignored).any())

    def theirs(x):
        ignore = {} if ignored is None else {"ignore_index": ignored}
        loss = F.cross_entropy(
            x.reshape(-1, n_classes),
            torch.tensor(targets).reshape(-1),
            reduction=reduction,
            label_smoothing=smoothing,
            **ignore,
        )
        return loss if reduction == "mean" else loss.reshape(shape)

    return Call(
        lambda x: op(x, targets, reduction=reduction, ignore_index=ignored, label_smoothing=smoothing),
        theirs,
        (normal(draw, (*shape, n_classes)) * draw(st.sampled_from([1, 50])),),
    )


def layer_norm(draw, op):
    d = draw(st.integers(2, 6))
    x = normal(draw, (*draw(shapes), d)) + draw(st.sampled_from([0, 10]))
    with_weight, with_bias = draw(st.booleans()), draw(st.booleans())
    eps = draw(st.sampled_from([1e-5, 1e-2]))
    parameters = tuple(normal(draw, (d,)) for wanted in (with_weight, with_bias) if wanted)

    def split(p):
        p = list(p)
        return p.pop(0) if with_weight else None, p.pop(0) if with_bias else None

    return Call(
        lambda x, *p: op(x, *split(p), eps=eps), lambda x, *p: F.layer_norm(x, (d,), *split(p), eps), (x, *parameters)
    )


def attention(draw, op):
    n_queries, n_keys, d, d_v = (draw(st.integers(1, 4)) for _ in range(4))
    how = draw(st.sampled_from(["plain", "causal", "mask", "mask and causal"]))
    if "causal" in how:
        n_keys = n_queries + draw(st.integers(0, 2))  # the queries are the last positions
    scale = draw(st.sampled_from([None, 0.5, -1.0]))
    drawn = draw(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=2, max_side=3))
    lead = drawn.result_shape
    sizes = [(n_queries, d), (n_keys, d), (n_keys, d_v)]
    arrays = tuple(normal(draw, (*shape, *size)) for shape, size in zip(drawn.input_shapes, sizes, strict=True))
    mask, everything = None, np.full((n_queries, n_keys), True)
    if "mask" in how:
        mask_lead = draw(st.sampled_from([(), np.broadcast_shapes(*drawn.input_shapes[:2])]))
        mask = draw_mask(draw, (*mask_lead, n_queries, n_keys), -1)
        if "causal" in how:
            mask = mask | np.eye(n_queries, n_keys, n_keys - n_queries, dtype=bool)  # no query is left with nothing
    allowed = everything if mask is None else mask
    if "causal" in how:
        allowed = allowed & np.tri(n_queries, n_keys, n_keys - n_queries, dtype=bool)

    def theirs(q, k, v):
        q, k, v = (a.expand(*lead, *size) for a, size in zip((q, k, v), sizes, strict=True))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=torch.tensor(allowed), scale=scale)

    return Call(lambda q, k, v: op(q, k, v, mask=mask, causal="causal" in how, scale=scale), theirs, arrays)


def tiled_attention(draw, op):
    return attention(draw, functools.partial(op, tile=draw(st.integers(1, 4))))


# --- the table ---------------------------------------------------------------------------------------------------

CALLS = {
    "exp": unary(torch.exp),
    "neg": unary(torch.neg),
    "log": unary(torch.log, positive),
    "sqrt": unary(torch.sqrt, positive),
    "tanh": unary(torch.tanh, scale=3),
    "sigmoid": unary(torch.sigmoid, scale=10),
    "relu": unary(torch.relu),
    "gelu": unary(lambda x: F.gelu(x, approximate="tanh"), scale=4),
    "abs": unary(torch.abs),
    "add": binary(torch.add),
    "sub": binary(torch.sub),
    "mul": binary(torch.mul),
    "div": binary(torch.div, right=positive),
    "pow": power,
    "maximum": binary(torch.maximum),
    "minimum": binary(torch.minimum),
    "where": where,
    "clip": clip,
    "sum": reduction(torch.sum),
    "mean": reduction(torch.mean),
    "var": reduction(lambda x, dim, keepdim: torch.var(x, dim, correction=0, keepdim=keepdim)),
    "max": reduction(torch.amax),
    "min": reduction(torch.amin),
    "logsumexp": logsumexp,
    "reshape": reshape,
    "transpose": transpose,
    "swapaxes": swapaxes,
    "broadcast_to": broadcast_to,
    "getitem": getitem,
    "concat": concat,
    "stack": stack,
    "embedding": embedding,
    "matmul": matmul,
    "linear": linear,
    "softmax": softmax_like(torch.softmax),
    "log_softmax": log_softmax,
    "cross_entropy": cross_entropy,
    "layer_norm": layer_norm,
    "hardmax": hardmax,
    "top_k_softmax": top_k_softmax,
    "attention": attention,
    "tiled_attention": tiled_attention,
    "straight_through": straight_through,
    "gumbel_softmax": gumbel_softmax,
}
