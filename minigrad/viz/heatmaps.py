"""Attention weights as a picture: `viz.heatmap(weights, "my grandmother bakes".split())`."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minigrad.debug.recording import Array
from minigrad.engine import Tensor
from minigrad.viz.layout import write
from minigrad.viz.words import letters, number, plain, shortened, token_text

INK, NEGATIVE, NAN, QUIET = (20, 82, 148), (200, 90, 0), (214, 0, 160), (104, 112, 120)  # opaque for vmax
LETTER = 6.4  # pixels: about the width of a letter in the labels
FEW = 40 * 40  # up to so many squares are drawn one by one
GAP = 22  # pixels between heads
LONG = 60  # more tokens than this are not all named
LINE = 46  # letters that the line which tells a row's weights has at least
# Every rule names the picture's class: a notebook puts several pictures, and their styles, into one page.
STYLE = """
.heatmap text { font: 11px Verdana, "DejaVu Sans", Geneva, sans-serif; fill: #3b4652 }
.heatmap .head { font-weight: bold } .heatmap .note { fill: #6b7683 } .heatmap .paper { fill: #ffffff }
.heatmap .map { fill: #f2f5f8; stroke: #d3dae1 } .heatmap .lines { fill: none; stroke: #d3dae1 }
.heatmap .told { display: none } .heatmap .row:is(:hover, :focus) .told { display: inline }
.heatmap .row { outline: none } .heatmap .frame { fill: none; stroke: none }
.heatmap .row:focus .frame { stroke: #d9480f; stroke-width: 2 }
"""
DARK = """
.heatmap text { fill: #c4ced8 } .heatmap .note { fill: #9aa7b4 } .heatmap .paper { fill: #12161b }
.heatmap .map { fill: #1d242b; stroke: #36404a } .heatmap .lines { stroke: #36404a }
.heatmap .squares { filter: brightness(1.9) saturate(1.1) } .heatmap .row:focus .frame { stroke: #ffc078 }
"""


class Heatmap:
    """A picture that notebooks show by themselves; `.svg` is its text, `.save("map.svg")` writes it."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: Any) -> Path:
        """Write it to a file ending in .svg. Raises ValueError for another, OSError where it can't be written."""
        path = Path(path)
        if path.suffix.lower() != ".svg":
            raise ValueError(f"a heat map is saved as .svg, not {path.name!r}")
        return write(path, self.svg)


def heatmap(
    weights: ArrayLike | Tensor,
    queries: Sequence[str] | str | None = None,
    keys: Sequence[str] | str | None = None,
    *,
    title: str | None = None,
    titles: Sequence[str] | None = None,
    vmax: float | None = 1.0,
    quiet: Collection[str] = (),
    width: float = 900,
) -> Heatmap:
    """Draw who attends to what: a row for each query, a column for each key, a stronger color for a larger weight.

    Arguments:
        weights: (Tq, Tk), or (n_heads, Tq, Tk) for one map a head. Of a batch (B, n_heads, Tq, Tk) take one entry.
        queries: the tokens of the rows: a list of strings (or of anything that str() takes), or a string of one
            character each. None: no labels.
        keys: the tokens of the columns. If left out, they are the queries, where Tq = Tk.
        title: written above.
        titles: written above each map; if left out, "head 0", "head 1", ... where there are several.
        vmax: the weight that gets the full color, and all above it. None: the largest one there is. With the same
            vmax, two pictures can be compared: a weight of 1/6 is as pale in both.
        quiet: tokens, such as "[CLS]", whose rows and columns are grey.
        width: pixels; heads that would make the picture wider go on the next row.

    Up to 60 tokens are all named, and the squares are larger the fewer there are. Of more tokens only every few are
    named, and color grows with the square root of a weight, since many small weights would be too pale to see. All
    heads share one scale, the bar below. nan is pink, a negative weight orange. Where squares are drawn one by one, a
    row tells its weights when it is pointed at, touched or reached by the tab key.

    Raises ValueError where the number of tokens or titles does not match the weights, or vmax is not above 0.
    """
    w, rows, columns = _checked(weights, queries, keys)
    if titles is not None and len(titles) != len(w):
        raise ValueError(f"{len(titles)} titles for {len(w)} map{'s' * (len(w) > 1)}")
    if vmax is not None and not 0 < vmax < math.inf:
        raise ValueError(f"vmax is the weight that gets the full color, above 0, not {vmax}")
    if titles is None:
        titles = [f"head {h}" for h in range(len(w))] if len(w) > 1 else []
    scale = vmax or _strongest(w) or 1.0
    return Heatmap(_svg(w, rows, columns, title, titles, scale, {str(token) for token in quiet}, width))


def _strongest(w: Array) -> float:
    return float(np.nanmax(np.abs(w), initial=0.0, where=np.isfinite(w)))


def _checked(
    weights: ArrayLike | Tensor, queries: Sequence[Any] | None, keys: Sequence[Any] | None
) -> tuple[Array, list[str] | None, list[str] | None]:
    """Weights (n_heads, Tq, Tk) in float64, and as many tokens as there are queries and keys."""
    w = np.asarray(weights.data if isinstance(weights, Tensor) else weights, dtype=np.float64)
    if w.ndim == 2:
        w = w[None]
    if w.ndim != 3 or 0 in w.shape:
        raise ValueError(
            f"heatmap takes weights (Tq, Tk) or (n_heads, Tq, Tk), not shape {w.shape}: of a batch take one, weights[0]"
        )
    if keys is None and w.shape[1] == w.shape[2]:
        keys = queries
    for what, tokens, n in (("queries", queries, w.shape[1]), ("keys", keys, w.shape[2])):
        if tokens is not None and len(tokens) != n:
            raise ValueError(f"{len(tokens)} tokens for {n} {what}: weights have shape {w.shape[-2:]}")
    rows, columns = (None if tokens is None else [str(token) for token in tokens] for tokens in (queries, keys))
    return w, rows, columns


def _svg(
    w: Array,
    queries: list[str] | None,
    keys: list[str] | None,
    title: str | None,
    titles: Sequence[str],
    scale: float,
    quiet: set[str],
    wide: float,
) -> str:
    n_heads, n_queries, n_keys = w.shape
    cell = _cell(max(n_queries, n_keys))
    left = 8 + _room(queries)
    above = _room(keys) + (16 if titles else 0)
    map_width, map_height = n_keys * cell, n_queries * cell
    per_row = max(1, min(n_heads, math.floor((wide - left + 8 + GAP) / (map_width + GAP))))
    n_rows = math.ceil(n_heads / per_row)
    per_row = math.ceil(n_heads / n_rows)  # 4 heads are 2 and 2, not 3 and 1
    top = 24 if title else 8
    bottom = top + n_rows * (map_height + above + GAP) - 8
    one_by_one = w.size <= FEW
    note = f"strongest: {number(_strongest(w))}{', color by square root' if n_keys > LONG else ''}"
    width = max(8 + left + per_row * (map_width + GAP) - GAP, left + 160 + LETTER * len(note))
    width = max(width, left + LETTER * LINE) if one_by_one else width

    out = [f'<text class="head" x="8" y="16">{escape(plain(title))}</text>'] if title else []
    for h in range(n_heads):
        row, column = divmod(h, per_row)
        x = left + column * (map_width + GAP)
        y = top + above + row * (map_height + above + GAP)
        out.append(f'<g transform="translate({x:g} {y:g})">')
        if titles:
            name = escape(shortened(plain(titles[h]), max(4, int(map_width / LETTER))))
            out.append(f'<text class="head" x="0" y="{-above + 10:g}">{name}</text>')
        if column == 0:
            out += _labels(queries, cell, False, quiet)
        out += _labels(keys, cell, True, quiet)
        told_at = (left - x, bottom + 34 - y)  # below all maps
        out += (
            _rows(w[h], scale, cell, queries, keys, quiet, told_at, int((width - left) / LETTER))
            if one_by_one
            else _image(w[h], scale, cell)
        )
        out.append("</g>")
    out += _bar(left, bottom, scale, note, n_keys > LONG)
    height = bottom + (40 if one_by_one else 22)
    return _whole(out, width, height, "group" if one_by_one else "img", _said(w, queries, keys))


def _whole(parts: list[str], width: float, height: float, role: str, said: str) -> str:
    style = f"<style>{STYLE}@media (prefers-color-scheme: dark) {{{DARK}}}</style>"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="heatmap" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="{role}" aria-label="{said}">{style}\n'
        f'<rect class="paper" width="100%" height="100%"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _bar(left: float, y: float, scale: float, note: str, by_root: bool) -> list[str]:
    """What the colors mean, from 0 to the full color, and the strongest weight there is."""
    red, green, blue = INK
    out = [f'<text class="note" x="{left:g}" y="{y + 13:g}">0</text>', '<g class="squares">']
    for i in range(20):
        part = math.sqrt((i + 0.5) / 20) if by_root else (i + 0.5) / 20
        out.append(
            f'<path d="M{left + 12 + 4 * i:g} {y + 4:g}h4v10h-4z" fill="rgb({red},{green},{blue})" '
            f'fill-opacity="{part:.2g}"/>'
        )
    end = left + 12 + 80 + 5
    text = number(scale)
    out += ["</g>", f'<text class="note" x="{end:g}" y="{y + 13:g}">{text}</text>']
    return [*out, f'<text class="note" x="{end + LETTER * len(text) + 16:g}" y="{y + 13:g}">{note}</text>']


def _cell(n: int) -> float:
    """The side of a square, in pixels: large for few, never below 1."""
    return 26 if n <= 10 else 20 if n <= 20 else 14 if n <= LONG else max(1.0, 840 / n)


def _room(tokens: list[str] | None) -> float:
    return 0 if tokens is None else 10 + LETTER * max(letters(token_text(token)) for token in tokens)


def _labels(tokens: list[str] | None, cell: float, columns: bool, quiet: set[str]) -> list[str]:
    if tokens is None:
        return []
    step = math.ceil(13 / cell)  # a label takes 13 pixels
    narrow = columns and all(letters(token_text(token)) <= cell / 9 for token in tokens)  # fits without being turned
    out = []
    for i in range(0, len(tokens), step):
        middle = i * cell + cell / 2
        text = escape(token_text(tokens[i]))
        kind = ' class="note"' if tokens[i] in quiet else ""
        if not columns:
            out.append(f'<text{kind} x="-6" y="{middle + 4:g}" text-anchor="end">{text}</text>')
        elif narrow:
            out.append(f'<text{kind} x="{middle:g}" y="-6" text-anchor="middle">{text}</text>')
        else:
            out.append(f'<text{kind} transform="translate({middle + 4:g} -6) rotate(-90)">{text}</text>')
    return out


def _dark(w: Array, scale: float) -> Array:
    """The share of the full color; for long inputs its square root."""
    return np.sign(w) * np.sqrt(np.abs(w) / scale) if w.shape[-1] > LONG else w / scale


def _image(w: Array, scale: float, cell: float) -> list[str]:
    """Many squares are an image, to save space."""
    size = f'width="{w.shape[1] * cell:g}" height="{w.shape[0] * cell:g}"'
    data = base64.b64encode(_png(_dark(w, scale))).decode()
    return [
        f'<rect class="map" {size}/>',
        f'<image class="squares" {size} style="image-rendering: pixelated" href="data:image/png;base64,{data}"/>',
    ]


def _rows(
    w: Array,
    scale: float,
    cell: float,
    queries: list[str] | None,
    keys: list[str] | None,
    quiet: set[str],
    told_at: tuple[float, float],
    line: int,
) -> list[str]:
    """Few squares are drawn one by one: each tells its weight when pointed at, and a row when it has the focus."""
    n_queries, n_keys = w.shape
    width, height = n_keys * cell, n_queries * cell
    dark = _dark(w, scale)
    out = [f'<rect class="map" width="{width:g}" height="{height:g}"/>']
    for i in range(n_queries):
        query = _name(queries, i, "query")
        parts = [
            f"{_name(keys, int(j), 'key')} {number(float(w[i, j]))}"
            for j in np.argsort(-w[i], kind="stable")
            if w[i, j] != 0
        ]
        said = escape(f"{query} attends to {', '.join(parts)}", quote=True)
        frame = f'<rect class="frame" y="{i * cell:g}" width="{width:g}" height="{cell:g}" pointer-events="all"/>'
        out.append(f'<g class="row" tabindex="0" role="img" aria-label="{said}">{frame}<g class="squares">')
        for j in range(n_keys):
            if w[i, j] == 0:
                continue
            red, green, blue, opacity = _color(float(dark[i, j]))
            if (queries and queries[i] in quiet) or (keys and keys[j] in quiet):
                red, green, blue = QUIET
            told = f"{query} → {_name(keys, j, 'key')}: {number(float(w[i, j]))}"
            out.append(
                f'<rect x="{j * cell:g}" y="{i * cell:g}" width="{cell:g}" height="{cell:g}" '
                f'fill="rgb({red},{green},{blue})" fill-opacity="{opacity:.3g}"><title>{escape(told)}</title></rect>'
            )
        told = escape(shortened(f"{query} → {', '.join(parts)}", line))
        out.append(f'</g><text class="told" x="{told_at[0]:g}" y="{told_at[1]:g}">{told}</text></g>')
    lines = "".join(f"M{j * cell:g} 0V{height:g}" for j in range(1, n_keys))
    lines += "".join(f"M0 {i * cell:g}H{width:g}" for i in range(1, n_queries))
    out.append(f'<path class="lines" d="{lines}" stroke-opacity="0.5" pointer-events="none"/>' if lines else "")
    return out


def _name(tokens: list[str] | None, i: int, what: str) -> str:
    return token_text(tokens[i]) if tokens is not None else f"{what} {i}"


def _color(dark: float) -> tuple[int, int, int, float]:
    """Red, green, blue and opacity."""
    if math.isnan(dark):
        return (*NAN, 1.0)
    return (*(INK if dark > 0 else NEGATIVE), min(1.0, abs(dark)))


def _png(dark: Array) -> bytes:
    """One pixel a weight, with its opacity in the alpha channel."""
    pixels = np.zeros((*dark.shape, 4), np.uint8)
    pixels[..., :3] = np.where(dark[..., None] < 0, NEGATIVE, INK)
    pixels[..., 3] = np.nan_to_num(np.minimum(np.abs(dark), 1) * 255)
    pixels[np.isnan(dark)] = (*NAN, 255)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # 0: no filter

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", dark.shape[1], dark.shape[0], 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def _said(w: Array, queries: list[str] | None, keys: list[str] | None) -> str:
    """For screen readers: the largest weight of each query, of the first head."""
    n_heads, n_queries, n_keys = w.shape
    said = f"attention of {n_queries} queries to {n_keys} keys, {n_heads} head{'s' if n_heads > 1 else ''}"
    if n_queries <= 20:
        best = np.nan_to_num(w[0], nan=-np.inf).argmax(-1)
        said += "; " + ", ".join(
            f"{_name(queries, i, 'query')} mostly to {_name(keys, int(j), 'key')}" for i, j in enumerate(best)
        )
    return escape(said, quote=True)
