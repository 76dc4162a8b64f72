"""Where did the first nan or inf come from?

    with first_bad_value():
        train()            # stops at the first op that makes one

An op made it if its inputs are finite and its output is not; a VJP made it if the gradient it was given is finite and
one that it returns is not. A nan may also come from outside, in data or in a parameter: then the first op that takes it
is named.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from minigrad.debug.recording import Array, Event, Recording, inside, shapes_text, user_line
from minigrad.engine import Leaf, Node, Tensor
from minigrad.tensors.modes import Observer, current_scope, watch


@contextlib.contextmanager
def first_bad_value() -> Iterator[None]:
    """Inside, stop at the first op or VJP that makes a nan or inf out of finite input.

    Raises FloatingPointError, which names the op, its module, the shapes and the line of your code that called the op.
    The line is named for a VJP, too, whose traceback does not show it. A nan that comes from outside, in data or a
    parameter, stops at the first op that passes it on. An inf from outside stops nothing, since it may be a mask;
    nor does −inf in a masked logarithm.
    """
    with watch(_FirstBadValue()):
        yield


class _FirstBadValue(Observer):
    def __init__(self) -> None:
        # What to say of each Node's call, in words: an Event would keep arrays.
        self.calls: weakref.WeakKeyDictionary[Node, str] = weakref.WeakKeyDictionary()

    def op_ends(self, name: str, args: tuple[Any, ...], static: dict[str, Any], result: Tensor) -> None:
        event = Event(name, current_scope(), user_line(), args, static, result)
        if result.node is not None:
            self.calls[result.node] = f" (inputs {shapes_text(args)}){event.at}"
        if found := _bad_result(event):
            raise FloatingPointError(f"{found}{event.at}")

    def vjp_ends(self, node: Node, grad: Array, contributions: list[Array | None]) -> None:
        if found := _bad_vjp(node, grad, contributions):
            raise FloatingPointError(found + self.calls.get(node, ""))


def first_bad(recording: Recording) -> str:
    """Where the first nan or inf of a recording appeared, as a sentence."""
    for event in recording.events:
        if event.result is not None and (found := _bad_result(event, recording)):
            return f"First appeared in {found}{event.at}."
    for node in sorted(recording.contributions, key=lambda node: node.created, reverse=True):
        if found := _bad_vjp(node, recording.grads[node], recording.contributions[node]):
            return f"The values are finite; first appeared in {found}{recording.calls[node].at}."
    return "It was there from the start of backward()."


def _bad_result(event: Event, recording: Recording | None = None) -> str:
    """What to say of an op that made nan or inf out of finite inputs, or took a nan from outside; else ""."""
    assert event.result is not None
    y = event.result.data
    if finite(y):
        return ""
    arrays = [_array_of(a, recording) for a in event.args]
    if any(not finite(a) for a in arrays):
        for i, (given, a) in enumerate(zip(event.args, arrays, strict=True)):
            outside = not isinstance(given, Tensor) or given.node is None or isinstance(given.node, Leaf)
            if outside and a.dtype.kind == "f" and np.isnan(a).any():
                return f"{event}, whose input {i} is nan already ({share(a)})"
        return ""
    if event.static.get("mask") is not None and not np.isnan(y).any() and not np.isposinf(y).any():
        return ""  # by convention a masked logarithm is −inf
    return f"{event}: {share(y)}, out of finite input"


def _bad_vjp(node: Node, grad: Array, contributions: list[Array | None]) -> str:
    bad = [c for c in contributions if c is not None and not finite(c)]
    if not bad or not finite(grad):
        return ""
    where = f"the backward of `{node.op}`{inside(node.scope)} of shape {node.shape}"
    return f"{where}: {share(bad[0])}, out of a finite gradient"


def _array_of(a: Any, recording: Recording | None) -> Array:
    if isinstance(a, Tensor):
        recorded = recording.values.get(a.node) if recording is not None and a.node is not None else None
        return a.data if recorded is None else recorded
    return np.asarray(0.0 if a is None else a)


def finite(a: Array) -> bool:
    return a.dtype.kind != "f" or bool(np.isfinite(a).all())


def share(a: Array) -> str:
    """ "3 of 64 values are nan"."""
    n = int(np.isnan(a).sum() or np.isinf(a).sum())
    return f"{n:,} of {a.size:,} value{'' if a.size == 1 else 's'} {'is' if n == 1 else 'are'} {kind(a)}"


def kind(a: Array) -> str:
    return "nan" if np.isnan(a).any() else "inf"
