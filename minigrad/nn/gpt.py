"""A GPT: blocks that read what came before, and a head that says what comes next.

Shape comments: B sequences of T positions; `d_model` features at each.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minigrad import pretrained
from minigrad.engine import Tensor
from minigrad.nn import sampling
from minigrad.nn.layers import Dropout, Embedding, LayerNorm, Linear
from minigrad.nn.module import Module, evaluating
from minigrad.nn.transformer import Block, Cache, Normalize, check_heads, check_normalizer, weights_of_blocks
from minigrad.tensors.arguments import check_count, check_share
from minigrad.tensors.modes import in_module, no_grad


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT.

    Arguments:
        vocab_size: how many different ids there are.
        block_size: the longest sequence it can take.
        n_layers, n_heads, d_model: blocks, heads in each, features at each position.
        dropout: of the embeddings, the weights, and each block's branches.
        normalize: the normalizer, from scores to weights, see `MultiHeadAttention`.
        d_hidden: features inside each MLP; None: 4 d_model.
        approximate: gelu's form, "tanh" or "none".
        eps: what layer norms add to a variance.
        tied_head: the head's weight is the token embedding's table, transposed, as in GPT-2.
    """

    vocab_size: int
    block_size: int
    n_layers: int
    n_heads: int
    d_model: int
    dropout: float = 0.0
    normalize: str | Normalize = "softmax"
    d_hidden: int | None = None
    approximate: str = "tanh"
    eps: float = 1e-5
    tied_head: bool = False

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
    path a factor 1/√(2 n_layers) smaller, so that 2 n_layers of them add up to the variance of one. The head has no
    bias, and its own weights unless `tied_head`: one table then embeds ids and scores them, and gets both gradients.

    `rng` draws the initial weights and then what dropout drops: one generator for all.
    """

    def __init__(self, config: GPTConfig, rng: np.random.Generator | None = None) -> None:
        rng = rng or np.random.default_rng()
        c = self.config = config
        self.token_embedding = Embedding(c.vocab_size, c.d_model, rng=rng)
        self.position_embedding = Embedding(c.block_size, c.d_model, rng=rng)
        self.dropout = Dropout(c.dropout, rng)
        self.blocks = [
            Block(
                c.d_model,
                c.n_heads,
                causal=True,
                normalize=c.normalize,
                dropout=c.dropout,
                d_hidden=c.d_hidden,
                approximate=c.approximate,
                eps=c.eps,
                rng=rng,
            )
            for _ in range(c.n_layers)
        ]
        self.norm = LayerNorm(c.d_model, c.eps)
        self.head = None if c.tied_head else Linear(c.d_model, c.vocab_size, bias=False, rng=rng)

        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                std = 0.02
                if name.endswith(("attn.out.weight", "mlp.down.weight")):
                    std /= math.sqrt(2 * c.n_layers)
                parameter.data = rng.normal(0, std, parameter.shape)

    def forward(
        self, ids: ArrayLike | Tensor, *, key_mask: ArrayLike | None = None, caches: list[Cache] | None = None
    ) -> Tensor:
        """The logits of the next id at every position. `key_mask`, boolean (B, T): True = a real id, False = padding.

        With `caches`, one for each block, `ids` continue what the caches have seen; see `new_caches`.

        Raises ValueError for more than `block_size` ids or none; IndexError for one that is not in the vocabulary.
        """
        x = self._embed(ids, start=caches[0].seen if caches else 0)
        for i, block in enumerate(self.blocks):
            x = block(x, key_mask=key_mask, cache=caches[i] if caches else None)
        x = self.norm(x)
        logits: Tensor = self.head(x) if self.head else x @ self.token_embedding.weight.mT
        return logits  # (B, T, vocab_size)

    def _embed(self, ids: ArrayLike | Tensor, start: int = 0) -> Tensor:
        """What enters the first block, (B, T, d_model): each id's row plus its position's, the first being `start`."""
        if not isinstance(ids, Tensor):
            ids = np.asarray(ids)
        n = ids.shape[-1] if ids.shape else 0
        if n == 0:
            raise ValueError(f"{in_module()}GPT needs at least one id in a sequence; these have shape {ids.shape}")
        if start + n > self.config.block_size:
            raise ValueError(
                f"{in_module()}GPT sees at most block_size = "
                f"{self.config.block_size} ids at once, not {start + n}: "
                f"give it the last ones, ids[..., -{self.config.block_size}:]"
            )
        x = self.token_embedding(ids) + self.position_embedding(np.arange(start, start + n))
        y: Tensor = self.dropout(x)
        return y

    def new_caches(self) -> list[Cache]:
        """Empty caches, one for each block, with room for `block_size` positions."""
        return [Cache(self.config.block_size) for _ in self.blocks]

    @no_grad()
    def attention_weights(self, ids: ArrayLike, *, key_mask: ArrayLike | None = None) -> NDArray[np.floating]:
        """The weights of all heads in all blocks: (n_layers, B, n_heads, T, T). Dropout is off meanwhile."""
        with evaluating(self):
            return weights_of_blocks(self.blocks, self._embed(ids), key_mask)

    def generate(
        self,
        prompt: ArrayLike,
        n: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: int | Collection[int] | None = None,
        cache: bool = True,
        rng: np.random.Generator | None = None,
    ) -> NDArray[np.int64]:
        """Continue `prompt` by `n` ids, each drawn from softmax(logits / temperature) given all before it.

        Arguments:
            prompt: ids, (T,) or (B, T), at least one in a sequence. Only the last `block_size` are looked at.
            temperature: below 1 sharper, above 1 flatter; 0 takes the likeliest (the lowest id of equals).
            top_k: draw among the k likeliest ids only (Fan et al. 2018); None: among all.
            top_p: draw among the fewest ids whose probabilities sum to at least p (Holtzman et al. 2020); None: all.
            stop: an id, or several, after which a sequence ends. When all have ended, fewer than n ids come back; a
                sequence that ended before the others is filled up with its last id.
            cache: keep keys and values, and compute only what is new. The ids are the same without, but for rounding.
            rng: draws the ids.

        Returns prompt and continuation, (T + n,) or (B, T + n). Dropout is off meanwhile. Raises ValueError if the
        logits are nan.
        """
        draw = sampling.Draw(temperature, top_k, top_p, rng)
        return sampling.generate(self, prompt, n, draw, stop, cache)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """A GPT-2 from a folder of the Hugging Face kind: config.json and model.safetensors. Nothing is downloaded.

        Raises FileNotFoundError or ValueError that says what the folder lacks, or which kind of model it holds.
        """
        settings, state = pretrained.load(folder, "gpt2")
        model = cls(GPTConfig(**settings), pretrained.NoDraws())
        model.load_state_dict(state)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors into `folder`, as Hugging Face's GPT2LMHeadModel reads them."""
        pretrained.save(folder, "gpt2", self.config, self.state_dict())

    def settings(self) -> str:
        return f"n_layers={self.config.n_layers}, block_size={self.config.block_size}"
