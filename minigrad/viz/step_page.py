"""The step page: one HTML file that walks through a recorded step, forward and then backward: `viz.page(tape, path)`.

Everything is laid out and written into the file ahead: a picture for each module that can be opened, a page of
numbers for each box, formula and code of each op. The script in it (`page.js`) only chooses what to show.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.debug.recording import Array, Recording
from minigrad.engine import Leaf, Node, Tensor
from minigrad.viz import heatmaps, layout
from minigrad.viz.drawing import dot
from minigrad.viz.folding import (
    Box,
    Call,
    Edge,
    Sketch,
    bad_text,
    count,
    history,
    norm,
    number,
    op_title,
    shape_text,
    sketch,
)
from minigrad.viz.op_page import argument_names, op_page

FULL = 36  # numbers: up to so many an array is shown in full
LONGEST_MAP = 128  # tokens: an attention map of more is left out
MOST_HEADS = 8
MOST_MAPS = 4  # beside one module
FILES = ("page.html", "page.css", "page.js")


def page(
    tape: Recording, path: Any, *, tokens: Sequence[str] | str | None = None, title: str = "One step, forward and back"
) -> Path:
    """Write the step page of a recording, and return its path.

    Arguments:
        tape: what `with viz.record() as tape:` gave, best after backward.
        path: a file ending in .html.
        tokens: the labels of attention maps: a list, or a string of one character each.
        title: the heading.

    Where the layout is missing that this takes, the picture's DOT text is written beside and a line printed that says
    what to install. Raises TypeError for what is no recording; ValueError for a recording without a graph or with only
    a part of it, another file ending, or tokens that fit no attention map; OSError where the file cannot be written.
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
        return layout.write(path, page_html(tape, root, tokens, title))
    except layout.NoLayout as missing:
        s = sketch(history(root), lambda call: call.depth < 1, tape)
        return layout.Picture(dot(s, tape)).instead_of(path, missing)


def page_html(tape: Recording, root: Node, tokens: Sequence[str] | str | None, title: str) -> str:
    h = history(root)
    unseen = next((node for node in h.innermost if node not in tape.calls), None)
    if unseen is not None:
        raise ValueError(
            f"{unseen.op} ran outside the recording: put the whole forward pass inside `with viz.record()`"
        )
    maps = {node: m for node in h.innermost if (m := attention_map(node, tape)) is not None}
    if tokens is not None and not any(len(tokens) in m.shape[-2:] for m in maps.values()):
        raise ValueError(f"{len(tokens)} tokens, but no attention map in this recording has as many queries or keys")

    openable = [call for call in h.calls.calls() if call is h.calls or call.only_op is None]
    sketches = [sketch(h, path_to(call).__contains__, tape) for call in openable]
    boxes: dict[Any, tuple[Box, Sketch]] = {}  # what any of the pictures shows, each once
    for s in sketches:
        for box in s.boxes:
            boxes.setdefault(_identity(box), (box, s))
    place = {identity: i for i, identity in enumerate(boxes)}
    data = {
        "backward": tape.root is not None,
        "views": [_view(call, s, tape, openable, place) for call, s in zip(openable, sketches, strict=True)],
        "items": [
            {**_item(box, s, tape), "maps": [i for i, op in enumerate(maps) if op in box.ops][:MOST_MAPS]}
            for box, s in boxes.values()
        ],
        "maps": [_map(node, m, tokens) for node, m in maps.items()],
        "ops": {name: op_page(name) for name in sorted({str(node.op) for node in h.innermost})},
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    files = {name: resources.files("minigrad.viz").joinpath(name).read_text(encoding="utf-8") for name in FILES}
    css = files["page.css"].replace("/* the pictures */", layout.STYLE + heatmaps.STYLE)
    css = css.replace("/* the pictures, dark */", layout.DARK + heatmaps.DARK)
    html = files["page.html"].replace("{{title}}", escape(title)).replace("{{css}}", css)
    html = html.replace("{{js}}", files["page.js"])
    return html.replace("{{data}}", text.replace("</", "<\\/").replace("<!--", "\\u003c!--"))  # it is inside a <script>


def _view(call: Call, s: Sketch, tape: Recording, openable: list[Call], place: dict[Any, int]) -> dict[str, Any]:
    """One picture: with `call` and those around it open."""
    steps = [box for box in s.boxes if box.kind not in ("leaf", "input")]
    return {
        "name": call.scope,
        "parent": openable.index(call.around) if call.around else None,
        "svg": re.sub(r"<style>.*?</style>\n", "", layout.Picture(dot(s, tape)).svg(), flags=re.DOTALL),
        "steps": [box.id for box in steps],
        "inside": [box.id for box in steps if call in path_to(box.around)],
        "items": {box.id: place[_identity(box)] for box in s.boxes},
        "opens": {box.id: openable.index(box.call) for box in s.boxes if box.call in openable},
        "closes": {f"c{i}": openable.index(c.around) for i, c in enumerate(s.opened) if c.around},
        "edges": {edge.id: [edge.tail.id, edge.head.id, edge.state] for edge in s.edges},
    }


def path_to(call: Call) -> set[Call]:
    """The calls that must be open to see into this one."""
    return {call} | (path_to(call.around) if call.around else set())


def _identity(box: Box) -> Any:
    return box.call or box.node or id(box.array)


# --- the numbers beside the picture ------------------------------------------------------------------------------


def _item(box: Box, s: Sketch, tape: Recording) -> dict[str, Any]:
    """What the page says about one box, as HTML, in the forward and in the backward half of the walk."""
    op = box.node if box.call is None else box.call.only_op
    scope = box.call.scope if box.call else op.scope if op is not None and op.op else ""
    item: dict[str, Any] = {"title": escape(box.title), "where": "", "op": None}
    if scope != box.title:
        item["where"] = escape(scope)
    if box.kind in ("leaf", "input"):
        item["forward"], item["backward"] = _leaf(box, tape)
    elif op is not None:
        item["op"] = op.op
        if box.call is not None:
            item["title"] = escape(f"{box.title}: {op_title(op)}")
        item["forward"], item["backward"] = _op(op, tape)
    else:
        item["forward"], item["backward"] = _module(box, s, tape)
    return item


def _op(node: Node, tape: Recording) -> tuple[str, str]:
    names = argument_names(str(node.op), len(node.inputs))
    came = ""
    given = tape.calls[node].args
    for name, source, raw, a in zip(names, node.inputs, given, tape.inputs(node), strict=True):
        if a is not None:
            came += _array(name, np.asarray(a), f"← {origin}" if (origin := _origin(source, raw, node)) else "")
    forward = _group("Going in", came) + _group("Coming out", _array("y", tape.values[node]))
    grad = tape.grads.get(node)
    if grad is None:
        return forward, '<p class="cut">No gradient comes back to this op.</p>' if tape.root is not None else ""
    goes = ""
    for name, source, raw, contribution in zip(names, node.inputs, given, tape.contributions[node], strict=True):
        if not isinstance(source, Node):
            continue
        origin = _origin(source, raw, node)
        if contribution is None:
            goes += f'<p class="cut">Nothing goes back to <b>{escape(name)}</b>, {origin}.</p>'
        elif not contribution.any() and grad.any():
            goes += f'<p class="cut">What goes back to <b>{escape(name)}</b>, {origin}, is exactly 0.</p>'
        else:
            goes += _array(f"grad_{name}", contribution, f"→ {origin}")
    return forward, _group("Coming back", _array("grad_y", grad)) + _group("Going on", goes)


def _module(box: Box, s: Sketch, tape: Recording) -> tuple[str, str]:
    assert box.node is not None
    edges = [edge for edge in s.edges if edge.head is box]
    kinds: dict[str, int] = {}
    for node in box.ops:
        kinds[str(node.op)] = kinds.get(str(node.op), 0) + 1
    contents = ", ".join(name if n == 1 else f"{n} {name}" for name, n in kinds.items())
    parameters = sum(math.prod(leaf.shape) for leaf in box.leaves)
    forward = f"<p>{count(len(box.ops), 'op')}: {escape(contents)}.</p>"
    came = ""
    for edge in edges:
        value = edge.tail.array if edge.tail.kind == "input" else tape.values.get(edge.tail.node)  # type: ignore[arg-type]
        came += _array("x", value, f"← {escape(edge.tail.title)}") if value is not None else ""
    forward += _group("Going in", came) + _group("Coming out", _array("y", tape.values[box.node]))
    if tape.root is None:
        return forward, ""
    grad = tape.grads.get(box.node)
    backward = _group("Coming back", _array("grad_y", grad)) if grad is not None else ""
    backward += _group("Going on", "".join(_going_on(edge) for edge in edges if edge.tail.kind != "input"))
    if box.leaves:
        rows = "".join(_leaf_row(leaf, box, tape) for leaf in box.leaves)
        backward += _group(
            f"Staying here: the gradients of {count(parameters, 'parameter')}",
            f'<div class="wide"><table class="leaves">'
            f"<tr><th>parameter<th>shape<th>norm<th>norm of gradient{rows}</table></div>",
        )
    return forward, backward


def _going_on(edge: Edge) -> str:
    to = f"to <b>{escape(edge.tail.title)}</b>"
    if edge.norm is None:
        return f'<p class="cut">Nothing goes back {to}.</p>'
    if edge.norm == 0:
        return f'<p class="cut">What goes back {to} is exactly 0.</p>'
    return f"<p>{to}: a gradient of norm {number(edge.norm)}</p>"


def _leaf_row(leaf: Leaf, box: Box, tape: Recording) -> str:
    grad = tape.grads.get(leaf)
    user = next(node for node in box.ops if leaf in node.inputs)
    inside = user.scope.removeprefix(box.call.scope if box.call else "").lstrip(".")
    name = ".".join(filter(None, (inside, leaf.name or "leaf")))
    cut = ' class="cut"' if grad is None or not grad.any() else ""
    told = "none" if grad is None else bad_text(grad) or number(norm(grad))
    size = number(norm(tape.values[leaf]))
    return f"<tr><td>{escape(name)}<td>{shape_text(leaf.shape)}<td>{size}<td{cut}>{escape(told)}"


def _leaf(box: Box, tape: Recording) -> tuple[str, str]:
    if box.kind == "input":
        told = "<p>Data: it needs no gradient and gets none.</p>"
        return told + _array(box.title, box.array) if box.array is not None else told, told
    assert box.node is not None
    value, grad = tape.values.get(box.node), tape.grads.get(box.node)
    forward = "<p>A leaf: the graph begins here, and its gradient is kept.</p>"
    forward += _array(box.title, value) if value is not None else ""
    if grad is None:
        return forward, '<p class="cut">The loss did not reach it: its gradient is None.</p>' if tape.root else ""
    return forward, _group("Its gradient, the sum over all its uses", _array("grad", grad))


def _origin(source: Any, given: Any, user: Node) -> str:
    """What an input of an op is called: a leaf, or the op that computed it, with its module if that is another."""
    if isinstance(source, Leaf):
        return escape(source.name or "leaf")
    if isinstance(source, Node):
        where = f" in {escape(source.scope)}" if source.scope != user.scope and source.scope else ""
        return escape(op_title(source)) + where
    return escape(given.name or "") if isinstance(given, Tensor) else ""


def _group(title: str, content: str) -> str:
    return f"<h3>{title}</h3>{content}" if content else ""


def _array(name: str, a: Array | None, origin: str = "") -> str:
    """A small array in full, tinted by size; a large one as mean, spread, norm, range and a histogram."""
    if a is None:
        return ""
    kind = "" if a.dtype.kind == "f" else f" {a.dtype}"
    head = f'<p class="array"><b>{escape(name)}</b> <span>{shape_text(a.shape)}{kind}</span> <span>{origin}</span></p>'
    if a.size == 0:
        return head
    bad = f'<p class="bad">{escape(bad_text(a))}</p>' if bad_text(a) else ""
    if a.size <= FULL:
        return head + bad + _table(a)
    finite = a[np.isfinite(a)].astype(np.float64)
    if finite.size == 0:
        return head + bad
    mean, spread = float(finite.mean()), float(finite.std())
    if spread <= 1e-9 * abs(mean):  # rounding, here and below
        return f'{head}{bad}<p class="facts">{_facts({"all": mean, "norm": norm(finite)})}</p>'
    told = _facts({"mean": 0.0 if abs(mean) < 1e-6 * spread else mean, "spread": spread, "norm": norm(finite)})
    low, high = number(float(finite.min())), number(float(finite.max()))
    return f'{head}{bad}<p class="facts">{told}</p><p class="range">{low} {_histogram(finite)} {high}</p>'


def _facts(facts: dict[str, float]) -> str:
    return "".join(f"<span>{key} <b>{number(value)}</b></span>" for key, value in facts.items())


def _table(a: Array) -> str:
    """Rows and columns as they are; of more than two axes, or with long rows, just one after the other."""
    finite = np.abs(a[np.isfinite(a)].astype(np.float64))
    largest = float(finite.max(initial=0.0)) or 1.0

    def cell(value: float, tag: str) -> str:
        good = np.isfinite(value)
        tint = round(min(abs(value) / largest, 1) * 45) if good else 0
        sign = "nan" if not good else "neg" if value < 0 else "pos"
        return f'<{tag} class="{sign}" style="--t:{tint}%">{number(value)}</{tag}>'

    if a.ndim != 2 or a.shape[1] > 10:
        return f'<div class="numbers row">{"".join(cell(value, "span") for value in a.ravel().tolist())}</div>'
    rows = "".join(f"<tr>{''.join(cell(value, 'td') for value in row)}" for row in a.tolist())
    return f'<div class="wide"><table class="numbers">{rows}</table></div>'


def _histogram(a: Array) -> str:
    """Sixteen bars from the smallest to the largest number."""
    counts, _ = np.histogram(a, 16)
    heights = np.ceil(counts / counts.max() * 22)
    bars = "".join(f"M{i * 6} 24v-{int(height)}h5v{int(height)}z" for i, height in enumerate(heights) if height)
    return f'<svg class="histogram" width="96" height="24" aria-hidden="true"><path d="{bars}"/></svg>'


# --- attention maps ----------------------------------------------------------------------------------------------


def attention_map(node: Node, tape: Recording) -> Array | None:
    """The weights, (n_heads, Tq, Tk) of the first batch entry, if this op makes or uses some; else None."""
    w = tape.weights(node)
    if w is None or w.ndim < 2 or max(w.shape[-2:]) > LONGEST_MAP or w.size == 0:
        return None
    first: Array = w.reshape(-1, *w.shape[-3:])[0]
    return first[None] if first.ndim == 2 else first[:MOST_HEADS]


def _map(node: Node, w: Array, tokens: Sequence[str] | str | None) -> str:
    queries, keys = (tokens if tokens is not None and len(tokens) == n else None for n in w.shape[-2:])
    picture = heatmaps.heatmap(w, queries, keys).svg
    where = f" in {escape(node.scope)}" if node.scope else ""
    return f"<h3>Weights{where}</h3>" + re.sub(r"<style>.*?</style>", "", picture, flags=re.DOTALL)
