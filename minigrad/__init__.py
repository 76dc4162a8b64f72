"""minigrad: a tiny reverse-mode autograd library on NumPy, to be read, run and looked at.

Read it in this order: engine, ops/elementwise (`exp`), ops/linear, ops/softmax, finite_differences/check,
ops/normalizers, ops/attention, nn/transformer, optim/rules; then run examples/soft_vs_hard.py. Whoever wants to know
how it got fast goes on to fast/attention.
"""

from typing import TYPE_CHECKING

from minigrad import fast, nn, optim
from minigrad.debug import diagnose, profile
from minigrad.debug.diagnose import explain_grad, first_bad_value
from minigrad.engine import Tensor, op
from minigrad.estimators import gumbel_softmax, reinforce, straight_through
from minigrad.fast.switch import textbook
from minigrad.finite_differences import GradientError, GradientReport, gradcheck
from minigrad.ops.attention import attention
from minigrad.ops.attention_weights import attention_weights
from minigrad.ops.compositions import argmax, expand_dims, flatten, norm, silu, split, squeeze, std, tril
from minigrad.ops.elementwise import (
    abs,
    add,
    clip,
    div,
    dropout,
    exp,
    gelu,
    log,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    relu,
    sigmoid,
    sqrt,
    sub,
    tanh,
    where,
)
from minigrad.ops.layer_norm import layer_norm
from minigrad.ops.linear import einsum, linear, matmul
from minigrad.ops.losses import binary_cross_entropy, mse_loss
from minigrad.ops.masks import causal_mask, length_mask, window_mask
from minigrad.ops.normalizers import (
    entmax15,
    hardmax,
    sigmoid_normalize,
    sparsemax,
    sum_normalize,
    top_k_softmax,
    uniform,
)
from minigrad.ops.recurrent import gru
from minigrad.ops.reduce import cumsum, logsumexp, max, mean, min, prod, sum, var
from minigrad.ops.shape import astype, broadcast_to, concat, embedding, getitem, reshape, stack, swapaxes, transpose
from minigrad.ops.softmax import cross_entropy, entropy, log_softmax, softmax
from minigrad.ops.special import cos, erf, sin, softplus
from minigrad.ops.tiled_attention import tiled_attention
from minigrad.tensors import hints as _hints
from minigrad.tensors.modes import Observer, no_grad, watch
from minigrad.tensors.operators import OPS
from minigrad.training import checkpoint, text

__version__ = "0.1.0"

# fmt: off
__all__ = [  # noqa: RUF022  (in reading order)
    "Tensor", "op", "OPS", "no_grad", "watch", "Observer", "gradcheck", "GradientReport", "GradientError", "textbook",
    "exp", "add", "sub", "mul", "div", "neg", "pow", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "abs",
    "maximum", "minimum", "where", "clip", "dropout", "sin", "cos", "erf", "softplus", "silu",
    "sum", "mean", "var", "std", "prod", "cumsum", "max", "min", "argmax", "norm", "logsumexp",
    "reshape", "transpose", "swapaxes", "broadcast_to", "squeeze", "expand_dims", "flatten", "astype", "getitem",
    "concat", "stack", "split", "tril", "embedding",
    "matmul", "einsum", "linear", "softmax", "log_softmax", "entropy", "cross_entropy", "binary_cross_entropy",
    "mse_loss",
    "hardmax", "uniform", "sum_normalize", "sigmoid_normalize", "top_k_softmax", "sparsemax", "entmax15",
    "attention", "attention_weights", "tiled_attention", "causal_mask", "length_mask", "window_mask", "layer_norm",
    "gru",
    "straight_through", "gumbel_softmax", "reinforce",
    "explain_grad", "first_bad_value",
    "nn", "optim", "fast", "text", "checkpoint", "diagnose", "profile",
]
# fmt: on

if not TYPE_CHECKING:  # a type checker is to report a name that is not here

    def __getattr__(name):
        inside = {inner: f"nn.{inner}" for inner in nn.__all__}
        raise _hints.missing("minigrad", name, _hints.IN_MINIGRAD | inside, __all__)
