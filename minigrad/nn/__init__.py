"""Neural networks out of ops: modules that hold parameters, the common layers, a GRU, attention and a GPT."""

from minigrad.nn.layers import MLP, Dropout, Embedding, LayerNorm, Linear
from minigrad.nn.module import Module, Parameter, Sequential
from minigrad.nn.recurrent import GRU
from minigrad.nn.transformer import GPT, MAPS, Block, GPTConfig, MultiHeadAttention

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
