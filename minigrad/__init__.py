"""minigrad: a tiny reverse-mode autograd library on NumPy, to be read, run and looked at."""

from minigrad import estimators as estimators
from minigrad.engine import Observer, Tensor, no_grad, op, watch
from minigrad.estimators import gumbel_softmax, reinforce, straight_through
from minigrad.operators import OPS
from minigrad.ops.alternatives import (
    entmax15,
    hardmax,
    sigmoid_normalize,
    sparsemax,
    sum_normalize,
    top_k_softmax,
    uniform,
)
from minigrad.ops.attention import attention, attention_weights, causal_mask, length_mask
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
from minigrad.ops.linear import linear, matmul
from minigrad.ops.normalize import layer_norm
from minigrad.ops.reduce import logsumexp, max, mean, min, sum, var
from minigrad.ops.shape import broadcast_to, concat, embedding, getitem, reshape, stack, swapaxes, transpose
from minigrad.ops.softmax import cross_entropy, log_softmax, softmax
