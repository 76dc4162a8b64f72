"""Neural networks out of ops: modules that hold parameters, the common layers, a GRU, attention and a GPT."""

from typing import TYPE_CHECKING

from minigrad.nn.layers import MLP, Dropout, Embedding, LayerNorm, Linear
from minigrad.nn.module import Module, Parameter, Sequential
from minigrad.nn.recurrent import GRU
from minigrad.nn.transformer import GPT, MAPS, Block, GPTConfig, MultiHeadAttention
from minigrad.tensors import hints as _hints

__all__ = [
    "GPT",
    "GRU",
    "MAPS",
    "MLP",
    "Block",
    "Dropout",
    "Embedding",
    "GPTConfig",
    "LayerNorm",
    "Linear",
    "Module",
    "MultiHeadAttention",
    "Parameter",
    "Sequential",
]

if not TYPE_CHECKING:  # a type checker is to report a name that is not here

    def __getattr__(name):
        raise _hints.missing("minigrad.nn", name, _hints.IN_NN, __all__)
