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


def code(source: str, name: str = "") -> str:
    """A function in `source`, the first or the one of that name, without decorators and docstring."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    function = next((f for f in functions if f.name == name), functions[0])
    lines = source.splitlines()
    first, last = function.lineno, function.end_lineno or function.lineno
    kept = list(range(first, last + 1))
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        kept = [n for n in kept if not docstring.lineno <= n <= (docstring.end_lineno or 0)]
    return "\n".join(lines[n - 1] for n in kept)


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
