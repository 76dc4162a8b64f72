"""The layers everything is built from. Each takes `rng`, a numpy Generator, for its random numbers (None: a fresh one).

Shapes are (..., d): any number of axes may stand in front of the features.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minigrad.engine import Tensor
from minigrad.nn.module import Module, Parameter
from minigrad.ops.elementwise import dropout, gelu
from minigrad.ops.layer_norm import layer_norm
from minigrad.ops.linear import linear
from minigrad.ops.shape import embedding
from minigrad.tensors.arguments import check_count, check_share


class Linear(Module):
    """y = x W + b

    Shapes.  x (..., d_in), weight (d_in, d_out), bias (d_out,), y (..., d_out).

    W starts normal with standard deviation 1/√d_in, so that y varies as much as x does (LeCun et al. 1998, Efficient
    BackProp); b starts at 0.
    """

    transposed_in_torch = ("weight",)

    def __init__(self, d_in: int, d_out: int, *, bias: bool = True, rng: np.random.Generator | None = None) -> None:
        check_count("Linear: d_in", d_in)
        check_count("Linear: d_out", d_out)
        rng = rng or np.random.default_rng()
        self.weight = Parameter(rng.normal(0, 1 / math.sqrt(d_in), (d_in, d_out)), dtype=np.float32)
        self.bias = Parameter(np.zeros(d_out, np.float32)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Embedding(Module):
    """A table with one row of `d` numbers for each of `n` ids; y is the row of each id.

    Shapes.  ids (...), integers from 0 to n - 1; weight (n, d); y (..., d).

    The table starts standard normal.
    """

    def __init__(self, n: int, d: int, *, rng: np.random.Generator | None = None) -> None:
        check_count("Embedding: n", n)
        check_count("Embedding: d", d)
        rng = rng or np.random.default_rng()
        self.weight = Parameter(rng.standard_normal((n, d)), dtype=np.float32)

    def forward(self, ids: ArrayLike | Tensor) -> Tensor:
        return embedding(self.weight, ids)


class LayerNorm(Module):
    """Shift and scale the features of each position to mean 0 and variance 1, then by `weight` and `bias`, which learn.

    Shapes.  x and y (..., d); weight (d,), which starts at 1, and bias (d,), which starts at 0.

    Ba, Kiros & Hinton 2016.
    """

    def __init__(self, d: int, eps: float = 1e-5) -> None:
        check_count("LayerNorm: d", d)
        self.eps = eps
        self.weight = Parameter(np.ones(d, np.float32))
        self.bias = Parameter(np.zeros(d, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, eps=self.eps)

    def settings(self) -> str:
        return f"eps={self.eps:g}"


class Dropout(Module):
    """While training, set each element to 0 with probability `p` and divide the others by 1 - p; after `eval()`, y = x.

    `rng` draws what is dropped. To resume a run exactly, save and restore its state (`rng.bit_generator.state`).
    """

    def __init__(self, p: float, rng: np.random.Generator | None = None) -> None:
        check_share("Dropout: p", p)
        self.p = p
        self.rng = rng or np.random.default_rng()

    @property
    def active(self) -> bool:
        return self.training and self.p > 0

    def forward(self, x: Any) -> Any:
        return dropout(x, p=self.p, rng=self.rng) if self.active else x

    def settings(self) -> str:
        return f"p={self.p:g}"


class MLP(Module):
    """Two linear layers with a GELU between: each position by itself, through `d_hidden` features (4 d if left out).

    Shapes.  x and y (..., d).

    `approximate` is gelu's: "tanh", as in GPT-2, or "none", as in BERT.
    """

    def __init__(
        self,
        d: int,
        d_hidden: int | None = None,
        *,
        approximate: str = "tanh",
        rng: np.random.Generator | None = None,
    ) -> None:
        d_hidden = 4 * d if d_hidden is None else d_hidden
        self.approximate = approximate
        self.up = Linear(d, d_hidden, rng=rng)
        self.down = Linear(d_hidden, d, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(gelu(self.up(x), approximate=self.approximate))
        return y
