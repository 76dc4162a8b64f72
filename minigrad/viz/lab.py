"""The softmax lab: one HTML file in which scores are dragged, and weights and gradients follow: `viz.lab(path)`.

The page computes everything itself, in `lab_page/normalizers.js` (scores to weights, and back) and
`lab_page/learning.js` (loss, steps, the check by finite differences). Tests hold these to minigrad's own numbers.
"""

from __future__ import annotations

import argparse
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from minigrad.viz import layout

SENTENCE = "My grandmother bakes incredible cookies"
SCRIPTS = ("normalizers", "learning", "state", "drawing", "scores", "plane", "guess", "dials", "start")


def lab(path: Any, *, sentence: str = SENTENCE) -> Path:
    """Write the softmax lab, and return its path.

    Arguments:
        path: a file ending in .html.
        sentence: whose words have the scores; the page takes the first 8.

    Raises ValueError for another file ending or a sentence of less than two words, OSError where the file cannot be
    written.
    """
    path = Path(path)
    if path.suffix.lower() != ".html":
        raise ValueError(f"the lab is saved as .html, not {path.name!r}")
    if len(sentence.split()) < 2:
        raise ValueError(f"the lab needs a sentence of at least two words, not {sentence!r}")
    return layout.write(path, lab_html(sentence))


def lab_html(sentence: str = SENTENCE) -> str:
    folder = resources.files("minigrad.viz").joinpath("lab_page")
    page, css, *scripts = (
        folder.joinpath(name).read_text(encoding="utf-8")
        for name in ("page.html", "style.css", *(f"{name}.js" for name in SCRIPTS))
    )
    page = page.replace("{{css}}", css).replace("{{js}}", "\n".join(scripts))
    return page.replace("{{sentence}}", escape(sentence))


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`python -m minigrad lab`."""
    parser = commands.add_parser("lab", help="write the softmax lab, a page to open in a browser")
    parser.add_argument("--out", type=Path, default=Path("lab.html"), metavar="FILE", help="default lab.html")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    try:
        print(f"open {lab(arguments.out)} in a browser: drag a score, and see what comes back")
    except (OSError, ValueError) as error:
        print(f"no lab: {error}")
        return 1
    return 0
