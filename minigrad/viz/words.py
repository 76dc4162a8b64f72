"""How ops, shapes and numbers are put into a few words."""

from __future__ import annotations

import inspect
import unicodedata
from typing import Any

import numpy as np

from minigrad.debug.recording import Array
from minigrad.engine import Constant, Node
from minigrad.tensors.operators import OPS


def plain(text: str) -> str:
    """Text that SVG, HTML and DOT can hold: control characters as ␀, ␊, ␛ ..., lone surrogates as �.

    Every name, title and token passes through here once on its way into a picture; `escape` then does the markup.
    """
    return "".join(
        chr(0x2400 + ord(c)) if ord(c) < 32
        else "␡" if c == "\x7f"
        else "�" if "\x80" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" or c in "\ufffe\uffff\u2028\u2029"
        else c
        for c in text
    )  # fmt: skip


def letters(text: str) -> int:
    """How many letters wide a text is: a full-width one takes two, one that combines with the letter before none."""
    return sum(
        0 if unicodedata.combining(c) or c in "\u200d\ufe0f" else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def shortened(text: str, most: int) -> str:
    """At most so many letters, where the last is then "…"."""
    return text if letters(text) <= most else text[: most - 1] + "…"


def token_text(token: str) -> str:
    """A token as a label of at most 16 letters; a space is ␣, a newline ↵."""
    return shortened(plain({" ": "␣", "\n": "↵", "\t": "⇥"}.get(token, token)), 16)


def op_title(node: Node) -> str:
    """An op with the constants in it: "mul 0.354", "pow (2, ·)", "mean axis=-1"."""
    assert node.op is not None
    numbers = [i for i in node.inputs if isinstance(i, (int, float))]
    words = [node.op.lstrip("_")]  # concat's op is _concat, which takes its arrays one by one
    if numbers and not isinstance(node.inputs[-1], (int, float)):  # 2 ** x is not x ** 2
        words.append(f"({', '.join(number(i) if isinstance(i, (int, float)) else '·' for i in node.inputs)})")
    else:
        words += [number(i) for i in numbers]
    for key, value in node.static.items():
        text = "" if _goes_without_saying(node, key, value) else _static(node, key, value)
        if text:
            words.append(text)
    return " ".join(words)


def _goes_without_saying(node: Node, key: str, value: Any) -> bool:
    """Whether it is a word that the op takes by itself, such as gelu's approximate="tanh"."""
    op = OPS.get(node.op or "")
    if op is None or not isinstance(value, str):
        return False
    return bool(inspect.signature(op).parameters[key].default == value)


def _static(node: Node, key: str, value: Any) -> str:
    if value is None or value is False or (key == "axis" and value == -1 and node.op != "concat"):
        return ""
    if key == "shape" or (key == "reduction" and value == "mean") or callable(value) or hasattr(value, "random"):
        return ""  # the output's shape is shown anyway, and a generator has nothing to show
    if value is True:
        return key
    if isinstance(value, Constant):
        return f"{key} {shape_text(value.shape)}"
    if key == "index":
        return f"[{_index(value)}]"
    if key in ("axes", "axis1"):
        axes = value if key == "axes" else (value, node.static["axis2"])
        return f"({', '.join(map(number, axes))})"
    if key == "axis2":
        return ""
    return f"{key}={number(value) if isinstance(value, float) else value}"


def _index(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_index, value))
    if isinstance(value, slice):
        parts = ["" if part is None else str(part) for part in (value.start, value.stop, value.step)]
        return ":".join(parts if parts[2] else parts[:2])
    if isinstance(value, Constant):
        return shape_text(value.shape)
    return "…" if value is Ellipsis else str(value)


def shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) if shape else "scalar"


def number(x: float) -> str:
    """Three significant digits: 0.354, 12, 1.2e-05, nan."""
    if isinstance(x, bool):
        return str(x)
    if isinstance(x, int):
        return (f"{x:,}" if x >= 10000 else str(x)).replace("-", "−")
    text = f"{x:.3g}".replace("-", "−")
    return text.replace("inf", "∞")


def count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def values_text(a: Array) -> str:
    """Up to four numbers in full, else mean ± standard deviation; only nan and inf where there are some."""
    if a.size == 0:
        return "empty"
    if bad := bad_text(a):
        return bad
    if a.dtype.kind in "iub" and a.size > 4:
        return f"{a.min()} … {a.max()}"
    if a.size <= 4:
        return ", ".join(number(x) for x in a.ravel().tolist())
    mean, spread = mean_and_spread(a)
    return f"{number(mean)} ± {number(spread)}" if spread else f"all {number(mean)}"


def mean_and_spread(a: Array) -> tuple[float, float]:
    """Mean and standard deviation; one that is nothing but rounding is 0."""
    mean, spread = float(a.mean(dtype=np.float64)), float(a.std(dtype=np.float64))
    if spread <= 1e-9 * abs(mean):
        return mean, 0.0
    return (0.0 if abs(mean) < 1e-6 * spread else mean), spread


def bad_text(a: Array) -> str:
    """ "3 of 64 nan, 1 of 64 inf", or "" where all is finite."""
    if a.dtype.kind != "f" or np.isfinite(a).all():
        return ""
    counts = {"nan": int(np.isnan(a).sum()), "inf": int(np.isinf(a).sum())}
    return ", ".join(f"{n:,} of {a.size:,} {what}" for what, n in counts.items() if n)
