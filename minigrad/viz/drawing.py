"""A computation graph as a picture: `viz.graph(loss)`.

It runs from top to bottom. An op and its output are one box, an opened module is a frame, a folded module is one box.
The picture is written in DOT, the language of Graphviz; `layout.py` turns that into SVG.
"""

from __future__ import annotations

from minigrad.debug.recording import Array, Recording, norm
from minigrad.engine import Tensor
from minigrad.viz.boxes import Box, Edge, Sketch, sketch_of
from minigrad.viz.history import Call
from minigrad.viz.layout import Picture
from minigrad.viz.words import bad_text, count, letters, number, plain, shape_text, shortened, values_text

# fill, line
COLORS = {
    "op": ("#ffffff", "#7b8794"),
    "module": ("#fff4d6", "#c08a12"),
    "leaf": ("#dcf3e0", "#3c8d40"),
    "input": ("#e1edfd", "#2f6fb5"),
    "loss": ("#ffe0db", "#c0392b"),
}
FRAMES = ["#f7f9fb", "#eef2f6", "#e5ebf1", "#dce4ec"]  # the deeper, the darker
TEXT, MUTED, EDGE, CUT = "#1f2933", "#52606d", "#8793a0", "#d62f1f"

MOVES = {"reshape", "transpose", "swapaxes", "broadcast_to"}  # the numbers are those of the box before

# Verdana, because its letters are equally wide in every layout engine. In Helvetica, text spills over the boxes.
HEAD = f"""\
digraph {{
  graph [rankdir=DIRECTION nodesep=0.25 ranksep=0.3 fontname=Verdana fontsize=10 bgcolor=white pad=0.15]
  node [shape=box style="rounded,filled" fontname=Verdana fontsize=10 fontcolor="{TEXT}" margin="0.14,0.07" \
height=0.3 width=0.3 penwidth=1.1]
  edge [color="{EDGE}" arrowsize=0.6 penwidth=1.1]
"""


LONG = 48  # letters: a longer title is cut; the whole one shows on pointing at the box
MANY = 80  # boxes: a picture of more tells how to get fewer


def graph(
    t: Tensor,
    depth: int = 1,
    *,
    tape: Recording | None = None,
    direction: str = "TB",
    fold_loops: bool = True,
) -> Picture:
    """Draw what `t` was computed from. A notebook shows the result by itself; `.save("g.svg")` writes it.

    Arguments:
        depth: how many levels of modules are opened: 1 draws every module called by the outermost one as a single
            box, 2 opens those, and so on.
        tape: a recording (`with viz.record() as tape:`) of the step that computed t, after backward. The boxes then
            show values (up to four in full, else mean ± standard deviation) and ∇, the gradient or its norm. An edge
            is red and dashed where the gradient going back is exactly 0, grey and dotted where none ever came. Where
            detach(), .numpy() or no_grad() took numbers out of the graph, a red dotted line bears that name.
            A folded module is framed red if an op in it sends back nothing but zeros, and names that op.
        direction: "TB" from top to bottom, "LR" from left to right.
        fold_loops: draw ops that ran again and again as one box, "tanh, add × 60".

    Raises ValueError for a Tensor without a graph, or a recording whose last backward pass started elsewhere.
    """
    if direction not in ("TB", "LR"):
        raise ValueError(f"direction is 'TB' (top to bottom) or 'LR' (left to right), not {direction!r}")
    s = sketch_of(t, depth, tape, fold_loops)
    return Picture(dot(s, tape, direction, hint=_hint(s, depth, fold_loops)))


def _hint(s: Sketch, depth: int, fold_loops: bool) -> str:
    """How to get a smaller picture, where it is too large to read; else ""."""
    if len(s.boxes) <= MANY:
        return ""
    way = f"depth={depth - 1} folds more of them" if depth > 1 else "a Module is drawn as one box, plain ops are not"
    return f"{len(s.boxes)} boxes: {way if fold_loops else 'fold_loops=True draws a loop as one box'}."


def dot(s: Sketch, tape: Recording | None = None, direction: str = "TB", hint: str = "") -> str:
    """The text of the picture. The same graph gives the same text."""
    lines = [HEAD.replace("DIRECTION", direction)]
    if hint:
        lines.append(f'  graph [label={_quote([hint])} labelloc=t labeljust=l fontsize=12 fontcolor="{MUTED}"]')
    inside: dict[Call, list[Box]] = {call: [] for call in s.opened}
    for box in s.boxes:
        inside[box.around].append(box)
    # Inputs from left to right, as in the code. Not for leaves and data: they go wherever there is room.
    tails: dict[Box, list[Box]] = {}
    for edge in s.edges:
        tails.setdefault(edge.head, []).append(edge.tail)
    ordered = {h for h, ts in tails.items() if len(ts) > 1 and all(t.kind in ("op", "module") for t in ts)}
    frame_id = {call: i for i, call in enumerate(s.opened)}

    def write(call: Call, indent: str) -> None:
        for box in inside[call]:
            lines.append(indent + _box(box, tape, box in ordered))
        for inner in s.opened:
            if inner.around is call:
                fill = FRAMES[min(inner.depth - 1, len(FRAMES) - 1)]
                lines.append(f"{indent}subgraph cluster_{frame_id[inner]} {{")
                lines.append(
                    f"{indent}  graph [id=c{frame_id[inner]} class=frame label={_quote([inner.name])} labeljust=l "
                    f'style="rounded,filled" fontsize=11 fontcolor="{MUTED}" color="#b8c2cc" fillcolor="{fill}" '
                    f"margin=9]"
                )
                write(inner, indent + "  ")
                lines.append(indent + "}")

    write(s.calls, "  ")
    lines += ["  " + _edge(edge) for edge in s.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _box(box: Box, tape: Recording | None, ordered: bool) -> str:
    title = shortened(box.title, LONG)
    label = [title, *box_lines(box, tape)]
    fill, line = COLORS[box.kind]
    kind = box.kind
    if box_is_bad(box, tape):
        kind, fill, line = f"{kind} bad", "#ffd6f5", "#b0008e"
    elif box.silent or box.cut:
        kind, line = f"{kind} silent", CUT
    width = 0.098 * letters(title) + 0.24  # layout engines measure the title as if it were not bold
    tooltip = f" tooltip={_quote(tooltip_of(box))}"
    return (
        f'{box.id} [id={box.id} class="{kind}" label={_quote(label)} width={width:.2f} '
        f'fillcolor="{fill}" color="{line}"{tooltip}{" ordering=in" if ordered else ""}]'
    )


def box_lines(box: Box, tape: Recording | None) -> list[str]:
    """What stands below the title."""
    lines = []
    shape = shape_text(box.shape)
    value = box.value(tape)
    if box.call is not None and box.op is not None:
        lines.append(f"{box.op.op} · {shape}")
    elif value is None or box.shape != ():
        lines.append(shape)
    if box.call is not None:
        ops = count(len(box.ops), "op") if box.op is None else ""
        parameters = count(box.n_parameters, "parameter") if box.leaves else ""
        lines += [" · ".join(filter(None, (ops, parameters)))] if ops or parameters else []
    if box.silent:
        silent = ", ".join(how for how in box.silent if not how.endswith(")"))
        cut = ", ".join(how for how in box.silent if how.endswith(")"))
        lines += [f"{silent}: ∇ exactly 0"] * bool(silent) + [f"cut by {cut}"] * bool(cut)
    if box.cut:
        lines.append(f"cut by {box.cut}")
    if value is not None:
        moved = box.node is not None and box.node.op in MOVES
        text = bad_text(value) or ("" if moved or box.call is not None else values_text(value))
        lines += [text] if text else []
    if tape is not None and tape.root is not None and box.node is not None:
        grad = tape.grads.get(box.node)
        lines.append("no ∇" if grad is None else f"∇ {gradient_text(grad)}")
    return lines


def box_is_bad(box: Box, tape: Recording | None) -> bool:
    grad = tape.grads.get(box.node) if tape is not None and box.node is not None else None
    return any(a is not None and bad_text(a) for a in (box.value(tape), grad))


def gradient_text(grad: Array) -> str:
    """Up to four numbers in full, else the norm."""
    return bad_text(grad) or (values_text(grad) if grad.size <= 4 else number(norm(grad)))


def tooltip_of(box: Box) -> list[str]:
    """What a browser shows on pointing at a box: where it is, and what is folded in it."""
    scope = box.call.scope if box.call else box.node.scope if box.node and box.node.op else ""
    lines = [f"{box.title}, in {scope}" if scope and not box.call else scope or box.title]
    if box.call is not None:
        lines.append(box.contents)
    return lines


def _edge(edge: Edge) -> str:
    style = {
        "": "",
        "zero": f' class=zero style=dashed color="{CUT}" penwidth=1.6',
        "unreached": ' class=unreached style=dotted color="#a9b4c0"',
        "cut": f' class=cut style=dotted color="{CUT}" penwidth=1.6 fontname=Verdana fontsize=9 fontcolor="{CUT}"'
        f" label={_quote([f' {edge.cut}'])}",
    }[edge.state]
    told = {
        "": "",
        "zero": "the gradient going back here is exactly 0",
        "unreached": "no gradient comes back here",
        "cut": f"{edge.cut} took the numbers out of the graph: no gradient comes back here",
    }
    text = told[edge.state] or (f"gradient going back: norm {number(edge.norm)}" if edge.norm is not None else "")
    tooltip = f" tooltip={_quote([text])}" if text else ""
    return f"{edge.tail.id} -> {edge.head.id} [id={edge.id}{style}{tooltip}]"


def _quote(lines: list[str]) -> str:
    """A DOT string of several centered lines. Graphviz reads entities such as &lt; in it, so & is one, too."""
    signs = {"\\": "\\\\", '"': '\\"', "&": "&amp;"}
    return '"' + "\\n".join("".join(signs.get(c, c) for c in plain(line)) for line in lines) + '"'
