"""What the step page says about a box, as HTML: what goes in and comes out, what comes back and goes on."""

from __future__ import annotations

from html import escape as escape_markup
from typing import Any

import numpy as np

from minigrad.debug.recording import Array, Recording, norm
from minigrad.engine import Leaf, Node, Tensor
from minigrad.viz.boxes import Box, Edge, Sketch
from minigrad.viz.op_page import argument_names
from minigrad.viz.words import bad_text, count, mean_and_spread, number, op_title, plain, shape_text

FULL = 36  # numbers: up to so many an array is shown in full


def escape(text: str) -> str:
    return escape_markup(plain(text))


def panel(box: Box, s: Sketch, tape: Recording) -> dict[str, Any]:
    """What the page says about one box, in the forward and in the backward half of the walk."""
    op = box.op
    scope = box.call.scope if box.call else op.scope if op else ""
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
    forward = f"<p>{count(len(box.ops), 'op')}: {escape(box.contents)}.</p>"
    came = ""
    for edge in edges:
        came += _array("x", edge.tail.value(tape), f"← {escape(edge.tail.title)}")
    forward += _group("Going in", came) + _group("Coming out", _array("y", tape.values[box.node]))
    if tape.root is None:
        return forward, ""
    grad = tape.grads.get(box.node)
    backward = _group("Coming back", _array("grad_y", grad)) if grad is not None else ""
    backward += _group("Going on", "".join(_going_on(edge) for edge in edges if edge.tail.kind != "input"))
    if box.leaves:
        rows = "".join(_leaf_row(leaf, box, tape) for leaf in box.leaves)
        backward += _group(
            f"Staying here: the gradients of {count(box.n_parameters, 'parameter')}",
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
    shown = _array(box.title, box.value(tape))
    if box.kind == "input":
        told = "<p>Data: it needs no gradient and gets none.</p>"
        if box.cut:
            told = (
                f'<p class="cut">Computed, and taken out of the graph by {box.cut}: no gradient goes further back.</p>'
            )
        return told + shown, told
    assert box.node is not None
    grad = tape.grads.get(box.node)
    forward = "<p>A leaf: the graph begins here, and its gradient is kept.</p>" + shown
    if grad is None:
        return forward, '<p class="cut">The loss did not reach it: its gradient is None.</p>' if tape.root else ""
    return forward, _group("Its gradient, the sum over all its uses", _array("grad", grad))


def _origin(source: Any, given: Any, user: Node) -> str:
    """What an input of an op is called: a leaf by name, another by the op that computed it and where that ran."""
    if isinstance(source, Leaf):
        return escape(source.name or "leaf")
    if isinstance(source, Node):
        where = f" in {escape(source.scope)}" if source.scope != user.scope and source.scope else ""
        return escape(op_title(source)) + where
    return escape(given.name or "") if isinstance(given, Tensor) else ""


def _group(title: str, content: str) -> str:
    return f"<h3>{title}</h3>{content}" if content else ""


def _array(name: str, a: Array | None, origin: str = "") -> str:
    """A small array in full, tinted by size; of a large one the mean, spread, norm, range and a histogram."""
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
    mean, spread = mean_and_spread(finite)
    if spread == 0:
        return f'{head}{bad}<p class="facts">{_facts({"all": mean, "norm": norm(finite)})}</p>'
    told = _facts({"mean": mean, "spread": spread, "norm": norm(finite)})
    low, high = number(float(finite.min())), number(float(finite.max()))
    return f'{head}{bad}<p class="facts">{told}</p><p class="range">{low} {_histogram(finite)} {high}</p>'


def _facts(facts: dict[str, float]) -> str:
    return "".join(f"<span>{key} <b>{number(value)}</b></span>" for key, value in facts.items())


def _table(a: Array) -> str:
    """Rows and columns of a matrix; the numbers one after the other where there are more axes, or rows are long."""
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
