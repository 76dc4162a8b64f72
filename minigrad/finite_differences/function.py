"""The function that gradcheck looks at: its arguments in float64, its names, and its gradients by `backward`."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minigrad.engine import Array, Leaf, Node, Tensor, newest_first
from minigrad.tensors.modes import no_grad


class Argument(NamedTuple):
    """One argument x that can be differentiated, and f as a function of x alone: the other arguments stay."""

    position: int
    name: str  # "x" if known, else ""
    f: Callable[[Array], Array]
    x: Array
    y: Array  # f(x)
    u: Array
    by_vjp: Array  # the gradient of <u, f(x)>
    arrived: bool  # False: backward did not reach x, so that by_vjp is 0
    in_graph: bool  # whether an op on the way to y took x, be it without giving it a gradient
    vjp: Callable[[Array], Array]  # the gradient of <u, f(x)> for any u
    vjp_at: Callable[[Array], Array]  # for this u, and any x

    def change(self, y_before: Array, y: Array) -> float:
        """<u, y − y_before>. Outputs that did not move, −inf among them, add nothing, not even rounding."""
        return float(np.sum(self.u * np.where(y == y_before, 0, y - y_before)))

    def size_of(self, y: Array, other: Array) -> float:
        """The sum of |u·y|, or of |u·other| where that is larger: what rounding is relative to."""
        sizes = np.abs(self.u) * np.maximum(np.abs(y), np.abs(other))
        return float(np.sum(sizes, where=np.isfinite(sizes)))

    def matters_far_away(self) -> bool:
        """Whether <u, f> changes where x moves in one of 20 random directions, by about twice its own size."""
        rng = np.random.default_rng(0)
        steps = 2 * size_of(self.x) * rng.normal(size=(20, *self.x.shape))
        far = []
        for step in steps:
            with contextlib.suppress(ValueError, TypeError, IndexError):  # f may take no such numbers
                far.append(self.f(self.x + step))
        return any(abs(self.change(self.y, y)) > 1e-6 * self.size_of(self.y, y) for y in far)


class Function:
    """`f` at `inputs`.

    Raises TypeError where nothing can be differentiated, ValueError where the inputs or f(inputs) contain nan or inf.
    """

    def __init__(self, f: Callable[..., Tensor], inputs: tuple[Any, ...]) -> None:
        self.f, self.given = f, inputs
        self.arrays = [_array(position, given) for position, given in enumerate(inputs)]
        self.names = _argument_names(f, inputs)
        self.floating = {i: x for i, x in enumerate(self.arrays) if x is not None and x.dtype.kind == "f"}
        if not self.floating:
            raise TypeError(
                "gradcheck found nothing to differentiate: no input is a float or an array of floats, "
                "and integers have no gradient. Write 1.0 for 1"
            )

        self.leaves = {i: Tensor(x, requires_grad=True, name=self.names[i] or None) for i, x in self.floating.items()}
        self.output = f(*self._arguments(self.leaves))
        self.name = _function_name(f, self.output)
        _check_output(self.name, self.output)
        self.y = self.output.data
        if self.y.dtype != np.float64 and not self._ignores_its_inputs():
            raise TypeError(
                f"{self.name} returned {self.y.dtype} for float64 inputs: differences need full precision, "
                f"so convert nothing inside the function"
            )

    def with_argument(self, position: int, x: Array) -> Array:
        """f(inputs) with one of the arguments replaced by x."""
        moved = self.floating | {position: x}
        with no_grad():
            return self.f(*self._arguments({i: Tensor(a) for i, a in moved.items()})).data

    def _arguments(self, floating: dict[int, Tensor]) -> list[Any]:
        """What f takes: these, and the others as they are, arrays as Tensors."""
        return [
            floating[i] if i in floating else given if given is None or isinstance(given, int) else Tensor(array)
            for i, (given, array) in enumerate(zip(self.given, self.arrays, strict=True))
        ]

    def _ignores_its_inputs(self) -> bool:
        """Whether the output stays the same where every input has moved by 1."""
        with no_grad():
            moved = self.f(*self._arguments({i: Tensor(x + 1) for i, x in self.floating.items()}))
        return np.array_equal(self.y, moved.data)

    def is_deterministic(self, calls: int = 1) -> bool:
        """Whether more calls give the same output."""
        position, x = next(iter(self.floating.items()))
        return all(np.array_equal(self.y, self.with_argument(position, x)) for _ in range(calls))

    def overwritten(self, u: Array) -> str:
        """What is said of a VJP that writes into an array that is not its own; "" if none does."""
        leaves = list(self.leaves.values())
        try:
            first, second = _gradients(self.output, leaves, u), _gradients(self.output, leaves, u)
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            where = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
            return (
                f"a VJP writes into grad_y or into an input, which others use as well{where}: "
                f"write `return 2 * grad_y`, not `grad_y *= 2`"
            )
        if any(a is not None and b is not None and _differ(a, b) for a, b in zip(first, second, strict=True)):
            return "a second backward pass gives another gradient: a VJP writes into an array that it needs again"
        return ""

    def pull_back(self, u: Array) -> list[Argument]:
        """The arguments with the gradients of <u, f>."""
        grads = _gradients(self.output, list(self.leaves.values()), u)
        graph = set() if self.output.node is None else set(newest_first(self.output.node))
        return [
            Argument(
                position=i,
                name=self.names[i],
                f=functools.partial(self.with_argument, i),
                x=x,
                y=self.y,
                u=u,
                by_vjp=np.zeros_like(x) if grad is None else grad,
                arrived=grad is not None,
                in_graph=self.leaves[i].node in graph,
                vjp=functools.partial(self._vjp, i),
                vjp_at=functools.partial(self._vjp_at, i, u),
            )
            for (i, x), grad in zip(self.floating.items(), grads, strict=True)
        ]

    def _vjp(self, position: int, u: Array) -> Array:
        """The gradient of <u, f> with respect to one argument, for another u."""
        (grad,) = _gradients(self.output, [self.leaves[position]], u)
        return np.zeros_like(self.floating[position]) if grad is None else grad

    def _vjp_at(self, position: int, u: Array, x: Array) -> Array:
        """The same for another x."""
        leaf = Tensor(x, requires_grad=True)
        y = self.f(*self._arguments({i: Tensor(a) for i, a in self.floating.items()} | {position: leaf}))
        (grad,) = _gradients(y, [leaf], u)
        return np.zeros_like(x) if grad is None else grad


def _differ(a: Array, b: Array) -> bool:
    """By more than rounding, which may come out differently each time."""
    size = float(np.abs(a[np.isfinite(a)]).max(initial=0))
    return not np.allclose(a, b, rtol=1e-6, atol=1e-6 * size, equal_nan=True)


def _gradients(y: Tensor, leaves: list[Tensor], u: Array) -> list[Array | None]:
    """The gradients of <u, y>. Other leaves that y was computed from keep the gradients they had."""
    if y.node is None:
        return [None for _ in leaves]
    own = {leaf.node for leaf in leaves}
    others = [node for node in newest_first(y.node) if isinstance(node, Leaf) and node not in own]
    before = [None if leaf.grad is None else leaf.grad.copy() for leaf in others]
    for leaf in leaves:
        leaf.grad = None
    try:
        y.backward(u, retain_graph=True)
    finally:
        for other, grad in zip(others, before, strict=True):
            if grad is None or other.grad is None:
                other.grad = grad
            else:
                other.grad[...] = grad  # in place: it may be part of an optimizer's memory
    return [leaf.grad for leaf in leaves]


def size_of(x: Array) -> float:
    """The root mean square; 1 where that is 0, and where there is nothing."""
    return math.sqrt(np.mean(x * x) if x.size else 0) or 1.0


def _array(position: int, given: Any) -> Array | None:
    """A float64 array, or an integer or boolean one as it is."""
    if given is None:
        return None
    array = Tensor(given).data if isinstance(given, Tensor) else np.asarray(given)
    Tensor(given)  # says so where these are no numbers
    if array.dtype.kind != "f":
        return array
    array = np.array(array, dtype=np.float64)
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(
            f"gradcheck got {array[tuple(bad)]} at {bad} of argument {position}: differences need finite inputs"
        )
    return array


def _check_output(function: str, y: Any) -> None:
    if not isinstance(y, Tensor):
        raise TypeError(f"gradcheck needs a function that returns one Tensor; {function} returned {type(y).__name__}")
    no_number = np.isnan(y.data) | np.isposinf(y.data)  # −inf may be the logarithm of a masked weight
    if no_number.any():
        bad = np.argwhere(no_number)[0].tolist()
        raise ValueError(
            f"{function} of these inputs is {y.data[tuple(bad)]} at {bad}: there is no slope to compare. "
            f"Check at inputs where it is finite"
        )


def _argument_names(f: Callable[..., Tensor], inputs: tuple[Any, ...]) -> list[str]:
    """The name of each argument: a Tensor's own if it has one, else the name f gives it, else ""."""
    try:
        parameters = [p for p in inspect.signature(f).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        parameters = []
    by_f = [p.name for p in parameters] + [""] * len(inputs)
    return [getattr(given, "name", None) or name for given, name in zip(inputs, by_f, strict=False)]


def _function_name(f: Callable[..., Tensor], y: Any) -> str:
    """The op, if f is just one; else the function's name and the ops it is made of, in order."""
    name = getattr(f, "__name__", type(f).__name__)
    node: Node | None = y.node if isinstance(y, Tensor) else None
    ops = list(dict.fromkeys(n.op for n in reversed(newest_first(node)) if n.op)) if node else []
    if len(ops) == 1:
        return ops[0]
    made_of = ", ".join(ops[:6]) + (", ..." if len(ops) > 6 else "")
    return made_of if name == "<lambda>" and ops else f"{name} ({made_of})" if ops else name
