"""A BERT: blocks in which every position sees every other, so that each token's vector depends on the whole sentence.

Shape comments: B sequences of T positions; `d_model` features at each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minigrad import pretrained
from minigrad.engine import Tensor
from minigrad.nn.layers import Dropout, Embedding, LayerNorm, Linear
from minigrad.nn.module import Module, evaluating
from minigrad.nn.transformer import Block, check_heads, weights_of_blocks
from minigrad.ops.elementwise import tanh
from minigrad.tensors.arguments import check_count, check_share
from minigrad.tensors.modes import in_module, no_grad


@dataclass(frozen=True)
class BERTConfig:
    """The shape of a BERT.

    Arguments:
        vocab_size: how many different ids there are.
        block_size: the longest sequence it can take.
        n_layers, n_heads, d_model: blocks, heads in each, features at each position.
        d_hidden: features inside each MLP; None: 4 d_model.
        n_types: kinds of segments, such as question and answer; each has a vector that is added to its tokens'.
        dropout: of the embeddings, the weights, and each block's branches.
        approximate: gelu's form, "none" or "tanh".
        eps: what layer norms add to a variance.
        pooler: whether there is a layer on top of the first token, for classification.
    """

    vocab_size: int
    block_size: int
    n_layers: int
    n_heads: int
    d_model: int
    d_hidden: int | None = None
    n_types: int = 2
    dropout: float = 0.0
    approximate: str = "none"
    eps: float = 1e-12
    pooler: bool = True

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_heads", "d_model", "n_types"):
            check_count(f"BERTConfig: {name}", getattr(self, name))
        check_count("BERTConfig: n_layers", self.n_layers, least=0)
        check_heads(self.d_model, self.n_heads)
        check_share("BERTConfig: dropout", self.dropout)


class BERT(Module):
    """An encoder-only transformer: from ids, a vector for each that has seen all the others.

    Shapes.  ids (B, T) with T <= block_size, y (B, T, d_model); B may be any axes, or none.

    Devlin et al. 2019: token, position and segment vectors are added and normalized, then come post-norm blocks. All
    weights start normal with standard deviation 0.02, biases at 0.
    """

    def __init__(self, config: BERTConfig, rng: np.random.Generator | None = None) -> None:
        rng = rng or np.random.default_rng()
        c = self.config = config
        self.token_embedding = Embedding(c.vocab_size, c.d_model, rng=rng)
        self.position_embedding = Embedding(c.block_size, c.d_model, rng=rng)
        self.type_embedding = Embedding(c.n_types, c.d_model, rng=rng)
        self.norm = LayerNorm(c.d_model, c.eps)
        self.dropout = Dropout(c.dropout, rng)
        self.blocks = [
            Block(
                c.d_model,
                c.n_heads,
                dropout=c.dropout,
                d_hidden=c.d_hidden,
                approximate=c.approximate,
                eps=c.eps,
                norm_first=False,
                rng=rng,
            )
            for _ in range(c.n_layers)
        ]
        self.pooler = Linear(c.d_model, c.d_model, rng=rng) if c.pooler else None
        for parameter in self.parameters():
            if parameter.ndim == 2:
                parameter.data = rng.normal(0, 0.02, parameter.shape)

    def forward(self, ids: ArrayLike, *, key_mask: ArrayLike | None = None, types: ArrayLike | None = None) -> Tensor:
        """A vector for each position.

        Arguments:
            key_mask: boolean (B, T), True = a real token, False = padding, which nobody looks at.
            types: integers (B, T), which segment each token belongs to; 0 if left out.

        Raises ValueError for more than `block_size` ids or none; TypeError for what are no ids, such as the tokenizer's
        pair; IndexError for one that is not in the vocabulary.
        """
        x = self._embed(ids, types)
        for block in self.blocks:
            x = block(x, key_mask=key_mask)
        return x

    def _embed(self, ids: ArrayLike, types: ArrayLike | None = None) -> Tensor:
        """What enters the first block, (B, T, d_model)."""
        if isinstance(ids, tuple):
            raise TypeError(
                f"{in_module()}BERT takes ids alone: ids, key_mask = tokenizer(...); bert(ids, key_mask=key_mask)"
            )
        ids = np.asarray(ids)
        if ids.dtype.kind not in "iu":
            raise TypeError(
                f"{in_module()}BERT takes ids, integers (B, T), not {ids.dtype}: a tokenizer makes them of text"
            )
        n = ids.shape[-1] if ids.shape else 0
        if not 0 < n <= self.config.block_size:
            raise ValueError(f"{in_module()}BERT takes 1 to {self.config.block_size} ids in a sequence, not {n}")
        types = np.zeros_like(ids) if types is None else np.asarray(types)
        x = self.token_embedding(ids) + self.position_embedding(np.arange(n)) + self.type_embedding(types)
        y: Tensor = self.dropout(self.norm(x))
        return y

    def pooled(self, hidden: Tensor) -> Tensor:
        """(B, d_model) for classification, from what the model gave: tanh of a linear layer of the first position."""
        if self.pooler is None:
            raise ValueError("this BERT has no pooler: take hidden[..., 0, :], or a mean over the tokens")
        return tanh(self.pooler(hidden[..., 0, :]))

    @no_grad()
    def attention_weights(
        self, ids: ArrayLike, *, key_mask: ArrayLike | None = None, types: ArrayLike | None = None
    ) -> NDArray[np.floating]:
        """The weights of all heads in all blocks: (n_layers, B, n_heads, T, T). Dropout is off meanwhile."""
        with evaluating(self):
            return weights_of_blocks(self.blocks, self._embed(ids, types), key_mask)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """A BERT from a folder of the Hugging Face kind: config.json and model.safetensors. Nothing is downloaded.

        Warns of tensors that it does not use, such as the head of a language model. Raises FileNotFoundError or
        ValueError that says what the folder lacks, or which kind of model it holds.
        """
        settings, state = pretrained.load(folder, "bert")
        model = cls(BERTConfig(**settings), pretrained.NoDraws())
        model.load_state_dict(state)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors into `folder`, as Hugging Face's BertModel reads them."""
        pretrained.save(folder, "bert", self.config, self.state_dict())

    def settings(self) -> str:
        return f"n_layers={self.config.n_layers}, block_size={self.config.block_size}"
