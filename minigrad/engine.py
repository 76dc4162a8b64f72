"""The engine: what was computed is remembered as a graph of Nodes, and `backward` walks it from new to old.

Training needs ∂L/∂p, the gradient of one number, the loss L, with respect to every parameter p. L comes from p by a
chain of ops. If y = f(x) is one of them, the chain rule turns ∂L/∂y into ∂L/∂x:

    ∂L/∂xⱼ = Σᵢ (∂L/∂yᵢ)(∂yᵢ/∂xⱼ)          a vector times the Jacobian, the matrix of all ∂yᵢ/∂xⱼ

The function that computes this is the op's vector-Jacobian product, its VJP. The Jacobian itself is never needed, and
it would be large: for y = exp(x) of n numbers it has n² entries, nearly all 0. The VJP is a single multiplication,
`grad_y * y`. As L is one number, one walk back gives the gradients of all parameters. So an op (see ops/) is a
function on NumPy arrays that returns its value and a VJP for each input. All the rest is here, once. What makes a
Tensor safe and convenient has rooms of its own, in tensors/: storage (who may write), arguments (dtypes, copies,
errors), operators (+ * @ and methods), modes (no_grad, scopes, observers).
"""

from __future__ import annotations

import functools
import itertools
import operator
import threading
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minigrad.tensors import arguments, storage
from minigrad.tensors.arguments import Array as Array
from minigrad.tensors.arguments import Constant as Constant
from minigrad.tensors.arguments import Joint as Joint
from minigrad.tensors.modes import state
from minigrad.tensors.operators import OPS, Operators

P = ParamSpec("P")

# --- the graph --------------------------------------------------------------------------------------------------------

_creation = itertools.count()
_created = operator.attrgetter("created")


class Node:
    """One step of the computation. It keeps no arrays: those live in the VJPs, until backward has used them."""

    __slots__ = ("__weakref__", "created", "dtype", "inputs", "op", "scope", "shape", "static", "versions", "vjps")

    op: str | None  # None for a leaf
    inputs: Sequence[Node | Constant | int | float | None]
    static: dict[str, Any]  # the keyword arguments, arrays among them as Constants
    # One for each input, None where nobody needs it, or a Joint for all; None once backward has gone through.
    vjps: Sequence[Callable[[Array], Array] | None] | Joint | None
    versions: Sequence[tuple[Leaf, int]]  # leaves whose memory the VJPs may hold, and how often each had been written

    def __init__(self, op: str | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.op, self.shape, self.dtype, self.scope = op, shape, dtype, state.scope
        self.inputs, self.static, self.vjps, self.versions = (), {}, None, ()
        self.created = next(_creation)  # inputs exist before outputs, so this number is a topological order

    @property
    def parents(self) -> list[Node]:
        """The Nodes among the inputs, in order. One that is used twice is there twice."""
        return [i for i in self.inputs if isinstance(i, Node)]

    def __repr__(self) -> str:
        return f"<{self.op or 'leaf'} {self.shape}{' in ' + self.scope if self.scope else ''}>"


class Leaf(Node):
    """Where the graph begins: a parameter or an input. It owns its gradient."""

    __slots__ = ("grad", "grad_buffer", "name", "optimizer", "path", "version")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], name: str | None = None) -> None:
        super().__init__(None, shape, dtype)
        self.name = name
        self.path: str | None = None  # its name with the modules around it: "blocks.0.attn.key.weight"
        self.grad: Array | None = None  # None: the loss did not reach it since the gradient was last zeroed
        self.grad_buffer: Array | None = None  # an optimizer's memory for the gradient
        self.optimizer: Any = None  # a weak reference to the optimizer that holds this leaf's memory
        self.version = 0  # counts the writes into its array

    def accumulate(self, grad: Array) -> None:
        if self.grad is not None:
            self.grad += grad
        elif self.grad_buffer is not None:
            self.grad_buffer[...] = grad
            self.grad = self.grad_buffer
        else:
            self.grad = np.array(grad, dtype=self.dtype)


class Tensor(Operators, storage.Storage):
    """An array that remembers how it was computed.

    Arguments:
        data: an array or NumPy scalar keeps its dtype; lists and Python numbers become float32. Always copied.
        requires_grad: collect a gradient in `.grad` when `backward()` runs. Floating dtypes only.
        dtype: convert to this dtype.
        name: what pictures and errors call it.

    Its numbers are read-only: an optimizer, `load_state_dict` or `t.data = array` changes a leaf, nothing else does.
    """

    __slots__ = ()

    def __init__(
        self, data: Any, *, requires_grad: bool = False, dtype: DTypeLike | None = None, name: str | None = None
    ) -> None:
        self._data = arguments.array_for_tensor(data, dtype)
        self.node = self.leaf = self.memory_of = None
        if name:
            self._become_leaf(name)
        if requires_grad:
            self.requires_grad = True

    def _become_leaf(self, name: str | None = None) -> None:
        self._data = self._data.copy()
        self._data.flags.writeable = False
        self.leaf, self.memory_of = Leaf(self.shape, self.dtype, name), None

    def detach(self) -> Tensor:
        """The same numbers as a constant: gradients stop here.

        Nothing is copied. Of a leaf it shows the memory, and so what is written there later. When an optimizer takes
        the leaf over, the leaf moves to the optimizer's memory, and this keeps the numbers of that moment.
        """
        self._observe_cut("detach()")
        return Tensor._of(self._data.view(), None, self.leaf or self.memory_of)

    def backward(self, grad: ArrayLike | None = None, retain_graph: bool = False) -> None:
        """Add d(self)/d(leaf) to the `.grad` of every leaf this was computed from.

        Arguments:
            grad: the gradient of the final loss with respect to this Tensor; for a scalar it is 1 if left out.
            retain_graph: keep what a second `backward()` needs; without it memory is freed on the way.

        Raises RuntimeError where there is no graph, where it is already used up, and where a leaf was changed between
        forward and backward; ValueError for a `grad` that is missing or of another shape.
        """
        start = arguments.start_of_backward(self, grad)
        assert self.node is not None
        backward(self.node, start, retain_graph)


# --- ops --------------------------------------------------------------------------------------------------------------


@overload
def op(f: Callable[P, Any]) -> Callable[P, Tensor]: ...
@overload
def op(
    *, name: str | None = None, indices: tuple[str, ...] = (), keeps_dtype: bool = False, estimator: bool = False
) -> Callable[[Callable[P, Any]], Callable[P, Tensor]]: ...
def op(f: Any = None, **declared: Any) -> Any:
    """Make an op of `f(array, ..., *, static, ...) -> (y, vjps)`, and enter it in OPS.

    Positional parameters are arrays: where a caller gives a Tensor that requires a gradient, the VJP of that input is
    kept. Keyword-only parameters are static. `vjps` is one function, or a tuple with one for each positional parameter,
    or None in the place of one that has no gradient. Where inputs share most of the work, it is `Joint(vjp)`: one
    function that returns a tuple of all their gradients, with None for one that has none.

    Arguments:
        name: what graphs and errors call it; the function's own name if left out.
        indices: the positional parameters that are integers and stay so.
        keeps_dtype: integers and booleans stay what they are; other ops compute with float32 in their place.
        estimator: the VJP differs from the derivative, on purpose; gradcheck must find that it does.
    """
    if f is None:
        return functools.partial(op, **declared)
    name = declared.get("name") or f.__name__
    taken = OPS.get(name)
    if taken is not None and taken.__module__ != f.__module__:
        raise ValueError(f"there is an op {name!r} already, in {taken.__module__}: choose another name")
    OPS[name] = made = as_op(f, **declared)
    return made


def as_op(
    f: Any, *, name: str = "", indices: tuple[str, ...] = (), keeps_dtype: bool = False, estimator: bool = False
) -> Callable[..., Tensor]:
    """What `@op` does, without entering it in OPS."""
    name = name or f.__name__
    signature = arguments.Signature(name, f, indices, keeps_dtype)

    @functools.wraps(f)
    def apply(*args: Any, **static: Any) -> Tensor:
        args = signature.complete(args, static)
        observers = state.observers
        for observer in observers:
            observer.op_starts(name, args, static)
        static = arguments.own(name, static) if static else static
        run = f if apply.kernel is None or state.textbook else apply.kernel  # type: ignore[attr-defined]
        try:
            arrays = signature.arrays(args)
            y, vjps = arguments.value_and_vjps(name, run(*arrays, **static))
        except (ValueError, TypeError, IndexError) as error:
            raise arguments.with_context(error, name, args) from error
        node = _node(name, args, arrays, static, y, vjps) if state.recording else None
        result = Tensor._of(y, node, None if y.flags.writeable else storage.leaf_shown_by(y, args))
        for observer in observers:
            observer.op_ends(name, args, static, result)
        return result

    apply.kernel = None  # type: ignore[attr-defined]  # see fast/: the same computation, written for speed
    apply.estimator, apply.indices = estimator, indices  # type: ignore[attr-defined]
    return apply


def _node(
    op: str, args: Sequence[Any], arrays: Sequence[Any], static: dict[str, Any], y: Array, vjps: Any
) -> Node | None:
    """What is remembered of one call of an op; None where no argument needs a gradient."""
    inputs, versions, n_needed = arguments.inputs_of(args, arrays)
    if n_needed == 0:
        return None
    node = Node(op, y.shape, y.dtype)
    node.inputs, node.versions = inputs, versions
    node.vjps = arguments.needed_vjps(op, vjps, inputs, n_needed)
    if static:
        node.static = arguments.describe(static)
    return node


# --- backward ---------------------------------------------------------------------------------------------------------

_one_thread_adds = threading.Lock()  # `+=` reads and then writes: of two threads, one could lose what it adds


def backward(root: Node, grad: Array, retain_graph: bool = False) -> None:
    """Pull `grad`, the gradient of the loss with respect to `root`, back to the leaves: reverse mode, all of it.

    Where x is used several times, a change of x reaches the loss by every use, and the chain rule adds them up:

        ∂L/∂x = Σ over all uses y of x of (∂L/∂y)(∂y/∂x)

    Each term is one VJP. `pending` holds the sum so far. It is complete when the walk arrives at x: every use of x is
    newer than x, and the walk takes newer Nodes first.

    Leaves wait until the walk is over. So a VJP that raises leaves every `.grad` as it was, and other threads, whose
    passes may end in the same leaves, add theirs before or after, never meanwhile.
    """
    nodes = newest_first(root)
    storage.check_usable(nodes)
    pending: dict[Any, Array] = {root: grad}
    for node in nodes:
        if isinstance(node, Leaf) or node not in pending:  # without a sum: its uses gave it no gradient
            continue
        arrived = pending.pop(node)
        for parent, contribution in zip(node.inputs, pull_back(node, arrived), strict=True):
            if contribution is not None:
                pending[parent] = pending[parent] + contribution if parent in pending else contribution
        if not retain_graph:
            node.vjps = None
    with _one_thread_adds:
        for leaf, total in pending.items():
            leaf.accumulate(total)
    for observer in state.observers:
        for leaf, total in pending.items():
            observer.leaf(leaf, total)


def newest_first(root: Node) -> list[Node]:
    """All Nodes that `root` was computed from and itself, newest first: outputs before inputs."""
    seen, stack = {root}, [root]
    while stack:
        for parent in stack.pop().inputs:
            if isinstance(parent, Node) and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=_created, reverse=True)


def pull_back(node: Node, grad: Array) -> list[Array | None]:
    """The contribution of one Node's output gradient to each of its inputs (None: needs none)."""
    grad = grad.view()
    grad.setflags(write=False)  # other Nodes may have been given the same numbers
    observers = state.observers
    for observer in observers:
        observer.vjp_starts(node, grad)
    contributions: list[Array | None] = []
    given = None
    try:
        vjps = node.vjps
        returned = vjps.vjp(grad) if isinstance(vjps, Joint) else [vjp and vjp(grad) for vjp in vjps or ()]
        arguments.check_returned(node, returned)
        given = returned
        for g, parent in zip(given, node.inputs):  # noqa: B905  (strict=True costs a tenth of a small op)
            contributions.append(unbroadcast(g, parent) if g is not None and isinstance(parent, Node) else None)
    except Exception as error:
        arguments.explain_vjp(error, node, None if given is None else len(contributions))
        raise
    for observer in observers:
        observer.vjp_ends(node, grad, contributions)
    return contributions


def unbroadcast(grad: Array, parent: Node) -> Array:
    """Copying forward is summing backward: add up the gradients of all the copies that broadcasting made."""
    shape = parent.shape
    if grad.shape != shape:
        given, extra = grad.shape, grad.ndim - len(shape)  # axes that broadcasting put in front
        copied = [axis for axis in range(grad.ndim) if axis < extra or shape[axis - extra] == 1]
        grad = grad.sum(tuple(copied), keepdims=True)
        grad = grad.reshape(grad.shape[max(extra, 0) :])
        if grad.shape != shape:
            raise ValueError(f"returned a gradient of shape {given} for an input of shape {shape}")
    return grad if grad.dtype == parent.dtype else grad.astype(parent.dtype)
