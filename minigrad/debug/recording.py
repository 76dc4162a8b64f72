"""What ran, kept: every op with its values and its gradients, for pictures and for questions afterwards.

    with viz.record() as tape:
        loss = model(x)
        loss.backward()
    tape.values[node], tape.grads[node]

A Node keeps no arrays and backward frees what it used, so that training stays small. A Recording is the opposite: an
observer that holds on to everything it sees. Use it on one step, not on a whole training run.
"""

from __future__ import annotations

import contextlib
import inspect
import linecache
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minigrad.engine import Leaf, Node, Tensor
from minigrad.tensors.modes import Observer, current_scope, watch
from minigrad.tensors.operators import OPS

Array = NDArray[Any]

_PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep


class Line(NamedTuple):
    """A place in the user's source."""

    file: str
    number: int

    def __str__(self) -> str:
        source = linecache.getline(self.file, self.number).strip()
        return f"{os.path.basename(self.file)}:{self.number}" + (f": {source}" if source else "")


@dataclass(frozen=True, slots=True)
class Event:
    """One call of an op, or one tensor taken out of the graph."""

    name: str  # the op, or "detach()", "numpy()" or "item()"
    scope: str
    line: Line | None
    args: tuple[Any, ...]  # as the caller gave them: Tensors, arrays (copied where they may be written), numbers
    static: dict[str, Any]
    result: Tensor | None  # None for a cut


class Recording(Observer):
    """Values and gradients of all that runs inside `with watch(recording):`. Arrays are references, not copies, except
    those of leaves, which an optimizer may write, and raw arrays, which you may.

    values         Node -> the array it computed, or that a leaf held
    grads          Node -> the gradient of its output, from the last backward pass that came by
    contributions  Node -> what it sent to each of its inputs in that pass (None: nothing)
    calls          Node -> the Event that made it, with the arguments as they were given
    parameters     the leaves that were given as a Parameter, or another kind of Tensor
    events         all Events in order, also those that left no Node (no_grad, detach)
    root           the Node from which the last backward pass started; before that, None
    passes         how many backward passes were seen
    """

    def __init__(self) -> None:
        self.values: dict[Node, Array] = {}
        self.grads: dict[Node, Array] = {}
        self.contributions: dict[Node, list[Array | None]] = {}
        self.calls: dict[Node, Event] = {}
        self.parameters: set[Node] = set()
        self.events: list[Event] = []
        self.root: Node | None = None
        self.passes = 0
        self._awaited: set[Node] = set()  # by the pass that runs: they have got a contribution
        self._copies: dict[int, tuple[Array, Array]] = {}  # id of an array -> the array, and as it was when last used

    # --- forward ------------------------------------------------------------------------------------------------
    def op_ends(self, name: str, args: tuple[Any, ...], static: dict[str, Any], result: Tensor) -> None:
        kept = tuple(map(self._as_it_is, args))  # static arrays have been copied by the engine
        event = Event(name, current_scope(), user_line(), kept, static, result)
        self.events.append(event)
        for a in args:
            if isinstance(a, Tensor) and isinstance(a.node, Leaf) and a.node not in self.values:
                self.values[a.node] = a.data.copy()
                if type(a) is not Tensor:
                    self.parameters.add(a.node)
        if result.node is not None:
            self.values[result.node] = result.data
            self.calls[result.node] = event

    def _as_it_is(self, a: Any) -> Any:
        """A raw array that may be written later is copied; as long as it is the same, so is its copy."""
        if not isinstance(a, np.ndarray) or not a.flags.writeable:
            return a
        known = self._copies.get(id(a))
        if known is None or not np.array_equal(known[1], a, equal_nan=a.dtype.kind == "f"):
            known = self._copies[id(a)] = (a, a.copy())
        return known[1]

    def cut(self, how: str, tensor: Tensor) -> None:
        self.events.append(Event(how, current_scope(), user_line(), (tensor,), {}, None))

    # --- backward -----------------------------------------------------------------------------------------------
    def vjp_starts(self, node: Node, grad: Array) -> None:
        if node not in self._awaited:  # it is where another pass starts
            self.root = node
            self.passes += 1
            self.grads.clear()
            self.contributions.clear()
            self._awaited.clear()
        self._awaited.discard(node)
        self.grads[node] = grad

    def vjp_ends(self, node: Node, grad: Array, contributions: list[Array | None]) -> None:
        self.contributions[node] = contributions
        self._awaited.update(
            source
            for source, contribution in zip(node.inputs, contributions, strict=True)
            if isinstance(source, Node) and contribution is not None
        )

    def leaf(self, leaf: Leaf, grad: Array) -> None:
        self.grads[leaf] = grad

    # --- looking ------------------------------------------------------------------------------------------------
    def inputs(self, node: Node) -> list[Array | float | None]:
        """What `node` was computed from: an array or number for each of `node.inputs`, None where it was left out."""
        return [
            self.values[i] if isinstance(i, Node) else _numbers(a)
            for i, a in zip(node.inputs, self.calls[node].args, strict=True)
        ]

    def weights(self, node: Node) -> Array | None:
        """The weights that `attention` used inside, or that a map such as softmax made, (..., Tq, Tk); else None."""
        event = self.calls.get(node)
        if event is None:
            return None
        if node.op == "attention":
            q, k, _ = self.inputs(node)
            return _softmax_of_scores(np.asarray(q), np.asarray(k), event.static)
        if not _is_map(event.name) or event.static.get("axis", -1) not in (-1, len(node.shape) - 1):
            return None
        return self.values[node]

    def newest(self) -> Node | None:
        """The root of the last backward pass, or else what was computed last."""
        if self.root is not None:
            return self.root
        return max(self.calls, key=lambda node: node.created, default=None)


def _numbers(a: Any) -> Array | float | None:
    if isinstance(a, Tensor):
        return a.data
    return a if a is None or isinstance(a, (int, float)) else np.asarray(a)


def _is_map(op: str) -> bool:
    """Whether it turns scores into weights: it takes an axis and a mask, as softmax does, and is not a logarithm."""
    if op not in OPS or op.startswith("log"):
        return False
    return {"axis", "mask"} <= inspect.signature(OPS[op]).parameters.keys()


def _softmax_of_scores(q: Array, k: Array, static: dict[str, Any]) -> Array:
    """The weights in `ops.attention`, which keeps them to itself."""
    if (n_heads := static.get("n_heads")) is not None:
        q, k = (a.reshape(*a.shape[:-1], n_heads, -1).swapaxes(-2, -3) for a in (q, k))
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if static.get("mask") is not None:
        scores = np.where(np.asarray(static["mask"]), scores, -np.inf)
    if static.get("causal"):
        scores = np.where(np.tri(scores.shape[-1], dtype=bool), scores, -np.inf)
    top = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isneginf(top), 0, top))
    total = weights.sum(-1, keepdims=True)
    return np.asarray(weights / np.where(total == 0, 1, total))


def user_line() -> Line | None:
    """The innermost line on the stack that is not minigrad's own."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back  # type: ignore[assignment]
    return Line(frame.f_code.co_filename, frame.f_lineno) if frame is not None else None


@contextlib.contextmanager
def quiet_grads(recording: Recording) -> Iterator[None]:
    """Run a backward pass inside, and leave the `.grad` of every leaf that was recorded as it was before."""
    leaves = [node for node in recording.values if isinstance(node, Leaf)]
    before = [(leaf.grad, leaf.grad_buffer) for leaf in leaves]
    for leaf in leaves:
        leaf.grad = leaf.grad_buffer = None  # so that new memory is taken for this pass
    try:
        yield
    finally:
        for leaf, (grad, buffer) in zip(leaves, before, strict=True):
            leaf.grad, leaf.grad_buffer = grad, buffer


def recording_of(f: Any) -> tuple[Recording, Tensor]:
    """Run `f`, which builds a loss, forward and backward; `.grad` of the leaves stays as it was."""
    if not callable(f):
        raise TypeError(
            f"f must be a function that builds the loss, such as lambda: loss_of(model), not a {type(f).__name__}"
        )
    recording = Recording()
    with watch(recording):
        loss = f()
        if not isinstance(loss, Tensor):
            raise TypeError(f"f() must return the loss as a Tensor, not {type(loss).__name__}")
        if loss.node is not None:
            recording.values.setdefault(loss.node, loss.data.copy())  # where the loss is a leaf itself
            with quiet_grads(recording):
                loss.backward()
    return recording, loss
