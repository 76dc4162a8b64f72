"""Neural networks out of ops: modules that hold parameters, the common layers, a GRU, attention, a GPT and a BERT."""

from typing import TYPE_CHECKING

from minigrad.nn.bert import BERT, BERTConfig
from minigrad.nn.gpt import GPT, GPTConfig
from minigrad.nn.layers import MLP, Dropout, Embedding, LayerNorm, Linear
from minigrad.nn.module import Module, Parameter, Sequential
from minigrad.nn.recurrent import GRU
from minigrad.nn.transformer import MAPS, Block, MultiHeadAttention
from minigrad.tensors import hints as _hints

__all__ = [
    "BERT",
    "GPT",
    "GRU",
    "MAPS",
    "MLP",
    "BERTConfig",
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
