"""From Nodes to boxes: what happened in which module, folded to a depth that fits on a page.

    History    all Nodes a result was computed from, oldest first, and the module calls they ran in
    Call       one call of a module: the ops and the calls inside it, in the order they ran
    Sketch     boxes and edges of a picture: modules that are not opened are one box each

The picture (`drawing.py`), the text (`text_tree.py`) and the step page (`step_page.py`) are all made from these.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigrad.debug.recording import Recording
from minigrad.engine import Constant, Leaf, Node, Tensor

Array = NDArray[Any]


def root_of(t: Tensor) -> Node:
    """The Node to draw from. Raises ValueError where there is none."""
    if not isinstance(t, Tensor):
        raise TypeError(f"only a Tensor has a graph to draw, not {type(t).__name__}")
    if t.node is None:
        raise ValueError(
            "this Tensor has no graph to draw: none of its inputs requires a gradient, "
            "or it was computed under no_grad() or from detach() or .numpy()"
        )
    return t.node


def check_pass(root: Node, tape: Recording | None) -> None:
    """Raises ValueError where the gradients in the recording are those of another result."""
    if tape is not None and tape.passes > 1 and root not in tape.grads:
        raise ValueError(
            "the last backward pass in this recording started from another result: record one backward at a time"
        )


def check_depth(depth: int) -> None:
    if isinstance(depth, bool) or not isinstance(depth, (int, np.integer)):
        raise TypeError(f"depth counts the levels of modules that are opened, a whole number, not {depth!r}")
    if depth < 1:
        raise ValueError(f"depth counts the levels of modules that are opened, from 1, not {depth}")


# --- modules -----------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Call:
    """One call of a module. The outermost one, with an empty name, is everything."""

    name: str  # as the module around it calls it: "attn", "blocks.0"
    scope: str  # in full: "blocks.0.attn"
    around: Call | None = None
    items: list[Node | Call] = field(default_factory=list)

    def nodes(self) -> Iterator[Node]:
        for item in self.items:
            if isinstance(item, Call):
                yield from item.nodes()
            else:
                yield item

    def calls(self) -> Iterator[Call]:
        """This call and all inside, outer ones first."""
        yield self
        for item in self.items:
            if isinstance(item, Call):
                yield from item.calls()

    @property
    def only_op(self) -> Node | None:
        """Its op, if there is just one: nothing to open then."""
        nodes = self.nodes()
        first = next(nodes)
        return first if next(nodes, None) is None else None

    @property
    def depth(self) -> int:
        return 0 if self.around is None else self.around.depth + 1


@dataclass(eq=False)
class History:
    """What a result was computed from."""

    root: Node
    nodes: list[Node]  # oldest first, a topological order; the root is the last
    calls: Call  # the outermost one
    innermost: dict[Node, Call]  # for each op


def history(root: Node) -> History:
    """Find all Nodes that `root` was computed from, and sort them into the module calls they ran in.

    Ops of one call follow each other in time. So a module that is called again after something else is another Call,
    and folding a Call, an unbroken stretch of a topological order, can never make a cycle.
    """
    seen, stack = {root}, [root]
    while stack:
        for parent in stack.pop().parents:
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
    nodes = sorted(seen, key=lambda node: node.created)

    everything = Call("", "")
    innermost = {}
    current = everything
    for node in nodes:
        if node.op is None:
            continue
        path = modules_in(node.scope)
        while current.around is not None and not _starts_with(path, modules_in(current.scope)):
            current = current.around
        for name in path[current.depth :]:
            inner = Call(name, f"{current.scope}.{name}" if current.scope else name, current)
            current.items.append(inner)
            current = inner
        current.items.append(node)
        innermost[node] = current
    return History(root, nodes, everything, innermost)


def modules_in(scope: str) -> list[str]:
    """ "blocks.0.attn" is the module attn in the module blocks.0: a number belongs to the name before it."""
    return re.findall(r"[^.]+(?:\.\d+)*", scope)


def _starts_with(path: list[str], prefix: list[str]) -> bool:
    return path[: len(prefix)] == prefix


# --- boxes and edges ---------------------------------------------------------------------------------------------


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
    id: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        source = self.node or self.constant
        assert source is not None
        return source.shape


@dataclass(eq=False)
class Edge:
    tail: Box
    head: Box
    uses: list[tuple[Node, int]]  # (op, number of its input): in a folded module there may be several
    state: str = ""  # "zero": the gradient going back here is exactly 0; "unreached": none ever came
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


def sketch(h: History, opened: Callable[[Call], bool], tape: Recording | None = None) -> Sketch:
    """Put a history into boxes. Where `opened(call)` is False a module becomes one box."""
    root, nodes, everything, innermost = h.root, h.nodes, h.calls, h.innermost
    boxes: list[Box] = []
    box_of: dict[Node, Box] = {}
    shown_in: dict[Call, Box] = {}  # folded call -> its box
    frames: list[Call] = []
    for call in everything.calls():
        if call.around in shown_in:
            shown_in[call] = shown_in[call.around]  # inside one that is folded
        elif call is everything or (call.only_op is None and opened(call)):
            frames.append(call)
        else:
            assert call.around is not None
            box = Box("module", call.name, call.around, call=call, ops=list(call.nodes()))
            box.node = box.ops[-1]
            shown_in[call] = box
            boxes.append(box)
    for node, call in innermost.items():
        if call in shown_in:
            box_of[node] = shown_in[call]
        else:
            box_of[node] = Box("op", op_title(node), call, node, ops=[node])
            boxes.append(box_of[node])
    _add_leaves(h, boxes, box_of, tape)

    edges = _edges(nodes, boxes, box_of, tape)
    if math.prod(root.shape) == 1 and root.op is not None:
        box_of[root].kind = "loss"
    # Oldest first; what has no Node (an input) stands just before its first use.
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
    return Sketch(root, everything, boxes, edges, frames)


def _add_leaves(h: History, boxes: list[Box], box_of: dict[Node, Box], tape: Recording | None) -> None:
    """A parameter that only one folded module uses is counted there; any other leaf is a box, as far inside as it may.

    Without a recording a leaf that has a name passes for a parameter.
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
        if is_parameter and len(homes) == 1 and (home := homes.pop()).kind == "module":
            home.leaves.append(leaf)
            box_of[leaf] = home
            continue
        arounds = [_path(box_of[op].around) for op in ops] or [[h.calls]]
        shared = [level[0] for level in zip(*arounds, strict=False) if all(call is level[0] for call in level)]
        box_of[leaf] = Box("leaf", leaf.name or "leaf", shared[-1], leaf)
        boxes.append(box_of[leaf])


def _path(call: Call) -> list[Call]:
    return [*(_path(call.around) if call.around else []), call]


def _edges(nodes: list[Node], boxes: list[Box], box_of: dict[Node, Box], tape: Recording | None) -> list[Edge]:
    """One edge for each input of an op (x + x has two), but into a folded module one for each box it comes from."""
    edges: list[Edge] = []
    into: dict[tuple[Box, Box], Edge] = {}
    inputs: dict[int, Box] = {}  # id of a recorded array or Tensor -> its box
    for node in nodes:
        head = box_of[node]
        for i, source in enumerate(node.inputs):
            if isinstance(source, Node):
                tail = box_of[source]
            elif isinstance(source, Constant) and _shows_inputs(head):
                tail = _input_box(node, i, source, head, tape, inputs, boxes)
            else:
                continue
            if tail is head:
                continue
            if head.kind == "module" and (tail, head) in into:
                into[tail, head].uses.append((node, i))
            else:
                edge = Edge(tail, head, [(node, i)])
                into[tail, head] = edge
                edges.append(edge)
    if tape is not None and tape.root is not None:
        for edge in edges:
            if edge.tail.kind != "input":
                edge.norm = _gradient_through(edge, tape)
                edge.state = "unreached" if edge.norm is None else "zero" if edge.norm == 0 else ""
    return edges


def _shows_inputs(head: Box) -> bool:
    """Inside a folded module constants such as masks are its own affair."""
    return head.call is None or head.call.only_op is not None


def _input_box(
    node: Node,
    i: int,
    constant: Constant,
    head: Box,
    tape: Recording | None,
    inputs: dict[int, Box],
    boxes: list[Box],
) -> Box:
    """The box of data that needs no gradient: one for each use, or where it was recorded one for each array."""
    box = Box("input", "input", head.around, constant=constant)
    if tape is None or node not in tape.calls:
        boxes.append(box)
        return box
    given = tape.calls[node].args[i]
    if id(given) in inputs:
        box = inputs[id(given)]
        box.around = [a for a, b in zip(_path(box.around), _path(head.around), strict=False) if a is b][-1]
        return box
    box.title = given.name if isinstance(given, Tensor) and given.name else "input"
    box.array = np.asarray(tape.inputs(node)[i])
    boxes.append(box)
    inputs[id(given)] = box
    return box


def _gradient_through(edge: Edge, tape: Recording) -> float | None:
    """The norm of the gradient that went back along an edge; None if nothing ever did."""
    sums: dict[Any, Array] = {}  # source -> what its uses contribute, added up as backward does
    for node, i in edge.uses:
        contribution = tape.contributions[node][i] if node in tape.contributions else None
        if contribution is not None:
            source = node.inputs[i]
            sums[source] = sums[source] + contribution if source in sums else contribution
    return math.hypot(*map(norm, sums.values())) if sums else None


def norm(a: Array) -> float:
    """√Σaᵢ², in float64: neither overflows nor, for what is not 0, becomes 0 in float32's range."""
    return float(np.sqrt(np.square(a, dtype=np.float64).sum()))


# --- words -------------------------------------------------------------------------------------------------------


def op_title(node: Node) -> str:
    """An op with the constants in it: "mul 0.354", "pow (2, ·)", "mean axis=-1"."""
    assert node.op is not None
    numbers = [i for i in node.inputs if isinstance(i, (int, float))]
    words = [node.op.lstrip("_")]  # concat's op is _concat, which takes its arrays one by one
    if numbers and not isinstance(node.inputs[-1], (int, float)):  # 2 ** x is not x ** 2
        words.append(f"({', '.join(number(i) if isinstance(i, (int, float)) else '·' for i in node.inputs)})")
    else:
        words += [number(i) for i in numbers]
    for key, value in node.static.items():
        text = _static(node, key, value)
        if text:
            words.append(text)
    return " ".join(words)


def _static(node: Node, key: str, value: Any) -> str:
    if value is None or value is False or (key == "axis" and value == -1 and node.op != "concat"):
        return ""
    if key == "shape" or (key == "reduction" and value == "mean") or callable(value) or hasattr(value, "random"):
        return ""  # the output's shape is there anyway; a generator has nothing to show
    if value is True:
        return key
    if isinstance(value, Constant):
        return f"{key} {shape_text(value.shape)}"
    if key == "index":
        return f"[{_index(value)}]"
    if key in ("axes", "axis1"):
        axes = value if key == "axes" else (value, node.static["axis2"])
        return f"({', '.join(map(number, axes))})"
    if key == "axis2":
        return ""
    return f"{key}={number(value) if isinstance(value, float) else value}"


def _index(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_index, value))
    if isinstance(value, slice):
        parts = ["" if part is None else str(part) for part in (value.start, value.stop, value.step)]
        return ":".join(parts if parts[2] else parts[:2])
    if isinstance(value, Constant):
        return shape_text(value.shape)
    return "…" if value is Ellipsis else str(value)


def shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) if shape else "scalar"


def number(x: float) -> str:
    """Three significant digits: 0.354, 12, 1.2e-05, nan."""
    if isinstance(x, bool):
        return str(x)
    if isinstance(x, int):
        return (f"{x:,}" if x >= 10000 else str(x)).replace("-", "−")
    text = f"{x:.3g}".replace("-", "−")
    return text.replace("inf", "∞")


def count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def values_text(a: Array) -> str:
    """Up to four numbers in full, else mean ± standard deviation; nan and inf come first."""
    if a.size == 0:
        return "empty"
    bad = bad_text(a)
    if bad:
        return bad
    if a.dtype.kind in "iub" and a.size > 4:
        return f"{a.min()} … {a.max()}"
    if a.size <= 4:
        return ", ".join(number(x) for x in a.ravel().tolist())
    a = a.astype(np.float64)
    mean, spread = float(a.mean()), float(a.std())
    if spread <= 1e-9 * abs(mean):  # rounding, here and below
        return f"all {number(mean)}"
    if abs(mean) < 1e-6 * spread:
        mean = 0.0
    return f"{number(mean)} ± {number(spread)}"


def bad_text(a: Array) -> str:
    """ "3 nan, 1 inf", or "" where all is finite."""
    if a.dtype.kind != "f" or np.isfinite(a).all():
        return ""
    counts = {"nan": int(np.isnan(a).sum()), "inf": int(np.isinf(a).sum())}
    return ", ".join(f"{n:,} of {a.size:,} {what}" for what, n in counts.items() if n)
