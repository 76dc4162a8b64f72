"""What is drawn: a box for each op, leaf, piece of data and folded module, and an edge for each way between them.

The picture (`drawing.py`), the text (`text_tree.py`) and the step page (`step_page.py`) are all made from a Sketch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigrad.debug.recording import Array, Recording, memory_of, norm
from minigrad.engine import Constant, Leaf, Node, Tensor
from minigrad.viz.cuts import Cut, cuts_of, silent_ops
from minigrad.viz.history import Call, History, history, root_of
from minigrad.viz.repeats import collapse
from minigrad.viz.words import op_title


@dataclass(eq=False)
class Box:
    kind: str  # "op", "module", "leaf", "input"; "loss" for the last one
    title: str
    around: Call  # the opened module it is drawn in
    node: Node | None = None  # the op, the leaf, or of a module the op whose output leaves it
    call: Call | None = None  # of a module: what is folded
    ops: list[Node] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)  # of a module: the leaves that only it uses
    constant: Constant | None = None  # of an input
    array: Array | None = None  # of an input, where it was recorded
    cut: str = ""  # of an input that was computed, but taken out of the graph: by "detach()", say
    silent: list[str] = field(default_factory=list)  # of a module: ops and cuts in it that send back nothing
    id: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        source = self.node or self.constant
        assert source is not None
        return source.shape

    @property
    def op(self) -> Node | None:
        """The one op in it, if there is just one."""
        return self.ops[0] if len(self.ops) == 1 else None

    @property
    def n_parameters(self) -> int:
        return sum(math.prod(leaf.shape) for leaf in self.leaves)

    @property
    def contents(self) -> str:
        """What is folded in it: "3 linear, attention"."""
        names = [str(node.op) for node in self.ops]
        return ", ".join(f"{n} {name}" if (n := names.count(name)) > 1 else name for name in dict.fromkeys(names))

    def value(self, tape: Recording | None) -> Array | None:
        """The numbers that it holds or computed, where they were recorded."""
        if self.kind == "input":
            return self.array
        return tape.values.get(self.node) if tape is not None and self.node is not None else None


@dataclass(eq=False)
class Edge:
    tail: Box
    head: Box
    uses: list[tuple[Node, int]]  # (op, number of its input): into a folded module there may be several
    state: str = ""  # "zero": the gradient going back here is exactly 0; "unreached": none ever came; "cut": see below
    cut: str = ""  # what took the numbers out of the graph here: "detach()", "numpy()", "no_grad()"
    norm: float | None = None  # of the gradient going back here
    id: str = ""


@dataclass(eq=False)
class Sketch:
    """What a picture shows: boxes, oldest first, and edges."""

    root: Node
    calls: Call
    boxes: list[Box]
    edges: list[Edge]
    opened: list[Call]  # calls drawn as a frame around what is in them


def sketch_of(t: Tensor, depth: int, tape: Recording | None, fold_loops: bool = True) -> Sketch:
    """What `t` was computed from, with so many levels of modules opened, and loops folded."""
    if isinstance(depth, bool) or not isinstance(depth, (int, np.integer)):
        raise TypeError(f"depth counts the levels of modules that are opened, a whole number, not {depth!r}")
    if depth < 1:
        raise ValueError(f"depth counts the levels of modules that are opened, from 1, not {depth}")
    root = root_of(t)
    if tape is not None and tape.passes > 1 and root not in tape.grads:
        raise ValueError(
            "the last backward pass in this recording started from another result: record one backward at a time"
        )
    h = history(root)
    return sketch(collapse(h) if fold_loops else h, lambda call: call.depth < depth, tape)


def sketch(h: History, opened: Callable[[Call], bool], tape: Recording | None = None) -> Sketch:
    """Put a history into boxes. Where `opened(call)` is False a module becomes one box; a loop always is one."""
    boxes: list[Box] = []
    folded: dict[Call, Box] = {}  # a call in a folded module, or folded itself -> the box
    frames: list[Call] = []
    for call in h.calls.calls():
        if call.around in folded:
            folded[call] = folded[call.around]
        elif call.around is None or (call.times == 1 and call.only_op is None and opened(call)):
            frames.append(call)
        else:
            ops = list(call.nodes())
            folded[call] = Box("module", call.name, call.around, ops[-1], call, ops)
            boxes.append(folded[call])
    box_of: dict[Node, Box] = {}
    for node, call in h.innermost.items():
        if call in folded:
            box_of[node] = folded[call]
        else:
            box_of[node] = Box("op", op_title(node), call, node, ops=[node])
            boxes.append(box_of[node])
    if math.prod(h.root.shape) == 1 and h.root.op is not None:
        box_of[h.root].kind = "loss"
    _add_leaves(h, boxes, box_of, tape)
    edges = _edges(h.nodes, boxes, box_of, tape)
    if tape is not None and tape.root is not None:
        for box in boxes:
            if box.call is not None:
                box.silent = [*silent_ops(box.ops, tape), *box.silent]
    _put_in_order(boxes, edges)
    return Sketch(h.root, h.calls, boxes, edges, frames)


def _put_in_order(boxes: list[Box], edges: list[Edge]) -> None:
    """Boxes oldest first, where data, which has no Node, comes just before its first use; edges by their heads."""
    first_use: dict[Box, int] = {}
    for edge in edges:
        created = edge.uses[0][0].created
        first_use[edge.tail] = min(created, first_use.get(edge.tail, created))
    boxes.sort(key=lambda box: box.node.created if box.node else first_use[box] - 0.5)
    order = {box: i for i, box in enumerate(boxes)}
    edges.sort(key=lambda edge: (order[edge.head], edge.uses[0][1], order[edge.tail]))
    for i, box in enumerate(boxes):
        box.id = f"n{i}"
    for i, edge in enumerate(edges):
        edge.id = f"e{i}"


def _add_leaves(h: History, boxes: list[Box], box_of: dict[Node, Box], tape: Recording | None) -> None:
    """Count a parameter that only one folded module uses there; give any other leaf a box, as far inside as possible.

    Without a recording, a leaf that has a name is taken for a parameter.
    """
    users: dict[Node, list[Node]] = {node: [] for node in h.nodes if node.op is None}
    for node in h.nodes:
        for parent in node.parents:
            if parent.op is None:
                users[parent].append(node)
    for leaf, ops in users.items():
        assert isinstance(leaf, Leaf)
        homes = {box_of[op] for op in ops}
        is_parameter = leaf.name is not None if tape is None else leaf in tape.parameters
        if is_parameter and len(homes) == 1 and (home := homes.pop()).call is not None:
            home.leaves.append(leaf)
            box_of[leaf] = home
        else:
            around = _around_all([box_of[op].around for op in ops] or [h.calls])
            box_of[leaf] = Box("leaf", leaf.name or "leaf", around, leaf)
            boxes.append(box_of[leaf])


def _around_all(calls: list[Call]) -> Call:
    """The innermost call that all of these are in."""
    paths = [call.path for call in calls]
    innermost = paths[0][0]
    for level in zip(*paths, strict=False):
        if len(set(level)) == 1:
            innermost = level[0]
    return innermost


def _edges(nodes: list[Node], boxes: list[Box], box_of: dict[Node, Box], tape: Recording | None) -> list[Edge]:
    """One edge for each input of an op (x + x has two), but into a folded module one for each box it comes from."""
    edges: list[Edge] = []
    into: dict[tuple[Box, Box, str], Edge] = {}
    data = _Data(boxes, box_of, tape)
    for node in nodes:
        head = box_of[node]
        for i, source in enumerate(node.inputs):
            cut = ""
            if isinstance(source, Node):
                tail: Box | None = box_of[source]
            elif isinstance(source, Constant):
                tail, cut = data.box(node, i, source, head)
            else:
                continue
            if tail is head and cut and cut not in head.silent:
                head.silent.append(cut)
            if tail is None or tail is head:
                continue
            if head.call is not None and (tail, head, cut) in into:
                into[tail, head, cut].uses.append((node, i))
            else:
                into[tail, head, cut] = edge = Edge(tail, head, [(node, i)], "cut" if cut else "", cut)
                edges.append(edge)
    if tape is not None and tape.root is not None:
        for edge in edges:
            if edge.tail.kind != "input" and not edge.cut:
                edge.norm = _gradient_through(edge, tape)
                edge.state = "unreached" if edge.norm is None else "zero" if edge.norm == 0 else ""
    return edges


class _Data:
    """The boxes of data that needs no gradient: one for each use, or where it was recorded one for each array."""

    def __init__(self, boxes: list[Box], box_of: dict[Node, Box], tape: Recording | None) -> None:
        self.boxes, self.box_of, self.tape = boxes, box_of, tape
        self.cuts: dict[int | None, Cut] = cuts_of(tape) if tape is not None else {}
        self.known: dict[Any, Box] = {}  # id of a recorded array or Tensor -> its box

    def box(self, node: Node, i: int, constant: Constant, head: Box) -> tuple[Box | None, str]:
        """The box that an input comes from, and what cut it off from the box that computed it ("" for data)."""
        given = self.tape.calls[node].args[i] if self.tape is not None and node in self.tape.calls else None
        cut = self.cuts.get(memory_of(given))
        if cut is not None and cut.source in self.box_of:
            return self.box_of[cut.source], cut.how
        if head.op is None and constant.dtype.kind != "f" and not isinstance(given, Tensor):
            return None, ""  # raw integers inside a folded module of several ops are its own: positions, say
        looped = head.call is not None and head.call.times > 1
        if looped or (head.op is None and given is None):
            key: Any = (head, constant.shape)  # what goes into each round of a loop has one box
        else:
            key = (node, i) if given is None else id(given)
        if key in self.known:
            box = self.known[key]
            box.around = _around_all([box.around, head.around])
            return box, ""
        box = self.known[key] = Box("input", "input", head.around, constant=constant)
        if self.tape is not None and given is not None and not looped:
            box.array = np.asarray(self.tape.inputs(node)[i])
            box.title = (given.name if isinstance(given, Tensor) else "") or "input"
        if cut is not None:
            source = cut.source
            box.title, box.cut = op_title(source) if source.op else getattr(source, "name", "") or "leaf", cut.how
        self.boxes.append(box)
        return box, ""


def _gradient_through(edge: Edge, tape: Recording) -> float | None:
    """The norm of the gradient that went back along an edge; None if nothing ever did."""
    sums: dict[Any, Array] = {}  # source -> what its uses contribute, added up as backward does
    for node, i in edge.uses:
        contribution = tape.contributions[node][i] if node in tape.contributions else None
        if contribution is not None:
            source = node.inputs[i]
            sums[source] = sums[source] + contribution if source in sums else contribution
    return math.hypot(*map(norm, sums.values())) if sums else None
