"""A recurrent layer: what has been read so far, in a state that is carried from position to position.

Shape comments: B sequences of T positions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minigrad.engine import Tensor
from minigrad.nn.layers import Linear
from minigrad.nn.module import Module, Parameter
from minigrad.ops.recurrent import gru
from minigrad.tensors.arguments import check_count


class GRU(Module):
    """Read a sequence with a gated recurrent unit; see `ops.recurrent.gru` for its formulas and the order of its gates.

    Shapes.  x (B, T, d_in), h (B, d), y (B, T, d), the state after each position; B may be any axes, or none.
    Parameters: `input`, a Linear from d_in to the three gates; weight (d, 3d), from the state to them; bias (d,), in
    the candidate.

    The part of `weight` for each gate starts orthogonal, as in Cho et al. 2014 and Bahdanau, Cho & Bengio 2015: it
    turns a state and keeps its length. In a linear recurrence products with it, step after step, would then neither
    fade nor explode (Saxe, McClelland & Ganguli 2014); the gates of a GRU change that, but it is a good place to start.
    The input's weight starts as that of every Linear, biases at 0.
    """

    def __init__(self, d_in: int, d: int, *, rng: np.random.Generator | None = None) -> None:
        check_count("GRU: d", d)
        rng = rng or np.random.default_rng()
        self.input = Linear(d_in, 3 * d, rng=rng)
        self.weight = Parameter(np.concatenate([_orthogonal(d, rng) for _ in "rzn"], axis=1), dtype=np.float32)
        self.bias = Parameter(np.zeros(d, np.float32))

    def forward(
        self, x: Tensor, h: Tensor | None = None, *, mask: ArrayLike | None = None, reverse: bool = False
    ) -> Tensor:
        """The state after each position.

        Arguments:
            h: the state before the first position; 0 if left out.
            mask: boolean (B, T), True = this position counts; `length_mask(lengths, T)[:, 0]` for padded sequences. At
                any other position the state stays as it is. (Padding must still be finite: its gradient is 0, but the
                input layer multiplies that with x, and 0 · nan is nan.)
            reverse: read from the last position to the first. The state of a position is then what comes from there on,
                y[:, 0] the last one; padding at the end is skipped by `mask`.
        """
        gates = self.input(x)  # (B, T, 3d)
        if h is None:
            h = Tensor(np.zeros((*gates.shape[:-2], self.bias.size), gates.dtype))
        if not reverse:
            return gru(gates, h, self.weight, self.bias, mask=mask)
        mask = None if mask is None else np.asarray(mask)[..., ::-1]
        return gru(gates[..., ::-1, :], h, self.weight, self.bias, mask=mask)[..., ::-1, :]


def _orthogonal(d: int, rng: np.random.Generator) -> np.ndarray:
    """A random orthogonal matrix: columns of length 1, at right angles."""
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    columns: np.ndarray = q * np.sign(np.diag(r))  # without the signs some would be likelier than others
    return columns
