"""Attention with its learned projections, and the block around it.

Shape comments: B sequences of T positions; `d_model` features at each, split among `n_heads` heads of `d_head` each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minigrad.engine import Tensor
from minigrad.nn.layers import MLP, Dropout, LayerNorm, Linear
from minigrad.nn.module import Module
from minigrad.ops.attention import attention
from minigrad.ops.attention_weights import attention_weights, seen_values
from minigrad.ops.heads import merge_heads
from minigrad.ops.normalizers import (
    entmax15,
    hardmax,
    sigmoid_normalize,
    softmax1,
    sparsemax,
    sum_normalize,
    top_k_softmax,
    uniform,
)
from minigrad.ops.softmax import softmax
from minigrad.tensors.arguments import check_count
from minigrad.tensors.modes import no_grad

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
    "softmax1": softmax1,
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
        qk_norm: each head's queries and keys go through a layer norm before they are compared. Scores then cannot
            grow with the weights, so softmax does not saturate (Henry et al. 2020; Dehghani et al. 2023).
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
        qk_norm: bool = False,
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
        if qk_norm:
            self.norm_q, self.norm_k = LayerNorm(d_model // n_heads), LayerNorm(d_model // n_heads)
        self.qk_norm = qk_norm

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        mask: ArrayLike | None = None,
        key_mask: ArrayLike | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Attend from x to `context` (to x itself if left out).

        `mask`, boolean, True where a query may attend to a key, broadcasts to (B, Tq, Tk), the same for all heads, or,
        with an axis more, to (B, n_heads, Tq, Tk). `key_mask`, boolean (B, Tk), is True where the context is real, and
        False where it is padding. With a `cache`, x continues what the cache has seen, and attends to that, too.
        """
        context = x if context is None else context
        (q, k), v = self._compared(x, context), self.value(context)  # (B, Tq or Tk, d_model)
        if cache is not None:
            k, v = cache.append(k, v)
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
        q, k = self._compared(x, x if context is None else context)
        return self._weights(q, k, masks).data

    def _compared(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The queries and keys."""
        q, k = self.query(x), self.key(context)  # (B, Tq or Tk, d_model)
        if self.qk_norm:
            q, k = (
                norm(a.reshape((*a.shape[:-1], self.n_heads, a.shape[-1] // self.n_heads))).reshape(
                    a.shape
                )  # (B, Tq or Tk, n_heads, d_head)
                for norm, a in ((self.norm_q, q), (self.norm_k, k))
            )
        return q, k

    def _weights(self, q: Tensor, k: Tensor, masks: dict[str, Any]) -> Tensor:
        normalize = MAPS[self.normalize] if isinstance(self.normalize, str) else self.normalize
        return attention_weights(q, k, n_heads=self.n_heads, scale=self.scale, normalize=normalize, **masks)

    def settings(self) -> str:
        normalize = self.normalize if isinstance(self.normalize, str) else _name_of(self.normalize)
        qk_norm = ", qk_norm=True" if self.qk_norm else ""
        return f"n_heads={self.n_heads}, causal={self.causal}, normalize={normalize}{qk_norm}"


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

    `norm_first=False` is the older order (post-norm), as in BERT:

        x = norm1(x + attn(x))
        x = norm2(x + mlp(x))

    `dropout` applies to the weights and to both branches. `d_hidden` and `approximate` are the MLP's, `eps` the norms'.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        causal: bool = False,
        normalize: str | Normalize = "softmax",
        dropout: float = 0.0,
        d_hidden: int | None = None,
        approximate: str = "tanh",
        eps: float = 1e-5,
        norm_first: bool = True,
        rng: np.random.Generator | None = None,
    ) -> None:
        rng = rng or np.random.default_rng()
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps)
        self.attn = MultiHeadAttention(d_model, n_heads, causal=causal, normalize=normalize, dropout=dropout, rng=rng)
        self.norm2 = LayerNorm(d_model, eps)
        self.mlp = MLP(d_model, d_hidden, approximate=approximate, rng=rng)
        self.dropout = Dropout(dropout, rng)

    def forward(
        self,
        x: Tensor,
        *,
        mask: ArrayLike | None = None,
        key_mask: ArrayLike | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        if self.norm_first:
            x = x + self.dropout(self.attn(self.norm1(x), mask=mask, key_mask=key_mask, cache=cache))
            x = x + self.dropout(self.mlp(self.norm2(x)))
        else:
            x = self.norm1(x + self.dropout(self.attn(x, mask=mask, key_mask=key_mask, cache=cache)))
            x = self.norm2(x + self.dropout(self.mlp(x)))
        return x

    def weights(
        self, x: Tensor, *, mask: ArrayLike | None = None, key_mask: ArrayLike | None = None
    ) -> NDArray[np.floating]:
        """The attention weights that `forward` would use: an array (B, n_heads, T, T)."""
        return self.attn.weights(self.norm1(x) if self.norm_first else x, mask=mask, key_mask=key_mask)

    def settings(self) -> str:
        return "" if self.norm_first else "norm_first=False"


class Cache:
    """The keys and values of one attention layer so far: what `generate` would otherwise recompute for every id.

    A new position needs the keys and values of all before it, but only its own query. So one position through a cache
    costs what one position costs; without, it costs as much as the whole sequence. What was handed out is never written
    again: new positions go behind it.
    """

    def __init__(self, n: int) -> None:
        self.n, self.seen = n, 0  # room for n positions, of which `seen` are taken
        self._k = self._v = np.empty(0)

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the new keys and values, (B, T, d_model); return all so far.

        Raises RuntimeError where a gradient would be lost, ValueError for a batch of another size than before.
        """
        if k.node is not None or v.node is not None:
            raise RuntimeError("keys and values in a cache get no gradient: call the model under no_grad()")
        if self.seen and k.shape[:-2] != self._k.shape[:-2]:
            raise ValueError(
                f"this cache has a batch of shape {self._k.shape[:-2]}, and cannot go on with {k.shape[:-2]}"
            )
        if self.seen == 0:
            self._k, self._v = (np.empty((*a.shape[:-2], self.n, a.shape[-1]), a.dtype) for a in (k, v))
        start, self.seen = self.seen, self.seen + k.shape[-2]
        self._k[..., start : self.seen, :], self._v[..., start : self.seen, :] = k.data, v.data
        k, v = (Tensor._of(a[..., : self.seen, :], None, None) for a in (self._k, self._v))
        return k, v


@no_grad()
def weights_of_blocks(blocks: list[Block], x: Tensor, key_mask: ArrayLike | None = None) -> NDArray[np.floating]:
    """The attention weights of all blocks, (layers, B, n_heads, T, T), for the x that enters the first."""
    weights = []
    for block in blocks:
        weights.append(block.weights(x, key_mask=key_mask))
        x = block(x, key_mask=key_mask)
    return np.stack(weights)


def _name_of(f: Normalize) -> str:
    f = f.func if isinstance(f, functools.partial) else f
    return str(getattr(f, "__name__", type(f).__name__))
