"""A computation graph as text, for terminals: `print(viz.tree(loss))`."""

from __future__ import annotations

from minigrad.debug.recording import Recording
from minigrad.engine import Leaf, Node, Tensor
from minigrad.viz.boxes import Box, Edge, Sketch, sketch_of
from minigrad.viz.drawing import box_lines
from minigrad.viz.history import Call
from minigrad.viz.words import letters, plain, shape_text, shortened

WIDE = 32  # letters: a longer name is cut, and a longer cell pushes only its own row to the right


def tree(t: Tensor, depth: int = 1, *, tape: Recording | None = None, fold_loops: bool = True) -> str:
    """What `t` was computed from: a line for each op or folded module, in the order they ran. Modules are indented.

        a          3       leaf
        b          3       input
        1 mul      3       ← a, b
        2 sum      scalar  ← 1

    Arguments:
        depth: how many levels of modules are opened, as in `graph`.
        tape: a recording of this step. It adds values and gradients, and marks where the gradient is exactly 0.
        fold_loops: a line for ops that ran again and again, "tanh, add × 60", as in `graph`.

    Raises ValueError for a Tensor without a graph, or a recording whose last backward pass started elsewhere.
    """
    s = sketch_of(t, depth, tape, fold_loops)
    names = _names(s)
    incoming: dict[Box, list[Edge]] = {box: [] for box in s.boxes}
    for edge in s.edges:
        incoming[edge.head].append(edge)
    row_of = {box: _row(box, incoming[box], names, tape) for box in s.boxes}
    rows = [row_of[box] for box in s.boxes if box.kind in ("leaf", "input")]
    rows += _rows(s.calls, _by_item(s), row_of, "")
    widths = [max((w for row in rows if (w := letters(row[i])) <= WIDE), default=0) for i in range(3)]
    lines = ["  ".join([*map(_padded, row[:3], widths), row[3]]) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - letters(cell))


def _names(s: Sketch) -> dict[Box, str]:
    """Leaves and inputs by name (the second "weight" is weight′), the others by number."""
    names: dict[Box, str] = {}
    taken: set[str] = set()
    number = 0
    for box in s.boxes:
        if box.kind in ("leaf", "input"):
            name = shortened(plain(box.title), WIDE)
            while name in taken:
                name += "′"
            taken.add(name)
            names[box] = name
        else:
            number += 1
            names[box] = str(number)
    return names


def _by_item(s: Sketch) -> dict[Node | Call, Box]:
    by_item: dict[Node | Call, Box] = {}
    for box in s.boxes:
        if box.call is not None:
            by_item[box.call] = box
        elif box.node is not None and not isinstance(box.node, Leaf):
            by_item[box.node] = box
    return by_item


def _rows(call: Call, by_item: dict[Node | Call, Box], row_of: dict[Box, list[str]], indent: str) -> list[list[str]]:
    rows = []
    for item in call.items:
        if item in by_item:
            row = row_of[by_item[item]]
            rows.append([indent + row[0], *row[1:]])
        elif isinstance(item, Call):
            rows.append([f"{indent}{plain(item.name)}:", "", "", ""])
            rows += _rows(item, by_item, row_of, indent + "  ")
    return rows


def _row(box: Box, incoming: list[Edge], names: dict[Box, str], tape: Recording | None) -> list[str]:
    """Title, shape, where it comes from, and the lines a picture would have."""
    shape = shape_text(box.shape)
    lines = [line.removesuffix(f" · {shape}") for line in box_lines(box, tape) if line != shape]
    if box.kind in ("leaf", "input"):
        return [names[box], shape, "" if box.title == box.kind else box.kind, "  ".join(lines)]
    cut = {"zero": " (∇ exactly 0)", "unreached": " (no ∇)", "": ""}
    sources = ", ".join(names[edge.tail] + (f" ({edge.cut})" if edge.cut else cut[edge.state]) for edge in incoming)
    return [f"{names[box]} {plain(box.title)}", shape, f"← {sources}" if sources else "", "  ".join(lines)]
