"""More calls beside PyTorch's: special functions, products and sums, einsum, losses, the gru, compositions of ops."""

import numpy as np
from torch_calls import (
    Call,
    F,
    draw_axes,
    draw_axis,
    hnp,
    hypothesis,
    nonscalar,
    normal,
    reduction,
    seeds,
    shapes,
    st,
    torch,
    unary,
)


def shares(draw, shape):
    """Positive numbers that sum to 1 along the last axis."""
    p = np.exp(normal(draw, shape))
    return p / p.sum(-1, keepdims=True)


# --- reductions --------------------------------------------------------------------------------------------------


def prod(draw, op):
    """PyTorch multiplies over one axis at a time. A third of the numbers are 0."""
    shape = draw(shapes)
    x = normal(draw, shape) * (np.random.default_rng(draw(seeds)).random(shape) < 2 / 3)
    axis, keepdims = draw_axes(draw, shape), draw(st.booleans())
    axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis

    def theirs(x):
        for one in sorted((a % len(shape) for a in axes), reverse=True):
            x = x.prod(one, keepdim=keepdims)
        return x

    return Call(lambda x: op(x, axis=axis, keepdims=keepdims), theirs, (x,))


def cumsum(draw, op):
    shape = draw(nonscalar)
    if draw(st.booleans()):
        return Call(op, lambda x: x.reshape(-1).cumsum(0), (normal(draw, shape),))
    axis = draw_axis(draw, shape)
    return Call(lambda x: op(x, axis=axis), lambda x: x.cumsum(axis), (normal(draw, shape),))


def norm(draw, op):
    """A row of zeros among the others: PyTorch's gradient is 0 there, too."""
    shape = draw(nonscalar)
    axis, keepdims = draw_axes(draw, shape), draw(st.booleans())
    x = normal(draw, shape)
    x[0] = 0
    return Call(
        lambda x: op(x, axis=axis, keepdims=keepdims),
        lambda x: torch.linalg.vector_norm(x, dim=axis, keepdim=keepdims),
        (x,),
    )


def std(draw, op):
    call = reduction(lambda x, dim, keepdim: torch.std(x, dim, correction=0, keepdim=keepdim))(draw, op)
    hypothesis.assume((np.abs(call.ours(*call.arrays).data) > 1e-3).all())  # of one number: PyTorch has nan
    return call


# --- shape -------------------------------------------------------------------------------------------------------


def squeeze(draw, op):
    shape = draw(st.sampled_from([(1, 3, 1), (2, 1), (1,), (), (2, 3)]))
    return Call(op, torch.squeeze, (normal(draw, shape),))


def expand_dims(draw, op):
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    return Call(lambda x: op(x, axis), lambda x: x.unsqueeze(axis), (normal(draw, shape),))


def split(draw, op):
    """One of the parts: of them all, the gradients would not tell which went where."""
    shape = draw(nonscalar)
    axis = draw_axis(draw, shape)
    n = shape[axis]
    places = draw(st.sampled_from([1, n, [1], [1, 2], []]))
    part = draw(st.integers(0, (places if isinstance(places, int) else len(places) + 1) - 1))
    return Call(
        lambda x: op(x, places, axis=axis)[part], lambda x: x.tensor_split(places, axis)[part], (normal(draw, shape),)
    )


def tril(draw, op):
    shape, k = draw(hnp.array_shapes(min_dims=2, max_dims=4, max_side=4)), draw(st.integers(-3, 3))
    return Call(lambda x: op(x, k), lambda x: torch.tril(x, k), (normal(draw, shape),))


# --- products ----------------------------------------------------------------------------------------------------


def vectors(draw, op):
    n, k, lead = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(hnp.array_shapes(min_dims=0, max_dims=2))
    a, b = draw(st.sampled_from([((k,), (k,)), ((*lead, n, k), (k,)), ((k,), (*lead, k, n))]))
    return Call(op, torch.matmul, (normal(draw, a), normal(draw, b)))


def einsum(draw, op):
    lengths = {letter: draw(st.integers(1, 4)) for letter in "aBcd"}
    terms = ["".join(draw(st.permutations("aBcd"))[: draw(st.integers(0, 4))]) for _ in range(draw(st.integers(1, 3)))]
    subscripts = ",".join(terms)
    if draw(st.integers(0, 3)):
        letters = draw(st.permutations(sorted(set("".join(terms)))))
        subscripts += " -> " + "".join(letters[: draw(st.integers(0, len(letters)))])
    arrays = tuple(normal(draw, [lengths[letter] for letter in term]) for term in terms)
    return Call(lambda *a: op(subscripts, *a), lambda *a: torch.einsum(subscripts, *a), arrays)


# --- losses ------------------------------------------------------------------------------------------------------


def entropy(draw, op):
    shape = draw(nonscalar)
    axis = draw_axis(draw, shape)
    return Call(lambda w: op(w, axis=axis), lambda w: torch.special.entr(w).sum(axis), (np.exp(normal(draw, shape)),))


def reduced(draw):
    return draw(st.sampled_from(["mean", "sum", "none"]))


def soft_cross_entropy(draw, op):
    shape, reduction = (*draw(shapes), draw(st.integers(1, 5))), reduced(draw)
    x, p, smoothing = 10 * normal(draw, shape), shares(draw, shape), draw(st.sampled_from([0.0, 0.2]))

    def theirs(x, p):
        x, p = (a.reshape(-1, shape[-1]) for a in (x, p))
        loss = F.cross_entropy(x, p, reduction=reduction, label_smoothing=smoothing)
        return loss.reshape(shape[:-1]) if reduction == "none" else loss

    return Call(lambda x, p: op(x, p, reduction=reduction, label_smoothing=smoothing), theirs, (x, p))


def summed_cross_entropy(draw, op):
    shape, n_classes = draw(shapes), draw(st.integers(1, 5))
    targets = np.random.default_rng(draw(seeds)).integers(0, n_classes, size=shape)
    return Call(
        lambda x: op(x, targets, ignore_index=0, reduction="sum"),
        lambda x: F.cross_entropy(
            x.reshape(-1, n_classes), torch.tensor(targets).reshape(-1), ignore_index=0, reduction="sum"
        ),
        (normal(draw, (*shape, n_classes)),),
    )


def binary_cross_entropy(draw, op):
    shape, reduction = draw(shapes), reduced(draw)
    x, t = normal(draw, shape) * draw(st.sampled_from([1, 100])), np.random.default_rng(draw(seeds)).random(shape)
    return Call(
        lambda x, t: op(x, t, reduction=reduction),
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction=reduction),
        (x, t),
    )


def mse_loss(draw, op):
    shape, reduction = draw(shapes), reduced(draw)
    return Call(
        lambda x, y: op(x, y, reduction=reduction),
        lambda x, y: F.mse_loss(x, y, reduction=reduction),
        (normal(draw, shape), normal(draw, shape)),
    )


# --- recurrent ---------------------------------------------------------------------------------------------------


def gru(draw, op):
    """PyTorch's multiplies x by weights of its own: the identity here. Its second bias is in all three gates."""
    rows, n_steps, d = (draw(st.integers(1, 4)) for _ in range(3))
    h_shape = draw(st.sampled_from([(d,), (1, d), (rows, d)]))
    with_bias, scale = draw(st.booleans()), draw(st.sampled_from([0.1, 1, 5]))
    shapes_ = [(rows, n_steps, 3 * d), h_shape, (d, 3 * d), (d,)]
    arrays = tuple(scale * normal(draw, shape) for shape in shapes_[: 3 + with_bias])
    layer = torch.nn.GRU(3 * d, d, batch_first=True, dtype=torch.float64)

    def theirs(x, h, weight, bias=None):
        zeros = torch.zeros(3 * d, dtype=torch.float64)
        parameters = {
            "weight_ih_l0": torch.eye(3 * d, dtype=torch.float64),
            "weight_hh_l0": weight.mT,
            "bias_ih_l0": zeros,
            "bias_hh_l0": zeros if bias is None else torch.cat([zeros[: 2 * d], bias]),
        }
        return torch.func.functional_call(layer, parameters, (x, h.expand(rows, d)[None]))[0]

    return Call(op, theirs, arrays)


# --- the table: the name of the op or function, and after a comma which of its forms ---------------------------------

MORE_CALLS = {
    "sin": unary(torch.sin, scale=10),
    "cos": unary(torch.cos, scale=10),
    "erf": unary(torch.erf, scale=2),
    "softplus": unary(lambda x: F.softplus(x, threshold=1000), scale=20),  # no threshold: the exact value
    "silu": unary(F.silu, scale=5),
    "gelu, none": lambda draw, op: unary(F.gelu, scale=4)(draw, lambda x: op(x, approximate="none")),
    "prod": prod,
    "cumsum": cumsum,
    "norm": norm,
    "std": std,
    "squeeze": squeeze,
    "expand_dims": expand_dims,
    "flatten": unary(lambda x: x.reshape(-1)),
    "split": split,
    "tril": tril,
    "matmul, vectors": vectors,
    "einsum": einsum,
    "entropy": entropy,
    "cross_entropy, probabilities": soft_cross_entropy,
    "cross_entropy, sum": summed_cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mse_loss": mse_loss,
    "gru": gru,
}
