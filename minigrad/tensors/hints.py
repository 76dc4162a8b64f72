"""What to write instead of a name that is not here: for readers who come from PyTorch or NumPy, and for misspelt names.

Each hint is code that runs as it stands, with `t` a Tensor; a test runs them all.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

IN_MINIGRAD = {
    "tensor": "minigrad.Tensor([1.0, 2.0])",
    "from_numpy": "minigrad.Tensor(np.ones(3))",
    "zeros": "minigrad.Tensor(np.zeros((2, 3), np.float32))",
    "ones": "minigrad.Tensor(np.ones((2, 3), np.float32))",
    "arange": "minigrad.Tensor(np.arange(3))",
    "randn": "minigrad.Tensor(np.random.default_rng(0).standard_normal((2, 3), np.float32))",
    "rand": "minigrad.Tensor(np.random.default_rng(0).random((2, 3), np.float32))",
    "manual_seed": "nn.Linear(2, 3, rng=np.random.default_rng(0))  # what draws numbers is given a generator",
    "cat": "minigrad.concat([t, t])",
    "concatenate": "minigrad.concat([t, t])",
    "mm": "t @ t.mT",
    "bmm": "t @ t.mT",
    "permute": "minigrad.transpose(t, axes=(1, 0))",
    "unsqueeze": "minigrad.expand_dims(t, axis=0)",
    "outer": "t[0][:, None] * t[1]  # broadcasting pairs every number with every other",
    "roll": "t[..., (np.arange(3) - 1) % 3]",
    "pad": "minigrad.concat([t, np.zeros((2, 1))], axis=1)",
    "tensordot": 'minigrad.einsum("ij,kj->ik", t, t)',
    "binary_cross_entropy_with_logits": "minigrad.binary_cross_entropy(t, np.ones((2, 3)))",
    "clamp": "minigrad.clip(t, low=0, high=1)",
    "viz": "from minigrad import viz",
}
IN_NN = {
    "ReLU": "nn.Sequential(nn.Linear(3, 3), minigrad.relu)  # functions of a Tensor are layers, too",
    "GELU": "nn.Sequential(nn.Linear(3, 3), minigrad.gelu)",
    "Tanh": "nn.Sequential(nn.Linear(3, 3), minigrad.tanh)",
    "Sigmoid": "nn.Sequential(nn.Linear(3, 3), minigrad.sigmoid)",
    "Softmax": "minigrad.softmax(t, axis=-1)",
    "CrossEntropyLoss": "minigrad.cross_entropy(t, np.array([0, 1]))",
    "MSELoss": "minigrad.mse_loss(t, np.ones((2, 3)))",
    "BCEWithLogitsLoss": "minigrad.binary_cross_entropy(t, np.ones((2, 3)))",
    "SiLU": "nn.Sequential(nn.Linear(3, 3), minigrad.silu)",
    "Softplus": "nn.Sequential(nn.Linear(3, 3), minigrad.softplus)",
    "Flatten": "t.reshape(len(t), -1)",
    "ModuleList": "[nn.Linear(2, 2), nn.Linear(2, 2)]  # a Module finds what is in its lists",
    "ModuleDict": '{"first": nn.Linear(2, 2)}  # a Module finds what is in its dicts',
    "functional": "minigrad.relu(t)  # the ops are in minigrad itself",
    "MultiheadAttention": "nn.MultiHeadAttention(4, 2)",
    "TransformerEncoderLayer": "nn.Block(4, 2)",
}
IN_TENSOR = {
    "view": "t.reshape(3, 2)",
    "permute": "t.transpose(1, 0)",
    "unsqueeze": "minigrad.expand_dims(t, axis=0)",
    "expand_dims": "minigrad.expand_dims(t, axis=0)",
    "expand": "t.broadcast_to((5, 2, 3))",
    "t": "t.T",
    "clone": "t.numpy().copy()  # numbers to keep; in the graph, t itself does",
    "copy": "t.numpy().copy()  # numbers to keep; in the graph, t itself does",
    "cuda": "t  # everything runs on the processor",
    "cpu": "t  # everything runs on the processor",
    "to": "t  # everything runs on the processor",
    "float": "t.astype(np.float32)",
    "double": "t.astype(np.float64)",
    "long": "t.numpy().astype(int)  # an array",
    "any": "t.numpy().any()",
    "all": "t.numpy().all()",
    "numel": "t.size",
    "dim": "t.ndim",
    "norm": "minigrad.norm(t)",
    "mm": "t @ t.mT",
    "dot": "t[0] @ t[1]",
    "clamp": "t.clip(0, 1)",
    "masked_fill": "minigrad.where(t.numpy() > 1, 0.0, t)",
    "split": "minigrad.split(t, [1, 2], axis=1)",
    "tril": "minigrad.tril(t)",
    "sin": "minigrad.sin(t)",
    "cos": "minigrad.cos(t)",
    "erf": "minigrad.erf(t)",
    "silu": "minigrad.silu(t)",
    "softplus": "minigrad.softplus(t)",
    "gelu": "minigrad.gelu(t)",
    "log_softmax": "minigrad.log_softmax(t)",
    "logsumexp": "minigrad.logsumexp(t)",
    "layer_norm": "minigrad.layer_norm(t)",
    "maximum": "minigrad.maximum(t, 0)",
    "minimum": "minigrad.minimum(t, 0)",
    "where": "minigrad.where(t.numpy() > 1, t, 0.0)",
    "grad_fn": "t.node",
    "requires_grad_": "minigrad.Tensor([1.0, 2.0], requires_grad=True)",
    "zero_grad": "t.grad = None",
}


def missing(where: str, name: str, hints: dict[str, str], known: Iterable[str]) -> AttributeError:
    """The error for `name`, which `where` does not have, with what was probably meant."""
    hint = hints.get(name)
    if hint is None and not name.startswith("_"):
        hint = next(iter(difflib.get_close_matches(name, [k for k in known if not k.startswith("_")], 1)), None)
    code, _, why = (hint or "").partition("  # ")
    meant = f"; did you mean `{code}`?{f' ({why})' if why else ''}" if code else ""
    return AttributeError(f"{where} has no {name!r}{meant}")
