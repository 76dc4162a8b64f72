"""Answers to the exercises: right ones, where the project's own page is not one already, and wrong ones."""

import inspect

from minigrad.learn.catalogue import EXERCISES, MENDED
from minigrad.tensors.operators import OPS


def completed(name, *answers):
    """The file of an exercise, with these lines in the places that are to be filled, one after the other."""
    text = EXERCISES[name].stub
    for answer in answers:
        place = next(line for line in text.splitlines() if line.strip() == "..." or "return ..., " in line)
        indent = place[: len(place) - len(place.lstrip())]
        text = text.replace(place, "\n".join(indent + line for line in answer.splitlines()), 1)
    return text


def mended(name):
    bad, good = MENDED[name]
    assert EXERCISES[name].stub.count(bad) == 1
    return EXERCISES[name].stub.replace(bad, good)


SOFTMAX = "return W * (grad_W - (W * grad_W).sum(-1, keepdims=True))"
STEPS = [
    "return grad_S @ k * scale",
    "return grad_S.mT @ q * scale",
    SOFTMAX,
    "return grad_y @ v.mT",
    "return W.mT @ grad_y",
]


def gru_step(x, h, weight, bias):
    """One step is the whole sequence of length 1."""
    y, vjps = inspect.unwrap(OPS["gru"])(x[:, None], h, weight, bias)

    def vjp_all(grad_y):
        grad_x, *others = vjps.vjp(grad_y[:, None])
        return grad_x[:, 0], *others

    return y[:, 0], type(vjps)(vjp_all)


def solution(name):
    """What the file of a solved exercise defines; as text, or as the project's own functions."""
    if name in MENDED:
        return mended(name)
    if name == "attention_in_steps":
        return completed(name, *STEPS)
    if name == "gru_step":
        return {"gru_step": gru_step}
    if name in OPS:
        return {name: inspect.unwrap(OPS[name])}
    return {page.__name__: page for page in EXERCISES[name].pages}


EXPANDED = "return np.broadcast_to(np.expand_dims(grad_y, axis), x.shape)"
NOT_OVER_N = "return grad_y * (weights - np.eye(n_classes)[t]).reshape(logits.shape)"
GRU = """grad_xn = grad_y * (1 - z) * (1 - n * n)
grad_xz = grad_y * (h - n) * z * (1 - z)
grad_xr = grad_xn * c * r * (1 - r)
grad_x = np.concatenate([grad_xr, grad_xz, grad_xn], -1)
grad_u = np.concatenate([grad_xr, grad_xz, grad_xn * r], -1)
"""
ATTENTION = """grad_W = grad_y @ v.mT
grad_S = W * (grad_W - (W * grad_W).sum(-1, keepdims=True))
"""
COLLECT = """nodes, stack = {root}, [root]
while stack:
    for parent in stack.pop().inputs:
        if isinstance(parent, Node) and parent not in nodes:
            nodes.add(parent)
            stack.append(parent)
"""
WALK = """arrived = {root: grad}
while queue:
    node = queue.pop()
    if isinstance(node, Leaf):
        node.accumulate(arrived[node])
        continue
    for parent, g in zip(node.inputs, pull_back(node, arrived[node])):
        if g is not None:
            arrived[parent] = """
EVERY_PATH = """if isinstance(root, Leaf):
    root.accumulate(grad)
    return
for parent, g in zip(root.inputs, pull_back(root, grad)):
    if g is not None:
        backward(parent, g)"""
MEANS = """grad = grad.mean(tuple(range(grad.ndim - x.ndim)))
return grad.mean(tuple(axis for axis in range(x.ndim) if x.shape[axis] == 1), keepdims=True)"""
MOMENTS = "m = beta1 * m + (1 - beta1) * g\nv = beta2 * v + (1 - beta2) * g**2\n"
STEP = "theta = theta - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)"

# (exercise, what was written, words of the hint that it must get)
WRONG_ATTEMPTS = [
    ("exp", ["return y"], "is grad_y forgotten?"),
    ("exp", ["grad_y * y"], "returns nothing"),
    ("exp", ["grad_y *= y\nreturn grad_y"], "writes into grad_y"),
    ("mul", ["return grad_y * a", "return grad_y * b"], "a wrong slope|exchanged"),
    ("mul", ["return grad_y * b", "..."], "vjp_b() of mul() returns nothing"),
    ("broadcasting", ["return grad"], "of shape (3, 4) and x of shape (4,), unbroadcast() returns shape (3, 4)"),
    ("broadcasting", ["return grad.reshape(x.shape)"], "mul(a of shape (3, 4), b of shape (4,))"),
    ("broadcasting", [MEANS], "averaged over an axis of length 3"),
    ("sum", [EXPANDED], "The first that is not: sum(x of shape (3, 4))"),
    ("sum", ["return grad_y"], "a gradient of shape () for an input of shape (3, 4)"),
    ("matmul", ["return grad_y @ b", "return a.mT @ grad_y"], "In another case: transposed?"),
    ("tanh", ["return grad_y * (1 - x**2)"], "x where y belongs"),
    ("sigmoid", ["return grad_y * y * (y - 1)"], "sign"),
    ("logsumexp", ["return grad_y * e / total"], "raises ValueError"),
    ("softmax", ["return grad_y * y * (1 - y)"], "the cross terms are missing"),
    ("softmax", ["return y * (grad_y - (grad_y * y).sum(-1, keepdims=True))"], "softmax(x of shape (3, 4), axis=0)"),
    ("cross_entropy", [NOT_OVER_N], "summed over an axis of length 3"),
    ("layer_norm", ["return grad_y * weight * r", "return grad_y * x_hat", "return grad_y"], "cross terms are missing"),
    ("attention_in_steps", ["return grad_S @ k", "return grad_S.mT @ q", *STEPS[2:]], "a constant factor √5"),
    ("attention", [ATTENTION + "return grad_S @ k, grad_S.mT @ q, W.mT @ grad_y"], "a constant factor √5"),
    ("embedding", ["grad = np.zeros_like(table)\ngrad[ids] += grad_y\nreturn grad"], "repeated index"),
    ("max", ["return spread(grad_y) * (x == top)"], "each of the winners is to get an equal part"),
    ("sparsemax", ["return grad_y * support"], "the cross terms are missing"),
    ("straight_through", ["return np.zeros_like(grad_y)"], "With w = softmax(scores) for the value"),
    ("straight_through", ["return grad_y"], "the cross terms are missing"),
    ("dropout", ["return grad_y * (rng.random(x.shape) >= p) / (1 - p)"], "draw random numbers of its own"),
    ("gru_step", [GRU + "return grad_x, grad_y * z, h.T @ grad_u, (grad_xn * r).sum(0)"], "argument 1, h"),
    ("gru_step", [GRU + "return grad_x, grad_y * z + grad_u @ weight.T, h.T @ grad_x, (grad_xn * r).sum(0)"],
     "lie at [4, 5] along axis 1"),
    ("backward", [EVERY_PATH], "pulled back once for each use"),
    ("backward", ["queue = [root]\n" + WALK + "g\n            queue.append(parent)"], "uses are of different age"),
    ("backward", [COLLECT + "queue = sorted(nodes, key=lambda node: node.created)\n" + WALK + "g"],
     "the gradient of x is 0.7 and should be 2.4"),
    ("adam", [MOMENTS + "theta = theta - lr * m / (np.sqrt(v) + eps)"], "but the change of theta is wrong"),
    ("adam", [MOMENTS.replace("**2", "") + STEP], "m is right, but v is wrong"),
    ("adam", [MOMENTS + STEP], "(with eps=1e-08, weight_decay=0.1) m is wrong"),
    ("adam", ["g = g + weight_decay * theta\nm += (1 - beta1) * (g - m)\n" + STEP], "adam() writes into an array"),
]  # fmt: skip

# (bug, code of the file, what was written in its place, words of what is said)
WRONG_REPAIRS = [
    ("bug_stands_still", "h = h.numpy() / size", "h = h / size", "is a part of the way still cut?"),
    ("bug_stands_still", "h = h.numpy() / size", "pass", "The value of forward() is not what it was"),
    ("bug_hardly_learns", "size=(D, HIDDEN))", "size=(D, HIDDEN)) / 2", "the gradient of first: saturated"),
    ("bug_hardly_learns", "tanh(x @ first)", "tanh(x @ first / 20)", "The value of loss(), for given weights,"),
    ("bug_gradcheck_fails", "center(swish(self.first(x)))", "swish(self.first(x))", "no longer uses all three ops"),
    ("bug_nan", "mg.log(p)", "mg.log(p + 0.01)", "The value of loss()"),
    ("bug_never_fits", "model(x) - y", "model(x).sum() - y", "Look at the shapes"),
    ("bug_too_good", "np.triu(np.ones((t, t), bool))", "np.tril(np.ones((t, t), bool), -1)",
     "position 0 does not see position 0"),
]  # fmt: skip
