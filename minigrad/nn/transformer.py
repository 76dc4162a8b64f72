"""Attention with its learned projections, the block around it, and a GPT.

Shape comments: B sequences of T positions; `d_model` features at each, split among `n_heads` heads of `d_head` each.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minigrad.engine import Tensor
from minigrad.nn.layers import MLP, Dropout, Embedding, LayerNorm, Linear
from minigrad.nn.module import Module
from minigrad.ops.attention import attention
from minigrad.ops.attention_weights import attention_weights, seen_values
from minigrad.ops.heads import merge_heads
from minigrad.ops.normalizers import (
    entmax15,
    hardmax,
    sigmoid_normalize,
    sparsemax,
    sum_normalize,
    top_k_softmax,
    uniform,
)
from minigrad.ops.softmax import softmax
from minigrad.tensors.arguments import check_count, check_share
from minigrad.tensors.modes import in_module, no_grad

# Normalizers, from scores to weights: each is called as normalizer(scores, axis=-1, mask=mask).
Normalize = Callable[..., Tensor]
MAPS: dict[str, Normalize] = {
    "softmax": softmax,
    "hardmax": hardmax,
    "uniform": uniform,
    "sum_normalize": sum_normalize,
    "sigmoid_normalize": sigmoid_normalize,
    "top_k_softmax": top_k_softmax,
    "sparsemax": sparsemax,
    "entmax15": entmax15,
}


def check_heads(d_model: int, n_heads: int) -> None:
    if d_model % n_heads:
        raise ValueError(f"d_model = {d_model} cannot be split evenly among n_heads = {n_heads}")


def check_normalizer(normalize: str | Normalize) -> None:
    if not callable(normalize) and normalize not in MAPS:
        raise ValueError(f"there is no normalizer {normalize!r}, from scores to weights; there are {', '.join(MAPS)}")


class MultiHeadAttention(Module):
    """Each position asks with a query; each position offers a key to be matched against it, and a value to be read.

        q, k, v = x Wq + bq, c Wk + bk, c Wv + bv      c is `context`, or x itself
        weights = normalize(q kᵀ / √d_head)            in each head: how much of each value a query takes
        y       = (weights v, heads side by side) Wo + bo

    One softmax has room for one question: it averages what it finds. Heads ask several at once, each with d_model /
    n_heads of the features: one may look at the word before, another at the subject of the sentence. All of them
    together cost what a single head of d_model features would.

    Shapes.  x (B, Tq, d_model), context (B, Tk, d_model), y (B, Tq, d_model); B may be any axes, or none.

    Vaswani et al. 2017, Attention Is All You Need. With softmax the key's bias never learns: it adds the same number,
    q·bk, to all scores of a query, and softmax cancels what is the same for all (Namazifar et al. 2023).

    Arguments:
        causal: position t sees only positions up to t; x is then the last Tq positions of the context.
        scale: what the scores are multiplied by, instead of 1/√d_head.
        normalize: the normalizer, from scores to weights: a name in `MAPS`, or a function (scores, *, axis, mask) such
            as `functools.partial(gumbel_softmax, rng=rng)`.
        dropout: the share of the weights that is dropped while training.
        rng: draws the initial weights, then what dropout drops.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        causal: bool = False,
        scale: float | None = None,
        normalize: str | Normalize = "softmax",
        dropout: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        check_count("MultiHeadAttention: d_model", d_model)
        check_count("MultiHeadAttention: n_heads", n_heads)
        check_heads(d_model, n_heads)
        check_normalizer(normalize)
        rng = rng or np.random.default_rng()
        self.n_heads = n_heads
        self.causal = causal
        self.scale = scale
        self.normalize = normalize
        self.query = Linear(d_model, d_model, rng=rng)
        self.key = Linear(d_model, d_model, rng=rng)
        self.value = Linear(d_model, d_model, rng=rng)
        self.out = Linear(d_model, d_model, rng=rng)
        self.dropout = Dropout(dropout, rng)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        mask: ArrayLike | None = None,
        key_mask: ArrayLike | None = None,
    ) -> Tensor:
        """Attend from x to `context` (to x itself if left out).

        `mask`, boolean, True where a query may attend to a key, broadcasts to (B, Tq, Tk), the same for all heads, or,
        with an axis more, to (B, n_heads, Tq, Tk). `key_mask`, boolean (B, Tk), is True where the context is real, and
        False where it is padding.
        """
        context = x if context is None else context
        q, k, v = self.query(x), self.key(context), self.value(context)  # (B, Tq or Tk, d_model)
        masks: dict[str, Any] = {"mask": mask, "key_mask": key_mask, "causal": self.causal}
        if self.normalize != "softmax" or self.dropout.active:
            weights = self.dropout(self._weights(q, k, masks))  # (B, n_heads, Tq, Tk)
            v = seen_values(q, v, n_heads=self.n_heads, **masks)  # (B, n_heads, Tk, d_head)
            y = merge_heads(weights @ v)  # (B, Tq, d_model)
        else:  # the same in one node
            y = attention(q, k, v, n_heads=self.n_heads, scale=self.scale, **masks)
        out: Tensor = self.out(y)
        return out

    @no_grad()
    def weights(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        mask: ArrayLike | None = None,
        key_mask: ArrayLike | None = None,
    ) -> NDArray[np.floating]:
        """The weights `forward` would use, to look at: an array (B, n_heads, Tq, Tk). Nothing is dropped."""
        masks = {"mask": mask, "key_mask": key_mask, "causal": self.causal}
        return self._weights(self.query(x), self.key(x if context is None else context), masks).data

    def _weights(self, q: Tensor, k: Tensor, masks: dict[str, Any]) -> Tensor:
        normalize = MAPS[self.normalize] if isinstance(self.normalize, str) else self.normalize
        return attention_weights(q, k, n_heads=self.n_heads, scale=self.scale, normalize=normalize, **masks)

    def settings(self) -> str:
        normalize = self.normalize if isinstance(self.normalize, str) else _name_of(self.normalize)
        return f"n_heads={self.n_heads}, causal={self.causal}, normalize={normalize}"


class Block(Module):
    """A transformer block: attention moves information between positions, then an MLP works at each by itself.

        x = x + attn(norm1(x))
        x = x + mlp(norm2(x))

    Shapes.  x and y (B, T, d_model).

    Why both.  Attention only averages values: its output is linear in v. The MLP makes something new of what arrived.
    Why the sums.  x runs through them all, the residual path, and each branch adds to it (He et al. 2016). So there is
    a way from the loss back to the first block that passes through additions alone, which hand on a gradient as it is.
    Normalizing inside the branches (pre-norm) leaves this path free (Baevski & Auli 2019; Wang et al. 2019); with the
    norm on the path, deep models need a warm-up to train (Xiong et al. 2020).

    `dropout` applies to the weights and to both branches.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        causal: bool = False,
        normalize: str | Normalize = "softmax",
        dropout: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        rng = rng or np.random.default_rng()
        self.norm1 = LayerNorm(d_model)
        self.attn = MultiHeadAttention(d_model, n_heads, causal=causal, normalize=normalize, dropout=dropout, rng=rng)
        self.norm2 = LayerNorm(d_model)
        self.mlp = MLP(d_model, rng=rng)
        self.dropout = Dropout(dropout, rng)

    def forward(self, x: Tensor, *, mask: ArrayLike | None = None, key_mask: ArrayLike | None = None) -> Tensor:
        x = x + self.dropout(self.attn(self.norm1(x), mask=mask, key_mask=key_mask))
        x = x + self.dropout(self.mlp(self.norm2(x)))
        return x


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT.

    Arguments:
        vocab_size: how many different ids there are.
        block_size: the longest sequence it can take.
        n_layers, n_heads, d_model: blocks, heads in each, features at each position.
        dropout: of the embeddings, the weights, and each block's branches.
        normalize: the normalizer, from scores to weights, see `MultiHeadAttention`.
    """

    vocab_size: int
    block_size: int
    n_layers: int
    n_heads: int
    d_model: int
    dropout: float = 0.0
    normalize: str | Normalize = "softmax"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_heads", "d_model"):
            check_count(f"GPTConfig: {name}", getattr(self, name))
        check_count("GPTConfig: n_layers", self.n_layers, least=0)
        check_heads(self.d_model, self.n_heads)
        check_share("GPTConfig: dropout", self.dropout)
        check_normalizer(self.normalize)


class GPT(Module):
    """A decoder-only transformer: from the ids so far, logits for the next one at every position.

    Shapes.  ids (B, T) with T <= block_size, logits (B, T, vocab_size); B may be any axes, or none.

    After GPT-2 (Radford et al. 2019): learned positions, pre-norm blocks and a last layer norm, and its initialization:
    weights normal with standard deviation 0.02, biases 0; the two projections in each block that add to the residual
    path a factor 1/√(2 n_layers) smaller, so that 2 n_layers of them add up to the variance of one. The head has its
    own weights (GPT-2 shares them with the token embedding) and no bias.

    `rng` draws the initial weights and then what dropout drops: one generator for all.
    """

    def __init__(self, config: GPTConfig, rng: np.random.Generator | None = None) -> None:
        rng = rng or np.random.default_rng()
        c = self.config = config
        self.token_embedding = Embedding(c.vocab_size, c.d_model, rng=rng)
        self.position_embedding = Embedding(c.block_size, c.d_model, rng=rng)
        self.dropout = Dropout(c.dropout, rng)
        self.blocks = [
            Block(c.d_model, c.n_heads, causal=True, normalize=c.normalize, dropout=c.dropout, rng=rng)
            for _ in range(c.n_layers)
        ]
        self.norm = LayerNorm(c.d_model)
        self.head = Linear(c.d_model, c.vocab_size, bias=False, rng=rng)

        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                std = 0.02
                if name.endswith(("attn.out.weight", "mlp.down.weight")):
                    std /= math.sqrt(2 * c.n_layers)
                parameter.data = rng.normal(0, std, parameter.shape)

    def forward(self, ids: ArrayLike | Tensor, *, key_mask: ArrayLike | None = None) -> Tensor:
        """The logits of the next id at every position. `key_mask`, boolean (B, T): True = a real id, False = padding.

        Raises ValueError for more than `block_size` ids or none; IndexError for one that is not in the vocabulary.
        """
        if not isinstance(ids, Tensor):
            ids = np.asarray(ids)
        n = ids.shape[-1] if ids.shape else 0
        if n == 0:
            raise ValueError(f"{in_module()}GPT needs at least one id in a sequence; these have shape {ids.shape}")
        if n > self.config.block_size:
            raise ValueError(
                f"{in_module()}GPT sees at most block_size = "
                f"{self.config.block_size} ids at once, not {n}: "
                f"give it the last ones, ids[..., -{self.config.block_size}:]"
            )
        x = self.token_embedding(ids) + self.position_embedding(np.arange(n))  # (B, T, d_model)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, key_mask=key_mask)
        logits: Tensor = self.head(self.norm(x))  # (B, T, vocab_size)
        return logits

    @no_grad()
    def generate(
        self,
        prompt: ArrayLike,
        n: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> NDArray[np.int64]:
        """Continue `prompt` by `n` ids, each drawn from softmax(logits / temperature) given all before it.

        Arguments:
            prompt: ids, (T,) or (B, T), at least one in a sequence. Only the last `block_size` are looked at.
            temperature: below 1 sharper, above 1 flatter.
            top_k: draw among the k likeliest ids only (Fan et al. 2018); None: among all.
            rng: draws the ids.

        Returns prompt and continuation, (T + n,) or (B, T + n). Dropout is off meanwhile. Raises ValueError if the
        logits are nan.
        """
        if not temperature > 0:
            raise ValueError(f"generate needs a temperature above 0, not {temperature}; for the likeliest use top_k=1")
        if top_k is not None and not (isinstance(top_k, (int, np.integer)) and top_k >= 1):
            raise ValueError(f"generate needs a top_k of at least 1, an integer (or None for all), not {top_k}")
        if not (isinstance(n, (int, np.integer)) and n >= 0):
            raise ValueError(f"generate cannot append {n} ids")
        rng = rng or np.random.default_rng()
        ids = np.array(prompt)
        if ids.ndim and ids.size == 0:
            raise ValueError("generate needs a prompt of at least one id")
        if ids.dtype.kind not in "iu" or ids.ndim == 0:
            raise TypeError(f"generate needs a prompt of ids, integers (T,) or (B, T), not {ids.dtype} {ids.shape}")
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            for _ in range(n):
                seen = ids[..., -self.config.block_size :]
                logits = self(seen).data[..., -1, :].astype(np.float64) / temperature  # (B, vocab_size)
                if np.isnan(logits).any():
                    raise ValueError(
                        "generate: the logits are nan, so there is nothing to draw from; "
                        "call the model inside `with minigrad.first_bad_value():` to see where the first nan appears"
                    )
                if top_k is not None:
                    others = np.argsort(-logits, axis=-1, kind="stable")[..., top_k:]
                    np.put_along_axis(logits, others, -np.inf, axis=-1)
                # Gumbel-max: the largest of logits + Gumbel noise is a draw from softmax(logits).
                drawn = (logits + rng.gumbel(size=logits.shape)).argmax(-1)
                ids = np.concatenate([ids, drawn[..., None]], axis=-1)
        finally:
            for module, training in modes:
                module.training = training
        return ids

    def settings(self) -> str:
        return f"n_layers={self.config.n_layers}, block_size={self.config.block_size}"


def _name_of(f: Normalize) -> str:
    f = f.func if isinstance(f, functools.partial) else f
    return str(getattr(f, "__name__", type(f).__name__))
