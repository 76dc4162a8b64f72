"""A model small enough for any test, and Tensors to give it."""

from minigrad import Tensor
from minigrad.nn import GPTConfig

TINY = GPTConfig(vocab_size=11, block_size=6, n_layers=2, n_heads=2, d_model=8)


def tensor(rng, *shape, requires_grad=False):
    return Tensor(rng.standard_normal(shape), requires_grad=requires_grad)
