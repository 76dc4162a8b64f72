"""Why is this gradient None, zero, tiny or nan?

    print(explain_grad(lambda: cross_entropy(model(ids), targets), model.blocks[0].attn.query.weight))

    with first_bad_value():
        train()            # stops at the first op that makes a nan or inf

Both are observers (`engine.watch`): where they are not used, they cost nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.debug.recording import Array, Event, Line, Recording, recording_of, user_line
from minigrad.engine import Leaf, Node, Tensor
from minigrad.tensors.modes import Observer, current_scope, watch

# A gradient is called tiny if its norm is less than this part of the largest on its way from the loss, or if some op on
# the way passes on less than this part (later ones may scale it up again, but what was lost to rounding is lost).
TINY = 1e-4


@dataclass(frozen=True)
class Explanation:
    """What `explain_grad` found. Printed, it is a paragraph."""

    verdict: str  # "not reached", "zero", "tiny", "nan" or "healthy"
    text: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


def explain_grad(f: Callable[[], Tensor], parameter: Tensor) -> Explanation:
    """Say why the gradient of `parameter` is what it is, in one paragraph.

    Arguments:
        f: builds the loss, a scalar. It is run once, forward and backward; `.grad` stays as it was.
        parameter: the leaf that is asked about.

    Raises TypeError where f is not a function that returns a Tensor.

    The verdict is one of
        not reached    there is no way back from the loss; where it was cut
        zero           exactly 0 in all elements, and the op that blocked it
        tiny           less than 1e-4 of the largest gradient on the way, or of what went into some op there, and
                       the op that shrank it most
        nan            some element, or the loss, is nan or inf, and where the first one appeared
        healthy        none of these; the norms along the way
    """
    recording, loss = recording_of(f)
    return _explain(recording, parameter, loss.node)


def explain(recording: Recording, parameter: Tensor) -> Explanation:
    """The same for what was recorded: `tape.explain(parameter)`. Raises RuntimeError where there was no backward."""
    if recording.root is None:
        raise RuntimeError("there is no backward pass in this recording: call loss.backward() inside the `with`")
    found = _explain(recording, parameter, recording.root)
    if recording.passes > 1:
        told = f"(Of the {recording.passes} backward passes in this recording only the last is kept.)"
        found = Explanation(found.verdict, f"{found.text} {told}")
    return found


def _explain(recording: Recording, parameter: Tensor, root: Node | None) -> Explanation:
    if not isinstance(parameter, Tensor):
        raise TypeError(f"what is explained is a parameter, a Tensor, not {type(parameter).__name__}")
    leaf = parameter.node or parameter.leaf
    if leaf is None:
        return Explanation("not reached", f"not reached: this Tensor of shape {parameter.shape} requires no gradient.")
    who = _who(leaf, recording)
    if parameter.node is None:
        return Explanation("not reached", f"not reached: {who} has requires_grad=False.")
    grad = recording.grads.get(leaf)
    if grad is None:
        return Explanation("not reached", f"not reached: {_not_reached(who, leaf, root, recording)}")
    assert root is not None
    if leaf is root:
        told = f"{who} is where backward() started: its gradient is the one that was given there"
        return Explanation("healthy", f"healthy: {told}, of norm {_norm(grad):.3g}.")
    if any(node not in recording.calls for node in _between(leaf, root)):
        raise RuntimeError("a part of the forward pass ran outside the recording: put it inside the `with` as well")
    if not np.isfinite(grad).all():
        told = f"{_kind(grad)}: in the gradient of {who} {_share(grad)}."
        return Explanation("nan", f"{told} {_first_bad(recording)}")
    if not np.isfinite(recording.values[root]).all():
        told = f"{_kind(recording.values[root])}: the gradient of {who} is finite, but the loss is not."
        return Explanation("nan", f"{told} {_first_bad(recording)}")
    if not grad.any():
        told = f"exactly zero: the gradient of {who} is 0 in all elements."
        return Explanation("zero", f"{told} {_blocked(leaf, root, recording)}")

    way = _way(leaf, root, recording)
    norms = [_norm(recording.grads[node]) for node in way]
    along = f"Norms on the way back: {_along(way, norms)}."
    told = f"the gradient of {who} has norm {norms[-1]:.3g}"
    shrinks = [b / a for a, b in itertools.pairwise(norms)]
    if norms[-1] < TINY * max(norms) or min(shrinks) < TINY:
        worst = int(np.argmin(shrinks))
        lost = f"Most is lost in {_op_text(recording.calls[way[worst]])}, which passes on {shrinks[worst]:.1e} of it"
        lost += _saturated(way[worst], recording)
        return Explanation("tiny", f"tiny: {told}, {norms[-1] / max(norms):.1e} of the largest. {lost}. {along}")
    told += f", its values {_norm(recording.values[leaf]):.3g}."
    return Explanation("healthy", f"healthy: {told} {along}")


# --- not reached -------------------------------------------------------------------------------------------------


@dataclass
class _Cut:
    how: str
    event: Event


def _not_reached(who: str, leaf: Node, root: Node | None, recording: Recording) -> str:
    """Follow what was computed from the leaf, in the graph and where it left the graph."""
    alive: dict[Node, Event | None] = {leaf: None}
    cuts: list[_Cut] = []
    beyond: dict[Any, set[int]] = {}  # memory or Node -> the cuts behind which its numbers come from the leaf
    for event in recording.events:
        from_cuts: set[int] = set()
        alive_in = [a for a in event.args if isinstance(a, Tensor) and a.node in alive]
        for a in event.args:
            in_graph = isinstance(a, Tensor) and a.node is not None
            from_cuts |= beyond.get(a.node if in_graph else _memory(a), set())
        if event.result is None:
            if alive_in:
                cuts.append(_Cut(event.name, event))
                beyond.setdefault(_memory(event.args[0]), set()).add(len(cuts) - 1)
            continue
        if alive_in and event.result.node is not None:
            alive[event.result.node] = event
        elif alive_in:
            cuts.append(_Cut("no_grad()", event))
            from_cuts.add(len(cuts) - 1)
        if from_cuts:
            key = event.result.node if event.result.node is not None else _memory(event.result)
            beyond.setdefault(key, set()).update(from_cuts)

    guilty = [cuts[i] for i in sorted(beyond.get(root, set()))] if root is not None else []
    guilty = guilty or cuts
    if root is not None and root in alive:
        return f"{who} is part of the graph, but {_no_way(leaf, root, recording)}"
    if guilty:
        return f"{who} was cut off from the loss by {'; and by '.join(_cut_text(cut) for cut in guilty[-3:])}."
    if len(alive) > 1:
        last = list(alive.values())[-1]
        assert last is not None
        return f"{who} was used, but no op that leads to the loss took the result (last: {_op_text(last)})."
    return f"{who} was used by no op. Was its .data taken, or a copy made with Tensor(...)?"


def _no_way(leaf: Node, root: Node, recording: Recording) -> str:
    for node in _between(leaf, root):
        for i, source in enumerate(node.inputs):
            if node in recording.contributions and isinstance(source, Node) and source not in recording.grads:
                return f"{_op_text(recording.calls[node])} gives no gradient to its input {i}."
    return "the last backward pass did not come by."


def _cut_text(cut: _Cut) -> str:
    if cut.how == "no_grad()":
        return f"no_grad(), under which {_op_text(cut.event)} ran{_at(cut.event.line)}"
    (tensor,) = cut.event.args
    of = f"of the output of `{tensor.node.op}`" if tensor.node is not None and tensor.node.op else "of the leaf itself"
    inside = f" in `{cut.event.scope}`" if cut.event.scope else ""
    made = {"numpy()": " (it makes a raw array)", "item()": " (it makes a Python number)"}.get(cut.how, "")
    return f"{cut.how} {of}{made}{inside}{_at(cut.event.line)}"


def _memory(a: Any) -> int | None:
    """Which memory an array shows: views of it have the same."""
    array = a.data if isinstance(a, Tensor) else a
    if not isinstance(array, np.ndarray):
        return None
    while isinstance(array.base, np.ndarray):
        array = array.base
    return id(array)


# --- exactly zero ------------------------------------------------------------------------------------------------


def _blocked(leaf: Node, root: Node, recording: Recording) -> str:
    """The ops that got a gradient and passed back nothing but zeros towards the leaf."""
    if not recording.grads[root].any():
        return "The gradient that backward() started from is 0."
    blocks: list[str] = []
    way = _between(leaf, root)
    for node in way:
        grad = recording.grads.get(node)
        if grad is None or not grad.any():
            continue
        for i, source in enumerate(node.inputs):
            if source is leaf or (isinstance(source, Node) and source in way):
                contribution = recording.contributions[node][i]
                if contribution is None or not contribution.any():
                    blocks.append(f"{_op_text(recording.calls[node])}{_why_zero(node, i, recording)}")
    blocks = list(dict.fromkeys(blocks))
    if not blocks:
        return "The gradients from its several uses cancel."
    more = f"; and at {len(blocks) - 3} more" if len(blocks) > 3 else ""
    return f"Blocked at {'; and at '.join(blocks[:3])}{more}."


def _why_zero(node: Node, i: int, recording: Recording) -> str:
    """What is known of this op's zeros: ", which ..."."""
    inputs = recording.inputs(node)
    x = np.asarray(inputs[i])
    if node.op == "hardmax":
        return ", whose output stays the same when the scores change a little"
    if node.op == "uniform":
        return ", which ignores its scores"
    if node.op == "relu" and (x <= 0).all():
        return f", whose {x.size:,} inputs are all ≤ 0"
    if node.op == "clip":
        return ", whose inputs are all outside the bounds"
    if node.op in ("mul", "matmul", "linear") and not np.any(inputs[1 - i] if i < 2 else 1):
        return ", whose other factor is all zeros"
    weights = recording.weights(node)
    if weights is not None and ((weights != 0).sum(-1) <= 1).all():
        return ", where all weight is on one score"
    if node.op in ("tanh", "sigmoid"):
        return ", saturated: all its outputs are at their limits"
    return ""


# --- tiny, healthy -----------------------------------------------------------------------------------------------


def _between(leaf: Node, root: Node) -> list[Node]:
    """All Nodes on a way from the leaf to the root, newest first, without the leaf."""
    seen, stack = {root}, [root]
    while stack:
        for parent in stack.pop().parents:
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
    after = {leaf}
    for node in sorted(seen, key=lambda node: node.created):
        if not after.isdisjoint(node.parents):
            after.add(node)
    return sorted(after - {leaf}, key=lambda node: node.created, reverse=True)


def _way(leaf: Node, root: Node, recording: Recording) -> list[Node]:
    """From the root back to the leaf along the largest contributions."""
    best: dict[Node, tuple[float, Node]] = {}
    for node in _between(leaf, root):
        for source, contribution in zip(node.inputs, recording.contributions.get(node, []), strict=False):
            if isinstance(source, Node) and contribution is not None:
                size = _norm(contribution)
                if source not in best or size > best[source][0]:
                    best[source] = size, node
    way = [leaf]
    while way[-1] is not root:
        way.append(best[way[-1]][1])
    return way[::-1]


def _along(way: list[Node], norms: list[float]) -> str:
    """Up to eight stations, those where most happens."""
    changes = [abs(math.log(b / a)) if a and b else math.inf for a, b in itertools.pairwise(norms)]
    kept = sorted(range(1, len(way) - 1), key=lambda i: -changes[i - 1])[:6]
    stations = sorted({0, len(way) - 1, *kept})
    words = []
    for before, i in zip([-1, *stations], stations, strict=False):
        skipped = "… → " if i - before > 1 else ""
        words.append(f"{skipped}{_short(way[i])} {norms[i]:.3g}")
    return " → ".join(words)


def _short(node: Node) -> str:
    if isinstance(node, Leaf):
        return node.name or "leaf"
    return f"{node.scope}.{node.op}" if node.scope else str(node.op)


def _saturated(node: Node, recording: Recording) -> str:
    weights = recording.weights(node)
    if weights is not None:
        several = weights[(weights > 0).sum(-1) > 1]  # a row with one score to choose from is always 1
        rest = float(np.median(np.sort(several if several.size else weights)[..., :-1].sum(-1)))
        if rest < 0.1:
            what = "softmax" if node.op == "attention" else node.op
            return f": {what} saturated, largest weight {_one_minus(rest)}"
    y = recording.values[node]
    if node.op in ("tanh", "sigmoid"):
        far = np.abs(y) if node.op == "tanh" else np.maximum(y, 1 - y)
        return f": saturated, outputs within {1 - float(np.median(far)):.1e} of their limit"
    return ""


def _one_minus(rest: float) -> str:
    """0.99998; for what would round to 1, what is missing: 1 − 3e-09."""
    if rest < 1e-6:
        return f"1 − {rest:.0e}" if rest > 0 else "1"
    return f"{1 - rest:.{-math.floor(math.log10(rest))}f}"


# --- nan and inf -------------------------------------------------------------------------------------------------


def _first_bad(recording: Recording) -> str:
    for event in recording.events:
        if event.result is not None and (found := _bad_result(event, recording)):
            return f"First appeared in {found}{_at(event.line)}."
    for node in sorted(recording.contributions, key=lambda node: node.created, reverse=True):
        if found := _bad_vjp(node, recording.grads[node], recording.contributions[node]):
            return f"The values are finite; first appeared in {found}{_at(recording.calls[node].line)}."
    return "It was there from the start of backward()."


def _bad_result(event: Event, recording: Recording | None = None) -> str:
    """What to say of an op that made nan or inf out of finite inputs, or took a nan from outside; else ""."""
    assert event.result is not None
    y = event.result.data
    if _finite(y):
        return ""
    arrays = [_array_of(a, recording) for a in event.args]
    if any(not _finite(a) for a in arrays):
        for i, (given, a) in enumerate(zip(event.args, arrays, strict=True)):
            outside = not isinstance(given, Tensor) or given.node is None or isinstance(given.node, Leaf)
            if outside and a.dtype.kind == "f" and np.isnan(a).any():
                return f"{_op_text(event)}, whose input {i} is nan already ({_share(a)})"
        return ""
    if event.static.get("mask") is not None and not np.isnan(y).any() and not np.isposinf(y).any():
        return ""  # by convention a masked logarithm is −inf
    return f"{_op_text(event)}: {_share(y)}, out of finite input"


def _bad_vjp(node: Node, grad: Array, contributions: list[Array | None]) -> str:
    bad = [c for c in contributions if c is not None and not _finite(c)]
    if not bad or not _finite(grad):
        return ""
    inside = f" in `{node.scope}`" if node.scope else ""
    return f"the backward of `{node.op}`{inside} of shape {node.shape}: {_share(bad[0])}, out of a finite gradient"


def _array_of(a: Any, recording: Recording | None) -> Array:
    if isinstance(a, Tensor):
        recorded = recording.values.get(a.node) if recording is not None and a.node is not None else None
        return a.data if recorded is None else recorded
    return np.asarray(0.0 if a is None else a)


def _finite(a: Array) -> bool:
    return a.dtype.kind != "f" or bool(np.isfinite(a).all())


def _share(a: Array) -> str:
    """ "3 of 64 values are nan"."""
    kind = _kind(a)
    n = int(np.isnan(a).sum() if kind == "nan" else np.isinf(a).sum())
    return f"{n:,} of {a.size:,} {'value is' if a.size == 1 else 'values are'} {kind}"


def _kind(a: Array) -> str:
    return "nan" if np.isnan(a).any() else "inf"


@contextlib.contextmanager
def first_bad_value() -> Iterator[None]:
    """Inside, stop at the first op or VJP that makes a nan or inf out of finite input.

    Raises FloatingPointError that names the op, its module, the shapes and the line of your code that called it (also
    for backward, where the traceback does not tell). A nan that comes from outside, in data or a parameter, stops at
    the first op that passes it on. An inf from outside does not (it may be a mask), nor −inf in a masked logarithm.
    """
    with watch(_FirstBadValue()):
        yield


class _FirstBadValue(Observer):
    def __init__(self) -> None:
        self.events: weakref.WeakKeyDictionary[Node, tuple[Line | None, str]] = weakref.WeakKeyDictionary()

    def op_ends(self, name: str, args: tuple[Any, ...], static: dict[str, Any], result: Tensor) -> None:
        event = Event(name, current_scope(), user_line(), args, static, result)
        if result.node is not None:
            self.events[result.node] = event.line, _shapes(args)
        if found := _bad_result(event):
            raise FloatingPointError(f"{found}{_at(event.line)}")

    def vjp_ends(self, node: Node, grad: Array, contributions: list[Array | None]) -> None:
        if found := _bad_vjp(node, grad, contributions):
            line, shapes = self.events.get(node, (None, ""))
            raise FloatingPointError(f"{found} (inputs {shapes}){_at(line)}")


# --- words -------------------------------------------------------------------------------------------------------


def _who(leaf: Node, recording: Recording) -> str:
    name = f"the output of `{leaf.op}`" if leaf.op else "this leaf"
    if isinstance(leaf, Leaf) and leaf.name:
        name = f"`{leaf.name}`"
    scopes = [event.scope for event in recording.events if any(_is(a, leaf) for a in event.args)]
    inside = f" in `{scopes[0]}`" if scopes and scopes[0] else ""
    return f"{name}{inside} of shape {leaf.shape}"


def _is(a: Any, leaf: Node) -> bool:
    return isinstance(a, Tensor) and (a.node is leaf or a.leaf is leaf)


def _op_text(event: Event) -> str:
    inside = f" in `{event.scope}`" if event.scope else ""
    return f"`{event.name}`{inside} of {_shapes(event.args)}"


def _shapes(args: tuple[Any, ...]) -> str:
    shapes = [str(np.shape(a.data if isinstance(a, Tensor) else a)) for a in args if a is not None]
    return f"shape{'' if len(shapes) == 1 else 's'} {' and '.join(shapes)}"


def _at(line: Line | None) -> str:
    return f", at {line}" if line is not None else ""


def _norm(a: Array) -> float:
    return float(np.sqrt(np.square(a, dtype=np.float64).sum()))
