"""How things look in a notebook: a page inside the page, a recording as a table and a picture."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from minigrad.debug.recording import Recording, norm
from minigrad.engine import Leaf
from minigrad.viz.boxes import sketch
from minigrad.viz.drawing import MANY, dot
from minigrad.viz.history import history
from minigrad.viz.layout import NoLayout, Picture
from minigrad.viz.repeats import collapse
from minigrad.viz.words import bad_text, count, number, plain, shape_text

MOST = 20  # leaves in the table of a recording


class Page(type(Path())):  # type: ignore[misc]  # PosixPath or WindowsPath
    """The path of a page that was written. A notebook shows the page itself."""

    def _repr_html_(self) -> str:
        html = escape(self.read_text(encoding="utf-8"), quote=True)
        style = "width: 100%; height: 720px; border: 1px solid #8793a0; border-radius: 8px"
        return f'<iframe title="{escape(self.name)}" style="{style}" srcdoc="{html}"></iframe>'


def told(tape: Recording) -> str:
    """A recording in a line."""
    root = tape.newest()
    if root is None:
        return "<recording: nothing that needs a gradient ran in it>"
    ops = count(len(tape.calls), "op")
    result = f", {root.op} = {number(float(tape.values[root].ravel()[0]))}" if tape.values[root].size == 1 else ""
    passes = count(tape.passes, "backward pass").replace("passs", "passes")
    return f"<recording of {ops}{result}, {passes}>"


def html_of(tape: Recording) -> str:
    """What was recorded: the graph with modules folded, and a table of the leaves and their gradients."""
    root = tape.newest()
    if root is None:
        return f"<p>{escape(told(tape))}</p>"
    picture = ""
    h = collapse(history(root))
    if all(node in tape.calls for node in h.innermost):
        s = sketch(h, lambda call: call.depth < 1, tape)
        try:
            picture = Picture(dot(s, tape)).svg() if len(s.boxes) <= MANY else ""
        except NoLayout:
            picture = ""
    return f"<p>{escape(told(tape)[1:-1])}</p>{picture}{_leaves(tape, [n for n in h.nodes if isinstance(n, Leaf)])}"


def _leaves(tape: Recording, leaves: list[Leaf]) -> str:
    """A row for each leaf: shape, norm, and norm of its gradient; red where that is exactly 0 or none."""
    rows = ""
    for leaf in leaves[:MOST]:
        grad = tape.grads.get(leaf)
        cut = grad is None or not np.any(grad)
        said = "none" if grad is None else bad_text(grad) or ("exactly 0" if cut else number(norm(grad)))
        cells = (plain(leaf.name or "leaf"), shape_text(leaf.shape), number(norm(tape.values[leaf])), said)
        color = ' style="color: #c92a1b"' if cut and tape.passes else ""
        rows += "<tr>" + "".join(f"<td{color}>{escape(cell)}</td>" for cell in cells) + "</tr>"
    if len(leaves) > MOST:
        rows += f"<tr><td>and {len(leaves) - MOST} more</td></tr>"
    head = "".join(f"<th>{name}</th>" for name in ("leaf", "shape", "norm", "norm of gradient"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
