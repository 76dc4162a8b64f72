"""Why is this gradient None, zero, tiny or nan?

    print(explain_grad(lambda: cross_entropy(model(ids), targets), model.blocks[0].attn.query.weight))

    with first_bad_value():
        train()            # stops at the first op that makes a nan or inf

`explain_grad` records one step and looks through the recording. How nan and inf are found is in `bad_values.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.debug.bad_values import finite, first_bad, kind, share
from minigrad.debug.bad_values import first_bad_value as first_bad_value
from minigrad.debug.recording import Event, Recording, inside, memory_of, norm, recording_of
from minigrad.debug.saturation import cancelled_by_softmax, saturated_ops, which_of_its_name
from minigrad.engine import Leaf, Node, Tensor, newest_first

# A gradient is tiny if its norm is less than this part of the largest on its way from the loss; or if some op on the
# way passes on less than this part. Later ops may scale it up again, but what was lost to rounding stays lost.
TINY = 1e-4


@dataclass(frozen=True)
class Explanation:
    """What `explain_grad` found. Printed, it is a paragraph."""

    verdict: str  # "not reached", "zero", "tiny", "nan", "saturated" or "healthy"
    text: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


def explain_grad(f: Callable[[], Tensor], parameter: Tensor) -> Explanation:
    """Say in one paragraph why the gradient of `parameter` is what it is.

    Arguments:
        f: builds the loss, a scalar. It is run once, forward and backward; every `.grad` stays as it was.
        parameter: the leaf in question.

    Raises TypeError where f is not a function that returns a Tensor.

    The verdict is one of six, and each is found in its own way:
        not reached    No gradient came. Follow what was computed from the parameter, to see where it left the graph.
        zero           The gradient is exactly 0. Find the ops that got a gradient and sent back nothing but zeros.
                       Or it is 0 but for rounding, since a softmax cancels the bias of its keys.
        tiny           Go back from the loss along the largest contributions. Less than 1e-4 of the largest gradient
                       there is left at the end, or some op passed on less than 1e-4 of what it got. Name the op that
                       passed on the least.
        nan            Find the first op, forward and then backward, that made a nan or inf out of finite numbers.
        saturated      The size is fine, but of some op on the way at least 80 % of the units hardly pass anything on:
                       their tanh or sigmoid is flat, or their relu is dead.
        healthy        None of these: the norms along the way from the loss.
    """
    recording, loss = recording_of(f)
    return _explain(recording, parameter, loss.node)


def explain(recording: Recording, parameter: Tensor) -> Explanation:
    """The same for a recorded step: `tape.explain(parameter)`. Raises RuntimeError where no backward was recorded."""
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
        return Explanation("healthy", f"healthy: {told}, of norm {norm(grad):.3g}.")
    if any(node not in recording.calls for node in _between(leaf, root)):
        raise RuntimeError("a part of the forward pass ran outside the recording: put it inside the `with` as well")
    if not finite(grad):
        told = f"{kind(grad)}: in the gradient of {who} {share(grad)}."
        return Explanation("nan", f"{told} {first_bad(recording)}")
    loss = recording.values[root]
    if not finite(loss):
        told = f"{kind(loss)}: the gradient of {who} is finite, but the loss is not."
        return Explanation("nan", f"{told} {first_bad(recording)}")
    canceller = cancelled_by_softmax(leaf, _between(leaf, root), recording)
    if canceller is not None:
        told = f"zero but for rounding: the gradient of {who} has norm {norm(grad):.3g}."
        why = "softmax cancels a key bias: it adds the same to all scores of a query, and the weights stay as they are"
        return Explanation("zero", f"{told} At {recording.calls[canceller]}, {why}. It needs no repair.")
    if not grad.any():
        told = f"exactly zero: the gradient of {who} is 0 in all elements."
        return Explanation("zero", f"{told} {_blocked(leaf, root, recording)}")
    return _tiny_or_healthy(who, leaf, root, recording)


def _who(leaf: Node, recording: Recording) -> str:
    name = f"the output of `{leaf.op}`" if leaf.op else "this leaf"
    if isinstance(leaf, Leaf) and leaf.name:
        name = f"`{leaf.name}`"
    users = [event for event in recording.events if any(_is(a, leaf) for a in event.args)]
    return f"{name}{inside(users[0].scope if users else '')} of shape {leaf.shape}"


def _is(a: Any, leaf: Node) -> bool:
    return isinstance(a, Tensor) and (a.node is leaf or a.leaf is leaf)


def _between(leaf: Node, root: Node) -> list[Node]:
    """All Nodes on a way from the leaf to the root, newest first, without the leaf."""
    reached, between = {leaf}, []
    for node in reversed(newest_first(root)):
        if not reached.isdisjoint(node.parents):
            reached.add(node)
            between.append(node)
    return between[::-1]


# --- not reached -------------------------------------------------------------------------------------------------


def _not_reached(who: str, leaf: Node, root: Node | None, recording: Recording) -> str:
    ways = _ways_from(leaf, recording)
    to_root = ways.get(root, set())
    if root is not None and None in to_root:
        return f"{who} is part of the graph, but {_no_way(leaf, root, recording)}"
    guilty = to_root or set().union(*ways.values())
    cuts = [event for event in recording.events if event in guilty]
    if cuts:
        return f"{who} was cut off from the loss by {'; and by '.join(map(_cut_text, cuts[-3:]))}."
    used_by = [node for node in recording.calls if node in ways]
    if used_by:
        last = recording.calls[used_by[-1]]
        return f"{who} was used, but no op that leads to the loss took the result (last: {last})."
    return f"{who} was used by no op. Was its .data taken, or a copy made with Tensor(...)?"


def _ways_from(leaf: Node, recording: Recording) -> dict[Any, set[Event | None]]:
    """For each Node or array computed from the leaf: the cuts on the ways there, and None if a way has no cut."""
    ways: dict[Any, set[Event | None]] = {leaf: {None}}
    for event in recording.events:
        here = set().union(*(ways.get(_place(a), set()) for a in event.args))
        if not here:
            continue
        leaves_the_graph = event.result is None or event.result.node is None
        if None in here and leaves_the_graph:
            here = here - {None} | {event}
        there = memory_of(event.args[0]) if event.result is None else _place(event.result)
        ways.setdefault(there, set()).update(here)
    return ways


def _place(a: Any) -> Any:
    """Where the numbers of an argument are: at a Node of the graph, or outside, in some memory."""
    return a.node if isinstance(a, Tensor) and a.node is not None else memory_of(a)


def _no_way(leaf: Node, root: Node, recording: Recording) -> str:
    for node in _between(leaf, root):
        for i, source in enumerate(node.inputs):
            if node in recording.contributions and isinstance(source, Node) and source not in recording.grads:
                return f"{which_of_its_name(node, recording)} gives no gradient to its input {i}."
    return "the last backward pass did not come by."


def _cut_text(cut: Event) -> str:
    if cut.result is not None:
        return f"no_grad(), under which {cut} ran{cut.at}"
    (tensor,) = cut.args
    of = f"of the output of `{tensor.node.op}`" if tensor.node is not None and tensor.node.op else "of the leaf itself"
    made = {"numpy()": " (it makes a raw array)", "item()": " (it makes a Python number)"}.get(cut.name, "")
    return f"{cut.name} {of}{made}{inside(cut.scope)}{cut.at}"


# --- exactly zero ------------------------------------------------------------------------------------------------


def _blocked(leaf: Node, root: Node, recording: Recording) -> str:
    """The ops that got a gradient and sent back nothing but zeros towards the leaf."""
    if not recording.grads[root].any():
        return "The gradient that backward() started from is 0."
    blocks: list[str] = []
    way = _between(leaf, root)
    towards = {leaf, *way}
    for node in way:
        grad = recording.grads.get(node)
        if grad is None or not grad.any():
            continue
        for i, (source, sent) in enumerate(zip(node.inputs, recording.contributions[node], strict=True)):
            if source in towards and (sent is None or not sent.any()):
                blocks.append(f"{which_of_its_name(node, recording)}{_why_zero(node, i, recording)}")
    blocks = list(dict.fromkeys(blocks))
    if not blocks:
        return "The gradients from its several uses cancel."
    more = f"; and at {len(blocks) - 3} more" if len(blocks) > 3 else ""
    return f"Blocked at {'; and at '.join(blocks[:3])}{more}."


def _why_zero(node: Node, i: int, recording: Recording) -> str:
    """Why this op sends zeros to its input i, where that is known: ", which ..."."""
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
    if node.op in ("mul", "matmul", "linear") and i < 2 and not np.any(inputs[1 - i]):
        return ", whose other factor is all zeros"
    weights = recording.weights(node)
    if weights is not None and ((weights != 0).sum(-1) <= 1).all():
        return ", where all weight is on one score"
    if node.op in ("tanh", "sigmoid"):
        return ", saturated: all its outputs are at their limits"
    return ""


# --- tiny or healthy ---------------------------------------------------------------------------------------------


def _tiny_or_healthy(who: str, leaf: Node, root: Node, recording: Recording) -> Explanation:
    way = _way(leaf, root, recording)
    norms = [norm(recording.grads[node]) for node in way]
    passed_on = [b / a for a, b in itertools.pairwise(norms)]
    told = f"the gradient of {who} has norm {norms[-1]:.3g}"
    along = f"Norms on the way back: {_along(way, norms, recording)}."
    if norms[-1] < TINY * max(norms) or min(passed_on) < TINY:
        worst = int(np.argmin(passed_on))
        op = which_of_its_name(way[worst], recording)
        lost = f"Most is lost in {op}, which passes on {passed_on[worst]:.1e} of what it gets"
        lost += _saturated(way[worst], recording)
        told += f", {norms[-1] / max(norms):.1e} of the largest on its way"
        return Explanation("tiny", f"tiny: {told}. {lost}. {along}")
    saturated = saturated_ops(_between(leaf, root), recording)
    if saturated:
        more = f"; and {len(saturated) - 3} more ops" if len(saturated) > 3 else ""
        words = f"{'; '.join(saturated[:3])}{more}"
        return Explanation("saturated", f"saturated: {told}, but {words}. They hardly pass a gradient on. {along}")
    told += f", and its own numbers have norm {norm(recording.values[leaf]):.3g}"
    return Explanation("healthy", f"healthy: {told}. {along}")


def _way(leaf: Node, root: Node, recording: Recording) -> list[Node]:
    """From the root back to the leaf along the largest contributions."""
    best: dict[Node, tuple[float, Node]] = {}  # a Node -> the largest contribution to it, and which Node sent that
    for node in _between(leaf, root):
        for source, sent in zip(node.inputs, recording.contributions.get(node, []), strict=False):
            if isinstance(source, Node) and sent is not None:
                size = norm(sent)
                if source not in best or size > best[source][0]:
                    best[source] = size, node
    way = [leaf]
    while way[-1] is not root:
        way.append(best[way[-1]][1])
    return way[::-1]


def _along(way: list[Node], norms: list[float], recording: Recording) -> str:
    """Up to eight stations: both ends, and those between where the norm changes most. "(3 more)" are left out."""
    changes = [abs(math.log(b / a)) if a and b else math.inf for a, b in itertools.pairwise(norms)]
    kept = sorted(range(1, len(way) - 1), key=lambda i: -changes[i - 1])[:6]
    stations = sorted({0, len(way) - 1, *kept})
    words = []
    for before, i in zip([-1, *stations], stations, strict=False):
        node = way[i]
        name = node.name or "leaf" if isinstance(node, Leaf) else f"{node.scope}.{node.op}".lstrip(".")
        if ordinal := recording.ordinal(node):
            name += f" ({ordinal})"
        left_out = f"({i - before - 1} more) → " if i - before > 1 else ""
        words.append(f"{left_out}{name} {norms[i]:.3g}")
    return " → ".join(words)


def _saturated(node: Node, recording: Recording) -> str:
    """What to add where outputs are so near to their limits that they hardly move, else ""."""
    weights = recording.weights(node)
    if weights is not None:
        several = weights[(weights > 0).sum(-1) > 1]  # a row with one score to choose from is always 1
        rest = float(np.median(np.sort(several if several.size else weights)[..., :-1].sum(-1)))
        if rest < 0.1:
            what = "softmax" if str(node.op).endswith("attention") else node.op
            return f": the {what} is saturated, largest weight {_one_minus(rest)}"
    y = recording.values[node]
    if node.op in ("tanh", "sigmoid"):
        far = np.abs(y) if node.op == "tanh" else np.maximum(y, 1 - y)
        return f": it is saturated, with outputs within {1 - float(np.median(far)):.1e} of their limit"
    return ""


def _one_minus(rest: float) -> str:
    """0.99998; for what would round to 1, how much is missing: 1 − 3e-09."""
    if rest < 1e-6:
        return f"1 − {rest:.0e}" if rest > 0 else "1"
    return f"{1 - rest:.{-math.floor(math.log10(rest))}f}"
