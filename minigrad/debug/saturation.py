"""Gradients that look healthy while most units no longer move; and one that no softmax lets through, a key's bias."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from minigrad.debug.recording import Array, Recording, norm
from minigrad.engine import Node

SHARE = 0.8  # from this share of an op's outputs on, it is reported: a healthy relu stops about half
FLAT = 0.05  # a unit is saturated if its slope is less than this part of the largest that its function has
ROUNDING = 1e-4  # a sum this small beside its terms is what rounding leaves of 0

# For each op, from its input x and its output y: which units are saturated?
SATURATED: dict[str, tuple[str, Callable[[Array, Array], Array]]] = {
    "tanh": ("saturated", lambda x, y: 1 - y * y < FLAT),
    "sigmoid": ("saturated", lambda x, y: 4 * y * (1 - y) < FLAT),
    "relu": ("dead, with inputs ≤ 0", lambda x, y: x <= 0),
    "gelu": ("dead, with inputs < −3", lambda x, y: x < -3),
    "clip": ("outside the bounds", lambda x, y: x != y),
}

# A normalizer whose weights stay the same if the same number is added to all scores; and what may stand before it.
SHIFT_FREE = {"softmax", "log_softmax", "sparsemax", "entmax15", "top_k_softmax", "attention", "tiled_attention"}
LINEAR = {"reshape", "transpose", "swapaxes", "getitem", "matmul", "mul", "div", "neg", "where", "add", "sub"}


def saturated_ops(way: Sequence[Node], recording: Recording) -> list[str]:
    """Of the ops on the way, those of whose units at least SHARE are saturated, in words; the worst first."""
    found = []
    for node in way:
        if node.op in SATURATED and node in recording.grads:
            how, test = SATURATED[node.op]
            share = float(np.mean(test(np.asarray(recording.inputs(node)[0]), recording.values[node])))
            if share >= SHARE:
                op = which_of_its_name(node, recording)
                found.append((share, f"{share:.0%} of the units of {op} are {how}{recording.calls[node].at}"))
    return [words for _, words in sorted(found, key=lambda pair: -pair[0])]


def which_of_its_name(node: Node, recording: Recording) -> str:
    """An op in words, "the 2nd `tanh` of shape (20, 8)" where its module has several of that name."""
    ordinal = recording.ordinal(node)
    return f"{f'the {ordinal} ' if ordinal else ''}{recording.calls[node]}"


def cancelled_by_softmax(leaf: Node, way: Sequence[Node], recording: Recording) -> Node | None:
    """The softmax or attention that cancels this leaf, if it is a bias of the keys.

    The bias b adds q·b to every score of the query q, and a softmax does not change when all its scores do. So the
    gradients that arrive at the keys sum to 0 over the keys, and that sum is the gradient of b.
    """
    users = [node for node in way if leaf in node.parents]
    if len(users) != 1 or users[0].op not in ("add", "linear"):
        return None
    arrived, grad = recording.grads.get(users[0]), recording.grads[leaf]
    if arrived is None or not arrived.any() or norm(grad) > ROUNDING * norm(arrived):
        return None
    reached = set(users)
    for node in reversed(way):  # oldest first
        if node in reached or reached.isdisjoint(node.parents):
            continue
        if node.op in SHIFT_FREE:
            only_keys = reached.isdisjoint(node.parents[:1] + node.parents[2:]) or len(node.inputs) == 1
            return node if only_keys else None
        if node.op not in LINEAR:
            return None
        reached.add(node)
    return None
