"""Writing on: draw an id from the model's logits, append it, ask again.

Shape comments: B sequences of T ids so far.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minigrad.nn.module import evaluating
from minigrad.tensors.modes import no_grad

if TYPE_CHECKING:
    from minigrad.nn.gpt import GPT


class Draw:
    """Draws the next ids: from softmax(logits / temperature), among all of them or the likeliest only."""

    def __init__(
        self, temperature: float, top_k: int | None, top_p: float | None, rng: np.random.Generator | None
    ) -> None:
        if not (isinstance(temperature, (int, float, np.number)) and 0 <= temperature < math.inf):
            raise ValueError(f"generate needs a temperature of at least 0 (0: the likeliest), not {temperature!r}")
        if top_k is not None and not (
            isinstance(top_k, (int, np.integer)) and not isinstance(top_k, bool) and top_k >= 1
        ):
            raise ValueError(f"generate needs a top_k of at least 1, an integer (or None for all), not {top_k}")
        if top_p is not None and not (isinstance(top_p, (int, float, np.number)) and 0 < top_p <= 1):
            raise ValueError(f"generate needs a top_p above 0 and up to 1 (or None for all), not {top_p!r}")
        if rng is not None and not isinstance(rng, np.random.Generator):
            raise TypeError(f"generate needs a generator, such as rng=np.random.default_rng({rng!r}), not {rng!r}")
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.rng = rng or np.random.default_rng()

    def __call__(self, logits: NDArray[Any]) -> NDArray[np.int64]:
        """One id for each row of logits (B, vocab_size)."""
        logits = logits.astype(np.float64)
        if np.isnan(logits).any():
            raise ValueError(
                "generate: the logits are nan, so there is nothing to draw from; "
                "call the model inside `with minigrad.first_bad_value():` to see where the first nan appears"
            )
        if self.temperature == 0:
            likeliest: NDArray[np.int64] = logits.argmax(-1)
            return likeliest
        logits /= self.temperature
        if self.top_k is not None:
            others = np.argsort(-logits, axis=-1, kind="stable")[..., self.top_k :]
            np.put_along_axis(logits, others, -np.inf, axis=-1)
        if self.top_p is not None:
            logits = np.where(self._among_the_likeliest(logits), logits, -np.inf)
        # Gumbel-max: the largest of logits + Gumbel noise is a draw from softmax(logits).
        drawn: NDArray[np.int64] = (logits + self.rng.gumbel(size=logits.shape)).argmax(-1)
        return drawn

    def _among_the_likeliest(self, logits: NDArray[Any]) -> NDArray[np.bool_]:
        """Which ids belong to the fewest whose probabilities sum to at least top_p."""
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        order = np.argsort(-p, axis=-1, kind="stable")
        likeliest_first = np.take_along_axis(p, order, -1)
        before = likeliest_first.cumsum(-1) - likeliest_first  # the probability of all that are likelier
        keep = np.empty(p.shape, bool)
        np.put_along_axis(keep, order, before < self.top_p, -1)
        return keep


@no_grad()
def generate(
    model: GPT, prompt: ArrayLike, n: int, draw: Draw, stop: int | Collection[int] | None, cache: bool
) -> NDArray[np.int64]:
    """Append `n` ids to the prompt, each drawn by `draw`: see `GPT.generate`."""
    if not (isinstance(n, (int, np.integer)) and n >= 0):
        raise ValueError(f"generate cannot append {n} ids")
    ids = np.array(prompt)
    if ids.ndim and ids.size == 0:
        raise ValueError("generate needs a prompt of at least one id")
    if ids.dtype.kind not in "iu" or ids.ndim == 0:
        raise TypeError(f"generate needs a prompt of ids, integers (T,) or (B, T), not {ids.dtype} {ids.shape}")
    ids = ids.astype(np.int64)
    stop_ids = [] if stop is None else list(stop) if isinstance(stop, (Collection, np.ndarray)) else [stop]
    if not all(isinstance(i, (int, np.integer)) and 0 <= i < model.config.vocab_size for i in stop_ids):
        raise ValueError(f"generate stops at ids, integers below {model.config.vocab_size}, not {stop!r}")
    longest, caches, ended = model.config.block_size, None, np.zeros(ids.shape[:-1], bool)
    with evaluating(model):
        for _ in range(n):
            # Beyond block_size every position shifts with each id, and nothing that was kept is of use.
            if not (cache and model.blocks and ids.shape[-1] <= longest):
                new, caches = ids[..., -longest:], None
            elif caches is None:
                new, caches = ids, model.new_caches()
            else:
                new = ids[..., -1:]
            logits = model(new, caches=caches).data[..., -1, :]  # (B, vocab_size)
            drawn = np.where(ended, ids[..., -1], draw(logits))
            ids = np.concatenate([ids, drawn[..., None]], axis=-1)
            ended |= np.isin(drawn, stop_ids)
            if ended.all():
                break
    return ids
