"""Formula, derivation and code of an op as HTML, from its own docstring and source."""

from __future__ import annotations

import ast
import inspect
import io
import keyword
import re
import textwrap
import tokenize
from html import escape

from minigrad.tensors.operators import OPS


def argument_names(op: str, n: int) -> list[str]:
    """What an op calls its `n` arrays: attention's are q, k and v."""
    if op not in OPS:
        return [f"input {i}" for i in range(n)]
    names = []
    for p in inspect.signature(OPS[op]).parameters.values():
        if p.kind is p.POSITIONAL_OR_KEYWORD:
            names.append(p.name)
        elif p.kind is p.VAR_POSITIONAL:
            names += [f"{p.name}[{i}]" for i in range(n - len(names))]
    return names[:n]


def op_page(op: str) -> dict[str, str]:
    """The parts of an op's page: "formula", "backward", "notes" and "code"."""
    f = inspect.unwrap(OPS[op]) if op in OPS else None  # the page itself; a faster kernel is only an attribute of it
    parts = {"formula": "", "backward": "", "notes": ""}
    part = "formula"
    for paragraph in re.split(r"\n\s*\n", inspect.getdoc(f) or ""):
        word = re.match(r"([A-Z][\w √]*)\.  ", paragraph)  # "Backward.", "Why √d.", with two spaces after it
        if word:
            part = {"Backward": "backward", "Shapes": "formula", "Forward": "formula"}.get(word[1], "notes")
        parts[part] += _paragraph(paragraph, word[1] if word else "")
    return {**parts, "code": _code(f)}


def _paragraph(text: str, word: str) -> str:
    """Indented lines are formulas; the others are prose."""
    html, prose, formula = "", [], []  # type: ignore[var-annotated]

    def end_of(lines: list[str], form: str) -> str:
        content = form.format(escape("\n".join(lines))) if lines else ""
        lines.clear()
        return content

    for line in text.splitlines():
        if line.startswith("    "):
            html += end_of(prose, "<p>{}</p>")
            formula.append(line[4:])
        else:
            html += end_of(formula, "<pre class=formula>{}</pre>")
            prose.append(line)
    html += end_of(prose, "<p>{}</p>") + end_of(formula, "<pre class=formula>{}</pre>")
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", html)
    return re.sub(rf"<p>{re.escape(word)}\.", f"<p><b>{word}.</b>", html, count=1) if word else html


def _code(f: object) -> str:
    """The source without its docstring; each line a <span>, those of a VJP marked."""
    try:
        source = textwrap.dedent(inspect.getsource(f))  # type: ignore[arg-type]
        tree = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError):  # typed into a prompt, say
        return ""
    assert isinstance(tree, ast.FunctionDef)
    inner = {
        n for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node is not tree
        for n in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }  # fmt: skip
    docstring: set[int] = set()
    if ast.get_docstring(tree) is not None:
        docstring = set(range(tree.body[0].lineno, (tree.body[0].end_lineno or 0) + 1))
    html = ""
    for n, line in enumerate(_colored(source), 1):
        if n not in docstring:
            html += f'<span class="{"vjp" if n in inner else "fwd"}">{line or " "}</span>'
    return f'<pre class="code">{html}</pre>'


def _colored(source: str) -> list[str]:
    """Lines of HTML, with keywords, comments, strings and numbers in spans."""
    lines = source.splitlines()
    marks: list[tuple[int, int, int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = {tokenize.COMMENT: "com", tokenize.STRING: "str", tokenize.NUMBER: "num"}.get(token.type, "")
        if token.type == tokenize.NAME and keyword.iskeyword(token.string):
            kind = "kw"
        if kind and token.start[0] == token.end[0]:
            marks.append((token.start[0], token.start[1], token.end[1], kind))
    out = []
    for n, line in enumerate(lines, 1):
        html, at = "", 0
        for _, start, end, kind in [m for m in marks if m[0] == n]:
            html += f'{escape(line[at:start])}<i class="{kind}">{escape(line[start:end])}</i>'
            at = end
        out.append(html + escape(line[at:]))
    return out
