"""A recording keeps what ran: every op with its values and gradients, for pictures and for questions afterwards.

    with viz.record() as tape:
        loss = model(x)
        loss.backward()
    tape.values[node], tape.grads[node]

A Node keeps no arrays, and backward frees what it has used: training takes little memory. A Recording is an observer
that keeps every array it sees. Record one step, not a whole training run.
"""

from __future__ import annotations

import contextlib
import inspect
import linecache
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minigrad.engine import Leaf, Node, Tensor
from minigrad.tensors.modes import Observer, current_scope, no_grad, state, watch
from minigrad.tensors.operators import OPS

Array = NDArray[Any]

# Files whose lines are never the user's: all of minigrad, and what calls a function decorated by @no_grad().
_NOT_THE_USERS = (os.path.dirname(os.path.dirname(__file__)) + os.sep, contextlib.__file__)


class Line(NamedTuple):
    """A place in the user's source."""

    file: str
    number: int

    def __str__(self) -> str:
        source = linecache.getline(self.file, self.number).strip()
        return f"{os.path.basename(self.file)}:{self.number}" + (f": {source}" if source else "")


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One call of an op; or a cut, where a Tensor was taken out of the graph."""

    name: str  # the op, or "detach()", "numpy()" or "item()"
    scope: str
    line: Line | None
    args: tuple[Any, ...]  # as the caller gave them: Tensors, arrays (copied where they may be written), numbers
    static: dict[str, Any]
    result: Tensor | None  # None for a cut

    def __str__(self) -> str:
        """An op in words: "`matmul` in `blocks.0` of shapes (2, 3) and (3, 4)"."""
        return f"`{self.name}`{inside(self.scope)} of {shapes_text(self.args)}"

    @property
    def at(self) -> str:
        return f", at {self.line}" if self.line is not None else ""


def inside(scope: str) -> str:
    return f" in `{scope}`" if scope else ""


def shapes_text(args: tuple[Any, ...]) -> str:
    shapes = [str(np.shape(a.data if isinstance(a, Tensor) else a)) for a in args if a is not None]
    return f"shape{'' if len(shapes) == 1 else 's'} {' and '.join(shapes)}"


class Recording(Observer):
    """The values and gradients of all that runs inside `with watch(recording):`.

    Arrays are not copied, except where they may be written later: leaves by an optimizer, raw arrays by you.

    values         Node -> the array that it computed, or that a leaf held
    grads          Node -> the gradient of its output in the last backward pass
    contributions  Node -> what it sent to each of its inputs in that pass (None: nothing)
    calls          Node -> the Event that made it, with the arguments as they were given
    parameters     the leaves that are a Parameter, or of another subclass of Tensor
    events         all Events in order, also those that made no Node (under no_grad, or a cut)
    root           the Node from which the last backward pass started; None before the first
    passes         how many backward passes ran
    """

    def __init__(self) -> None:
        self.values: dict[Node, Array] = {}
        self.grads: dict[Node, Array] = {}
        self.contributions: dict[Node, list[Array | None]] = {}
        self.calls: dict[Node, Event] = {}
        self.parameters: set[Node] = set()
        self.events: list[Event] = []
        self.root: Node | None = None
        self.passes = 0
        self._awaited: set[Node] = set()  # Nodes that got a contribution and whose VJP has not run yet
        self._copies: dict[int, tuple[Array, Array]] = {}  # id of an array -> the array, and its copy when last used

    # --- forward ------------------------------------------------------------------------------------------------
    def op_ends(self, name: str, args: tuple[Any, ...], static: dict[str, Any], result: Tensor) -> None:
        kept = tuple(map(self._unwritten, args))  # the engine has copied static arrays already
        event = Event(name, current_scope(), user_line(), kept, static, result)
        self.events.append(event)
        for a in args:
            if isinstance(a, Tensor) and isinstance(a.node, Leaf) and a.node not in self.values:
                self.values[a.node] = a.data.copy()
                if type(a) is not Tensor:
                    self.parameters.add(a.node)
        if result.node is not None:
            self.values[result.node] = result.data
            self.calls[result.node] = event

    def _unwritten(self, a: Any) -> Any:
        """A copy of a raw array that may be written later; the same copy as long as its numbers are the same."""
        if not isinstance(a, np.ndarray) or not a.flags.writeable:
            return a
        known = self._copies.get(id(a))
        if known is None or not np.array_equal(known[1], a, equal_nan=a.dtype.kind == "f"):
            known = self._copies[id(a)] = (a, a.copy())
        return known[1]

    def cut(self, how: str, tensor: Tensor) -> None:
        self.events.append(Event(how, current_scope(), user_line(), (tensor,), {}, None))

    # --- backward -----------------------------------------------------------------------------------------------
    def vjp_starts(self, node: Node, grad: Array) -> None:
        if node not in self._awaited:  # another pass starts here
            self.root = node
            self.passes += 1
            self.grads.clear()
            self.contributions.clear()
            self._awaited.clear()
        self._awaited.discard(node)
        self.grads[node] = grad

    def vjp_ends(self, node: Node, grad: Array, contributions: list[Array | None]) -> None:
        self.contributions[node] = contributions
        self._awaited.update(
            source
            for source, contribution in zip(node.inputs, contributions, strict=True)
            if isinstance(source, Node) and contribution is not None
        )

    def leaf(self, leaf: Leaf, grad: Array) -> None:
        self.grads[leaf] = grad

    # --- looking ------------------------------------------------------------------------------------------------
    def inputs(self, node: Node) -> list[Array | float | None]:
        """What `node` was computed from: an array or number for each of `node.inputs`, None where it was left out."""
        return [
            self.values[i] if isinstance(i, Node) else _numbers(a)
            for i, a in zip(node.inputs, self.calls[node].args, strict=True)
        ]

    def weights(self, node: Node, *, longest: int = 2048) -> Array | None:
        """The weights that an op such as `attention` used inside, or that one such as softmax made; else None.

        Their shape is (..., Tq, Tk). An op keeps the weights it used to itself, so they are computed again by the
        function that it carries as `weights`; not for more than `longest` queries or keys.
        """
        event = self.calls.get(node)
        if event is None or event.name not in OPS:
            return None
        again = getattr(OPS[event.name], "weights", None)
        if again is not None:
            q, k = (np.asarray(a) for a in self.inputs(node)[:2])
            if max(q.shape[-2], k.shape[-2]) > longest:
                return None
            known = inspect.signature(again).parameters
            with unobserved(), no_grad():
                result: Tensor = again(q, k, **{key: a for key, a in event.static.items() if key in known})
            return result.data
        last_axis = event.static.get("axis", -1) in (-1, len(node.shape) - 1)
        return self.values[node] if _is_normalizer(event.name) and last_axis else None

    def ordinal(self, node: Node) -> str:
        """ "2nd" for the second op of its name in its module; "" where there is only one."""
        alike = [other for other in self.calls if (other.op, other.scope) == (node.op, node.scope)]
        if len(alike) < 2:
            return ""
        n = alike.index(node) + 1
        ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
        return f"{n}{ending}"

    def newest(self) -> Node | None:
        """The root of the last backward pass; without one, what was computed last."""
        if self.root is not None:
            return self.root
        return max(self.calls, key=lambda node: node.created, default=None)


def _numbers(a: Any) -> Array | float | None:
    if isinstance(a, Tensor):
        return a.data
    return a if a is None or isinstance(a, (int, float)) else np.asarray(a)


def _is_normalizer(op: str) -> bool:
    """Whether it turns scores into weights: it takes an axis and a mask, as softmax does, and is not a logarithm."""
    return not op.startswith("log") and {"axis", "mask"} <= inspect.signature(OPS[op]).parameters.keys()


@contextlib.contextmanager
def unobserved() -> Iterator[None]:
    """Let no observer see what runs inside."""
    before, state.observers = state.observers, ()
    try:
        yield
    finally:
        state.observers = before


def norm(a: Array) -> float:
    """√Σaᵢ². In float64, so that a float32 array's squares neither overflow nor become 0."""
    return float(np.sqrt(np.square(a, dtype=np.float64).sum()))


def user_line() -> Line | None:
    """The innermost line on the stack that is the user's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        frame = frame.f_back
    return Line(frame.f_code.co_filename, frame.f_lineno) if frame is not None else None


@contextlib.contextmanager
def _grads_kept(recording: Recording) -> Iterator[None]:
    """A backward pass inside leaves the `.grad` of every recorded leaf as it was before."""
    leaves = [node for node in recording.values if isinstance(node, Leaf)]
    before = [(leaf.grad, leaf.grad_buffer) for leaf in leaves]
    for leaf in leaves:
        leaf.grad = leaf.grad_buffer = None  # so that this pass takes new memory
    try:
        yield
    finally:
        for leaf, (grad, buffer) in zip(leaves, before, strict=True):
            leaf.grad, leaf.grad_buffer = grad, buffer


def recording_of(f: Callable[[], Tensor]) -> tuple[Recording, Tensor]:
    """Run `f`, which builds a loss, forward and backward. The `.grad` of the leaves stays as it was."""
    if not callable(f):
        raise TypeError(
            f"f must be a function that builds the loss, such as lambda: loss_of(model), not a {type(f).__name__}"
        )
    recording = Recording()
    with watch(recording):
        loss = f()
        if not isinstance(loss, Tensor):
            raise TypeError(f"f() must return the loss as a Tensor, not {type(loss).__name__}")
        if loss.node is not None:
            recording.values.setdefault(loss.node, loss.data.copy())  # where the loss is a leaf itself
            with _grads_kept(recording):
                loss.backward()
    return recording, loss


def memory_of(a: Any) -> int | None:
    """Which memory an array shows; a view shows that of its base."""
    array = a.data if isinstance(a, Tensor) else a
    if not isinstance(array, np.ndarray):
        return None
    while isinstance(array.base, np.ndarray):
        array = array.base
    return id(array)
