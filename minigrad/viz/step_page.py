"""The step page: one HTML file that walks through a recorded step, forward and then backward: `viz.page(tape, path)`.

Everything is made and written into the file beforehand: a picture for each module that can be opened, a panel of
numbers for each box (`panel.py`), formula and code of each op (`op_page.py`). The script in it (`page.js`) only chooses
what to show.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from minigrad.debug.recording import Array, Recording
from minigrad.engine import Node
from minigrad.viz import heatmaps, layout
from minigrad.viz.attention_lines import lines
from minigrad.viz.boxes import Box, Sketch, sketch
from minigrad.viz.drawing import dot
from minigrad.viz.history import Call, history
from minigrad.viz.notebook import Page
from minigrad.viz.op_page import op_page
from minigrad.viz.panel import panel
from minigrad.viz.repeats import collapse
from minigrad.viz.words import plain

LONGEST_MAP = 128  # tokens: a longer attention map is left out
MOST_HEADS = 8
MOST_MAPS = 4  # beside one module
PANEL = 470  # pixels: about what the panel has for a map
FILES = ("page.html", "page.css", "page_lines.js", "page.js")


def page(
    tape: Recording, path: Any, *, tokens: Sequence[str] | str | None = None, title: str = "One step, forward and back"
) -> Path:
    """Write the step page of a recording, and return its path; a notebook shows the page itself.

    Arguments:
        tape: what `with viz.record() as tape:` gave, best after backward.
        path: a file ending in .html.
        tokens: the labels of attention maps: a list, or a string of one character each.
        title: the heading.

    Where nothing is installed that can lay out pictures, the picture's DOT text is written instead, and a printed line
    says what to install. Raises TypeError if `tape` is not a recording; ValueError for a recording without a graph or
    with only a part of it, another file ending, or tokens that fit no attention map; OSError where the file cannot be
    written.
    """
    if not isinstance(tape, Recording):
        raise TypeError(f"page takes a recording (with viz.record() as tape: ...), not a {type(tape).__name__}")
    path = Path(path)
    if path.suffix.lower() != ".html":
        raise ValueError(f"the step page is saved as .html, not {path.name!r}")
    root = tape.newest()
    if root is None:
        raise ValueError("nothing to show: no op that needs a gradient ran inside `with viz.record() as tape:`")
    try:
        return Page(layout.write(path, page_html(tape, root, tokens, title)))
    except layout.NoLayout as missing:
        s = sketch(history(root), lambda call: call.depth < 1, tape)
        return layout.Picture(dot(s, tape)).instead_of(path, missing)


def page_html(tape: Recording, root: Node, tokens: Sequence[str] | str | None, title: str) -> str:
    h = collapse(history(root))
    unseen = next((node for node in h.innermost if node not in tape.calls), None)
    if unseen is not None:
        raise ValueError(
            f"{unseen.op} ran outside the recording: put the whole forward pass inside `with viz.record()`"
        )
    maps = {node: m for node in h.innermost if (m := attention_map(node, tape)) is not None}
    if tokens is not None and not any(len(tokens) in m.shape[-2:] for m in maps.values()):
        raise ValueError(f"{len(tokens)} tokens, but no attention map in this recording has as many queries or keys")

    calls = [call for call in h.calls.calls() if all(c.times == 1 for c in call.path)]  # a loop stays folded
    openable = [call for call in calls if call is h.calls or call.only_op is None]
    sketches = [sketch(h, call.path.__contains__, tape) for call in openable]
    boxes: dict[Any, tuple[Box, Sketch]] = {}  # each box that any of the pictures shows, once
    for s in sketches:
        for box in s.boxes:
            boxes.setdefault(_identity(box), (box, s))
    place = {identity: i for i, identity in enumerate(boxes)}
    data = {
        "backward": tape.root is not None,
        "views": [_view(call, s, tape, openable, place) for call, s in zip(openable, sketches, strict=True)],
        "items": [
            {**panel(box, s, tape), "maps": [i for i, op in enumerate(maps) if op in box.ops][:MOST_MAPS]}
            for box, s in boxes.values()
        ],
        "maps": [_map(node, m, tokens) for node, m in maps.items()],
        "lines": [lines(node, m, tape, *_labels(m, tokens)) for node, m in maps.items()],
        "ops": {name: op_page(name) for name in sorted({str(node.op) for node in h.innermost})},
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    files = {name: resources.files("minigrad.viz").joinpath(name).read_text(encoding="utf-8") for name in FILES}
    css = files["page.css"].replace("/* the pictures */", layout.STYLE + heatmaps.STYLE)
    css = css.replace("/* the pictures, dark */", layout.DARK + heatmaps.DARK)
    js = files["page.js"].replace("// The lines of attention.\n", files["page_lines.js"])
    parts = {"title": escape(plain(title)), "css": css, "js": js, "data": layout.script_data(text)}
    return layout.fill(files["page.html"], parts)


def _view(call: Call, s: Sketch, tape: Recording, openable: list[Call], place: dict[Any, int]) -> dict[str, Any]:
    """One picture: with `call` and those around it open."""
    steps = [box for box in s.boxes if box.kind not in ("leaf", "input")]
    return {
        "name": plain(call.scope),
        "parent": openable.index(call.around) if call.around else None,
        "svg": re.sub(r"<style>.*?</style>\n", "", layout.Picture(dot(s, tape)).svg(), flags=re.DOTALL),
        "steps": [box.id for box in steps],
        "inside": [box.id for box in steps if call in box.around.path],
        "items": {box.id: place[_identity(box)] for box in s.boxes},
        "opens": {box.id: openable.index(box.call) for box in s.boxes if box.call in openable},
        "closes": {f"c{i}": openable.index(c.around) for i, c in enumerate(s.opened) if c.around},
        "edges": {edge.id: [edge.tail.id, edge.head.id, edge.state] for edge in s.edges},
    }


def _identity(box: Box) -> Any:
    return box.call or box.node or id(box.array)


def attention_map(node: Node, tape: Recording) -> Array | None:
    """The weights, (n_heads, Tq, Tk) of the first batch entry, if this op makes or uses some; else None."""
    w = tape.weights(node, longest=LONGEST_MAP)
    if w is None or w.ndim < 2 or max(w.shape[-2:]) > LONGEST_MAP or w.size == 0:
        return None
    first: Array = w.reshape(-1, *w.shape[-3:])[0]
    return first[None] if first.ndim == 2 else first[:MOST_HEADS]


def _labels(w: Array, tokens: Sequence[str] | str | None) -> list[Sequence[str] | str | None]:
    """The tokens as labels of queries and of keys, each where there are as many."""
    return [tokens if tokens is not None and len(tokens) == n else None for n in w.shape[-2:]]


def _map(node: Node, w: Array, tokens: Sequence[str] | str | None) -> str:
    picture = heatmaps.heatmap(w, *_labels(w, tokens), width=PANEL).svg
    where = f" in {escape(plain(node.scope))}" if node.scope else ""
    return f"<h3>Weights{where}</h3>" + re.sub(r"<style>.*?</style>", "", picture, flags=re.DOTALL)
