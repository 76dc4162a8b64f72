"""What is switched on around a computation: no_grad, the module that is being called, and who watches."""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

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


class no_grad:
    """`with no_grad():` or `@no_grad`: compute without building a graph; cheaper where nothing will be trained."""

    def __new__(cls, f: Any = None) -> Self:
        made = super().__new__(cls)
        return made if f is None else made(f)  # type: ignore[return-value]  # `@no_grad` without parentheses

    def __enter__(self) -> None:
        entered = self.__dict__.setdefault("entered", threading.local())  # one object may serve several threads
        entered.before = [*getattr(entered, "before", []), state.recording]
        state.recording = False

    def __exit__(self, *exception: object) -> None:
        state.recording = self.entered.before.pop()  # type: ignore[attr-defined]

    def __call__(self, f: Callable[P, R]) -> Callable[P, R]:
        if inspect.iscoroutinefunction(f) or inspect.isasyncgenfunction(f):
            raise TypeError(f"no_grad cannot decorate {f.__name__}, which is async: write `with no_grad():` inside")

        @functools.wraps(f)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with no_grad():
                return f(*args, **kwargs)

        return _each_step(f) if inspect.isgeneratorfunction(f) else run


def _each_step(f: Callable[P, Any]) -> Callable[P, Any]:
    """A generator whose own code runs under no_grad, and not what its caller does between two values."""

    @functools.wraps(f)
    def run(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        generator = f(*args, **kwargs)
        resume, value = generator.send, None
        while True:
            try:
                with no_grad():
                    produced = resume(value)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            try:
                resume, value = generator.send, (yield produced)
            except BaseException as error:  # the caller's throw() or close()
                resume, value = generator.throw, error

    return run


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
