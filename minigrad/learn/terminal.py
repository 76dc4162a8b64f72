"""Printing for a terminal: wrapped to its width, and readable where it knows no mathematical signs."""

from __future__ import annotations

import codecs
import re
import shutil
import sys
import textwrap
import unicodedata

SPELLED = {
    "Σ": "sum", "Π": "prod", "√": "sqrt", "∂": "d", "∇": "grad ", "∘": "*", "·": "*", "×": "x", "−": "-", "–": "-",
    "≤": "<=", "≥": ">=", "≈": "~", "←": "<-", "→": "->", "↪": ">", "′": "'", "∞": "inf", "‖": "||", "ᵀ": "^T",
    "∈": "in", "∫": "integral ", "½": "1/2", "±": "+-", "…": "...", "│": "|", "─": "-",
}  # fmt: skip


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Signs that the terminal's encoding lacks, in letters: Σᵢ becomes sum_i, and σ sigma."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_in_letters, error.object[error.start : error.end])), error.end


def _in_letters(sign: str) -> str:
    if sign in SPELLED:
        return SPELLED[sign]
    mark = {"<sub>": "_", "<super>": "^"}.get(unicodedata.decomposition(sign).split(" ")[0], "")
    letter = unicodedata.normalize("NFKD", sign)[0]
    greek = re.search(r"GREEK (?:SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(letter, ""))
    if greek:
        return mark + greek[1].lower()
    if letter in SPELLED or letter.isascii():
        return mark + SPELLED.get(letter, letter)
    return "" if unicodedata.combining(sign) else "?"


codecs.register_error("spelled", _spelled)


def say(text: str = "") -> None:
    """Print, with signs that the terminal cannot show in letters."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "spelled").decode(encoding), flush=True)


def width() -> int:
    return max(40, min(shutil.get_terminal_size().columns, 120))


def wrap(text: str, indent: str = "") -> str:
    """Prose is filled to the width. Indented lines are formulas: they stay lines, and break only if too long."""
    lines: list[str] = []
    prose: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line and not line.startswith("  "):
            prose.append(line)
            continue
        lines += textwrap.wrap(" ".join(prose), width(), initial_indent=indent, subsequent_indent=indent)
        prose = []
        lines += wrap_line(indent + line)
    return "\n".join(lines[:-1])


def wrap_line(line: str) -> list[str]:
    """One line of code or of a formula, broken at spaces if it is too long, the rest indented below it."""
    if len(line) <= width():
        return [line]
    further = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(line, width(), subsequent_indent=further, drop_whitespace=True)
