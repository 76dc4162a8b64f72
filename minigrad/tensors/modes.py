"""What is switched on around a computation: no_grad, the module that is being called, and who watches."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from numpy.typing import NDArray

if TYPE_CHECKING:
    from minigrad.engine import Leaf, Node, Tensor

P = ParamSpec("P")
R = TypeVar("R")
Array = NDArray[Any]


class _State(threading.local):
    recording = True  # False under no_grad(): no Nodes are made
    scope = ""  # the dotted name of the module being called: "blocks.0.attn"
    observers: tuple[Observer, ...] = ()
    textbook = False  # True under textbook(): ops run their pages, not their kernels


state = _State()  # each thread has its own


class no_grad(contextlib.ContextDecorator):
    """`with no_grad():` (or `@no_grad()`): compute without remembering how; cheaper where nothing will be trained."""

    def __enter__(self) -> None:
        self.before = [*getattr(self, "before", []), state.recording]
        state.recording = False

    def __exit__(self, *exception: object) -> None:
        state.recording = self.before.pop()

    def _recreate_cm(self) -> no_grad:  # a decorated function may run in several threads at once
        return no_grad()


def in_scope(name: str, f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `f` with `name` added to the scope: `blocks.0` calling `attn` makes "blocks.0.attn"."""
    before = state.scope
    state.scope = f"{before}.{name}" if before and name else before or name
    try:
        return f(*args, **kwargs)
    finally:
        state.scope = before


def current_scope() -> str:
    """The dotted name of the module being called, "" outside of any."""
    return state.scope


def in_module(scope: str | None = None) -> str:
    """How an error begins: "in blocks.0.attn: ", or nothing outside of any module. None: in the one being called."""
    scope = state.scope if scope is None else scope
    return f"in {scope}: " if scope else ""


class Observer:
    """What `watch` calls. Inherit, and override what you want to see; arrays are yours to read, not to write."""

    def op_starts(self, name: str, args: tuple[Any, ...], static: dict[str, Any]) -> None:
        """An op is called, with the arguments the caller gave (also under no_grad)."""

    def op_ends(self, name: str, args: tuple[Any, ...], static: dict[str, Any], result: Tensor) -> None:
        """It has returned. `result.node` is None where nothing was recorded."""

    def vjp_starts(self, node: Node, grad: Array) -> None:
        """Backward is at `node`, with the gradient of its output."""

    def vjp_ends(self, node: Node, grad: Array, contributions: list[Array | None]) -> None:
        """What this Node adds to the gradient of each of `node.inputs` (None: that one needs none)."""

    def leaf(self, leaf: Leaf, grad: Array) -> None:
        """The whole gradient of one backward pass has arrived at a leaf."""

    def cut(self, how: str, tensor: Tensor) -> None:
        """Somebody took `tensor` out of the graph by "detach()", "numpy()" or "item()"."""


@contextlib.contextmanager
def watch(observer: Observer) -> Iterator[Any]:
    """Let `observer` see every op and every VJP that runs inside."""
    before = state.observers
    state.observers = (*before, observer)
    try:
        yield observer
    finally:
        state.observers = before
