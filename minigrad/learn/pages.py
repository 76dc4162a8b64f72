"""The page of a function, taken apart: what its docstring says, and its code without it."""

from __future__ import annotations

import ast
import difflib
import inspect
import itertools
import shutil
import textwrap
from collections.abc import Callable, Iterable
from typing import Any


def said_of(f: Callable[..., Any]) -> str:
    return inspect.getdoc(f) or ""


def code_of(f: Callable[..., Any]) -> str:
    return code(textwrap.dedent(inspect.getsource(f)))


def code(source: str) -> str:
    """The functions in `source`, without decorators and docstrings; all of it where it is not Python."""
    try:
        functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    except SyntaxError:
        return source
    lines, parts = source.splitlines(), []
    for f in functions:
        kept = range(f.lineno, (f.end_lineno or f.lineno) + 1)
        first = f.body[0]
        docstring = range(first.lineno, (first.end_lineno or 0) + 1) if ast.get_docstring(f) is not None else ()
        parts.append("\n".join(lines[n - 1] for n in kept if n not in docstring))
    return "\n\n".join(parts)


def beside(left: str, right: str) -> str:
    """Two texts in columns; below each other where the terminal is too narrow for that."""
    rows = list(itertools.zip_longest(left.splitlines(), right.splitlines(), fillvalue=""))
    widest = max(len(row[0]) for row in rows)
    if widest + 3 + max(len(row[1]) for row in rows) > shutil.get_terminal_size().columns:
        return f"{left}\n\n{right}"
    return "\n".join(f"{a:{widest}} │ {b}".rstrip() for a, b in rows)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """A sentence on a name that does not exist, with those that are close to it."""
    known = list(known)
    close = difflib.get_close_matches(name, known, 3, 0.5) or [k for k in known if name in k or k in name]
    meant = f"Did you mean {' or '.join(close)}?" if close else f"There are: {', '.join(known)}."
    return f"There is no {what} {name!r}. {meant}"
