"""Attention as lines for the step page: from each query to the keys, as wide as the weight, or as the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.debug.recording import Array, Recording
from minigrad.engine import Node
from minigrad.viz.words import token_text

LONGEST = 24  # tokens: of a longer map only the heat map is shown


def lines(
    node: Node, w: Array, tape: Recording, queries: Sequence[Any] | None, keys: Sequence[Any] | None
) -> dict[str, Any] | None:
    """What the page needs to draw the weights `w`, (n_heads, Tq, Tk), of an op, and the gradient at its scores.

    Both are in thousandths: of 1, and of the largest gradient of all heads, which is given beside them.
    """
    n_heads, n_queries, n_keys = w.shape
    if max(n_queries, n_keys) > LONGEST:
        return None
    found: dict[str, Any] = {
        "queries": _names(queries, n_queries),
        "keys": _names(keys, n_keys),
        "weights": _thousandths(w, 1.0),
    }
    grad = score_gradient(node, tape)
    if grad is not None:
        grad = _first_entry(grad, n_heads)
        largest = float(np.abs(grad).max(initial=0.0, where=np.isfinite(grad)))
        found |= {"gradient": _thousandths(grad, largest or 1.0), "largest": largest}
    return found


def score_gradient(node: Node, tape: Recording) -> Array | None:
    """∂loss/∂scores, (..., Tq, Tk), of an op that turns scores into weights; None if backward did not come by."""
    grad_y = tape.grads.get(node)
    if grad_y is None:
        return None
    if node.op != "attention":
        return tape.contributions[node][0]
    event = tape.calls[node]
    w = tape.weights(node)
    n_heads = event.static.get("n_heads")
    grad_y, v = (_heads(np.asarray(a), n_heads) for a in (grad_y, tape.inputs(node)[2]))
    if w is None:
        return None
    grad_w = grad_y @ v.swapaxes(-1, -2)  # as in the attention op: y = W v
    result: Array = w * (grad_w - (w * grad_w).sum(-1, keepdims=True))
    return result


def _heads(a: Array, n_heads: int | None) -> Array:
    """(B, T, n_heads · d_head) to (B, n_heads, T, d_head)."""
    if n_heads is None:
        return a
    split: Array = a.reshape(*a.shape[:-1], n_heads, -1).swapaxes(-2, -3)
    return split


def _first_entry(a: Array, n_heads: int) -> Array:
    """(n_heads, Tq, Tk) of the first batch entry."""
    first: Array = a.reshape(-1, *a.shape[-3:])[0] if a.ndim > 2 else a[None]
    return first[:n_heads]


def _names(tokens: Sequence[Any] | None, n: int) -> list[str]:
    return [str(i) for i in range(n)] if tokens is None else [token_text(str(token)) for token in tokens]


def _thousandths(a: Array, unit: float) -> list[list[int]]:
    """A flat list for each head; what is not 0 never becomes 0, so that "exactly 0" stays true."""
    parts = 1000 * np.nan_to_num(a.astype(np.float64)) / unit
    whole = np.where((parts != 0) & (np.abs(parts) < 1), np.sign(parts), np.rint(parts))
    flat: list[list[int]] = whole.astype(int).reshape(len(a), -1).tolist()
    return flat
