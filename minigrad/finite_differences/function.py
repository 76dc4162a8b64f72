"""The function that gradcheck looks at: its arguments in float64, its names, and its gradients by `backward`."""

from __future__ import annotations

import functools
import inspect
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

    def change(self, y_before: Array, y: Array) -> float:
        """<u, y − y_before>. Outputs that did not move, −inf among them, add nothing, not even rounding."""
        with np.errstate(invalid="ignore"):
            return float(np.sum(self.u * np.where(y == y_before, 0, y - y_before)))

    def size_of(self, y: Array, other: Array) -> float:
        """The sum of |u·y|, or of |u·other| where that is larger: what rounding is relative to."""
        sizes = np.abs(self.u) * np.maximum(np.abs(y), np.abs(other))
        return float(np.sum(sizes, where=np.isfinite(sizes)))


class Function:
    """`f` at `inputs`.

    Raises TypeError where nothing can be differentiated, ValueError where the inputs or f(inputs) contain nan.
    """

    def __init__(self, f: Callable[..., Tensor], inputs: tuple[Any, ...]) -> None:
        self.f = f
        self.arrays = [_array(position, given) for position, given in enumerate(inputs)]
        self.names = _argument_names(f, inputs)
        self.floating = {i: x for i, x in enumerate(self.arrays) if x is not None and x.dtype.kind == "f"}
        if not self.floating:
            raise TypeError("gradcheck found nothing to differentiate: no input is a float array")

        self.leaves = {i: Tensor(x, requires_grad=True, name=self.names[i] or None) for i, x in self.floating.items()}
        self.output = f(*[self.leaves[i] if i in self.leaves else _tensor(a) for i, a in enumerate(self.arrays)])
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
        arrays = [x if i == position else array for i, array in enumerate(self.arrays)]
        with no_grad(), np.errstate(all="ignore"):
            return self.f(*map(_tensor, arrays)).data

    def _ignores_its_inputs(self) -> bool:
        """Whether the output stays the same where every input has moved by 1."""
        moved = [_tensor(self.floating[i] + 1 if i in self.floating else a) for i, a in enumerate(self.arrays)]
        with no_grad(), np.errstate(all="ignore"):
            return np.array_equal(self.y, self.f(*moved).data)

    def is_deterministic(self) -> bool:
        """Whether a second call gives the same output."""
        position, x = next(iter(self.floating.items()))
        return np.array_equal(self.y, self.with_argument(position, x))

    def pull_back(self, u: Array) -> list[Argument]:
        """The arguments with the gradients of <u, f>. Parameters that f uses besides keep the gradients they had."""
        node = self.output.node
        if node is not None:
            own = [leaf.node for leaf in self.leaves.values()]
            others = [n for n in newest_first(node) if isinstance(n, Leaf) and n not in own]
            before = [None if leaf.grad is None else leaf.grad.copy() for leaf in others]
            with np.errstate(all="ignore"):
                self.output.backward(u)
            for leaf, grad in zip(others, before, strict=True):
                if grad is None or leaf.grad is None:
                    leaf.grad = grad
                else:
                    leaf.grad[...] = grad  # in place: it may be part of an optimizer's memory

        graph = set() if node is None else set(newest_first(node))
        arguments = []
        for i, x in self.floating.items():
            grad, f = self.leaves[i].grad, functools.partial(self.with_argument, i)
            by_vjp = np.zeros_like(x) if grad is None else grad
            in_graph = self.leaves[i].node in graph
            arguments.append(Argument(i, self.names[i], f, x, self.y, u, by_vjp, grad is not None, in_graph))
        return arguments


def _tensor(array: Array | None) -> Tensor | None:
    return None if array is None else Tensor(array)


def _array(position: int, given: Any) -> Array | None:
    """A float64 array, or an integer or boolean one as it is."""
    if given is None:
        return None
    array = Tensor(given).data  # lists of numbers become floats here, as everywhere
    if array.dtype.kind != "f":
        return array
    array = np.array(given.data if isinstance(given, Tensor) else given, dtype=np.float64)
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(
            f"gradcheck got {array[tuple(bad)]} at {bad} of argument {position}: differences need finite inputs"
        )
    return array


def _check_output(function: str, y: Any) -> None:
    if not isinstance(y, Tensor):
        raise TypeError(f"gradcheck needs a function that returns one Tensor; {function} returned {type(y).__name__}")
    if np.isnan(y.data).any():
        bad = np.argwhere(np.isnan(y.data))[0].tolist()
        raise ValueError(f"{function} of these inputs is nan at {bad}: there is nothing to compare")


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
