"""The engine: what an op computed is remembered as a graph of Nodes, and `backward` walks it from new to old.

An op (see `ops/`) is a function on NumPy arrays that returns its value and its vector-Jacobian products (VJPs):
functions that take grad_y, the gradient of the loss with respect to the op's output y, and return the gradient with
respect to one of its inputs. All the rest is here, once:

    Node, Leaf    what happened: the op's name, where its inputs came from, its VJPs. No arrays
    Tensor        an array, and the Node that made it
    @op           turns such a function into one on Tensors, and enters it in OPS
    backward      newest Node first: pull the gradient back through its VJPs, add up what arrives
    watch         the one hook: profilers, recordings and diagnoses are observers
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from minigrad.tensors.operators import OPS, Operators

P = ParamSpec("P")
R = TypeVar("R")
Array = NDArray[Any]
VJP = Callable[[Array], Array]


class _State(threading.local):
    recording = True  # False under no_grad()
    observers: tuple[Observer, ...] = ()
    scope = ""  # the module being called: "blocks.0.attn"


_state = _State()
_creation = itertools.count()
_FLOAT32 = np.dtype(np.float32)
_PLAIN = frozenset({int, float, bool, str, type(None)})  # static arguments that can be kept as they are

# glibc hands freed arrays of megabytes back to the system, and every training step pays for getting them again, page by
# page. Having seen one block of almost 32 MiB freed, it keeps them: making and freeing eight arrays of 1.5 MB takes 0.9
# instead of 3.2 ms (tests/benchmarks/numerics.py).
np.empty(2**25 - 2**16, np.uint8)


# --- the graph ---------------------------------------------------------------------------------------------------


class Constant(NamedTuple):
    """What a Node remembers of an input that needs no gradient."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Node:
    """One step of the computation. It keeps no arrays: those live in the VJPs, until backward has used them."""

    __slots__ = ("__weakref__", "created", "dtype", "inputs", "op", "scope", "shape", "static", "versions", "vjps")

    op: str | None  # None for a leaf
    inputs: Sequence[Node | Constant | int | float | None]
    static: dict[str, Any]  # the keyword arguments, arrays among them as Constants
    vjps: Sequence[VJP | None] | Joint | None  # None once backward has gone through
    versions: Sequence[tuple[Leaf, int]]  # leaves whose memory the VJPs may hold, and their version then

    def __init__(self, op: str | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.op = op
        self.shape = shape
        self.dtype = dtype
        self.scope = _state.scope
        self.inputs = ()
        self.static = {}
        self.vjps = None
        self.versions = ()
        self.created = next(_creation)  # inputs exist before outputs, so this number is a topological order

    @property
    def parents(self) -> list[Node]:
        """The Nodes among the inputs, in order; one used twice stands twice."""
        return [i for i in self.inputs if isinstance(i, Node)]

    def __repr__(self) -> str:
        return f"<{self.op or 'leaf'} {self.shape}{' in ' + self.scope if self.scope else ''}>"


class Leaf(Node):
    """Where the graph begins: a parameter or an input. It owns its gradient."""

    __slots__ = ("grad", "grad_buffer", "name", "optimizer", "version")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], name: str | None = None) -> None:
        super().__init__(None, shape, dtype)
        self.name = name
        self.grad: Array | None = None  # None: the loss did not reach it since the gradient was last zeroed
        self.grad_buffer: Array | None = None  # an optimizer's memory for the gradient
        self.optimizer: Any = None  # the one (a weak reference) that owns this leaf's memory
        self.version = 0  # counts the writes into its array

    def accumulate(self, grad: Array) -> None:
        if self.grad is not None:
            self.grad += grad
        elif self.grad_buffer is not None:
            self.grad_buffer[...] = grad
            self.grad = self.grad_buffer
        else:
            self.grad = np.array(grad, dtype=self.dtype)


class Joint:
    """Marks one VJP that returns the gradients of all inputs at once, where they share most of their work."""

    __slots__ = ("vjp",)

    def __init__(self, vjp: Callable[[Array], Sequence[Array | None]]) -> None:
        self.vjp = vjp


# --- the tensor --------------------------------------------------------------------------------------------------


class Tensor(Operators):
    """An array that remembers how it was computed.

    Arguments:
        data: an array or NumPy scalar keeps its dtype; lists and Python numbers become float32. Always copied.
        requires_grad: collect a gradient in `.grad` when `backward()` runs. Floating dtypes only.
        dtype: convert to this dtype.
        name: what pictures and errors call it.

    Its numbers are read-only: an optimizer, `load_state_dict` or `t.data = array` changes a leaf, nothing else does.
    """

    __slots__ = ("__weakref__", "_data", "leaf", "memory_of", "node")

    _data: Array
    node: Node | None  # its place in the graph; None where there is nothing to differentiate
    leaf: Leaf | None  # of a leaf, its Node, also while it requires no gradient (frozen)
    memory_of: Leaf | None  # of a view, the leaf whose memory it shows, and which may be written

    def __init__(
        self, data: Any, *, requires_grad: bool = False, dtype: DTypeLike | None = None, name: str | None = None
    ) -> None:
        _no_tensors_inside(data)
        from_numpy = isinstance(data, (np.ndarray, np.generic, Tensor))
        array = np.array(data._data if isinstance(data, Tensor) else data, dtype=dtype)
        if not from_numpy and dtype is None and array.dtype.kind in "iuf":
            array = array.astype(np.float32)
        if array.dtype.kind not in "iufb":
            raise TypeError(f"a Tensor holds floats, integers or booleans, not {array.dtype}")
        array.flags.writeable = False
        self._data = array
        self.node = None
        self.leaf = Leaf(array.shape, array.dtype, name) if requires_grad or name else None
        self.memory_of = None
        if requires_grad:
            self.requires_grad = True

    @classmethod
    def _of(cls, array: Array, node: Node | None, shows: Leaf | None) -> Tensor:
        """Wrap an op's output, without a copy."""
        array.setflags(write=False)
        tensor = object.__new__(Tensor)
        tensor._data, tensor.node, tensor.leaf, tensor.memory_of = array, node, None, shows
        return tensor

    # --- the array ----------------------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._data.dtype

    @property
    def data(self) -> Array:
        """The numbers, read-only. `t.data = array` copies new ones into a leaf."""
        return self._data

    @data.setter
    def data(self, values: ArrayLike) -> None:
        if self.node is not None and self.node.op is not None:
            raise ValueError(f"this Tensor was computed by {self.node.op}; only a leaf's data can be set")
        if self.memory_of is not None:
            raise ValueError("this Tensor shows the memory of a leaf: set the leaf's data, or take a copy, Tensor(t)")
        array = np.asarray(values)
        if array.shape != self.shape:
            raise ValueError(f"data of shape {array.shape} does not fit a Tensor of shape {self.shape}")
        array = array.astype(self.dtype)
        if self.leaf is None:  # a constant: what was computed from it keeps the old array
            self._data = array
        else:
            self._data.flags.writeable = True
            self._data[...] = array
            self.leaf.version += 1
        self._data.flags.writeable = False

    def move_into(self, values: Array, gradient: Array, optimizer: Any) -> None:
        """Keep a leaf's numbers and gradient in these two arrays of its shape, from now on, as parts of larger ones."""
        assert self.leaf is not None
        values[...] = self._data
        self._data = values.view()
        self._data.flags.writeable = False
        if self.leaf.grad is not None:
            gradient[...] = self.leaf.grad
            self.leaf.grad = gradient
        self.leaf.grad_buffer = gradient
        self.leaf.optimizer = weakref.ref(optimizer)

    def convert_to(self, dtype: DTypeLike) -> None:
        """Give a leaf another dtype and forget its gradient."""
        assert self.leaf is not None
        self._data = self._data.astype(dtype)
        self._data.flags.writeable = False
        self.leaf.dtype, self.leaf.grad, self.leaf.grad_buffer = self._data.dtype, None, None
        self.leaf.version += 1  # graphs made before hold arrays of the old dtype

    def numpy(self) -> Array:
        """The numbers as a read-only array. The graph ends here: what you compute from it gets no gradient."""
        for observer in _state.observers:
            observer.cut("numpy()", self)
        return self._data

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"a Tensor of {array.dtype} cannot become {np.dtype(dtype)} without a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> float:
        """The number in a Tensor of one element, as Python's. The graph ends here, as with `numpy()`."""
        for observer in _state.observers:
            observer.cut("item()", self)
        return self._data.item()  # type: ignore[no-any-return]

    def __format__(self, form: str) -> str:
        return format(self.item(), form) if form else str(self)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        numbers = np.array2string(self._data, precision=4, threshold=50, separator=", ", prefix="Tensor(")
        origin = "" if self.node is None else f", op={self.node.op}" if self.node.op else ", requires_grad=True"
        return f"Tensor({numbers}, {self.dtype}{origin})"

    # --- its place in the graph ---------------------------------------------------------------------------------
    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if self.node is not None and self.node.op is not None:
            raise ValueError(f"this Tensor was computed by {self.node.op}; use .detach() to stop gradients here")
        if wanted and self.dtype.kind != "f":
            raise TypeError(f"only floating Tensors have gradients, not {self.dtype}: give it dtype=np.float32")
        if wanted and self.leaf is None:
            self._data = self._data.copy()
            self._data.flags.writeable = False
            self.leaf, self.memory_of = Leaf(self.shape, self.dtype), None
        self.node = self.leaf if wanted else None

    @property
    def name(self) -> str | None:
        """What pictures and errors call this leaf."""
        return self.leaf.name if self.leaf is not None else None

    @property
    def grad(self) -> Array | None:
        """What `backward()` has added up here so far, an array of this shape; None if the loss never reached it."""
        if self.node is not None and self.node.op is not None:
            raise RuntimeError(
                f"this Tensor was computed by {self.node.op}, and gradients stay only on leaves: "
                f"to see those in between, run forward and backward inside `with viz.record() as tape:`"
            )
        return self.leaf.grad if self.leaf is not None else None

    @grad.setter
    def grad(self, value: ArrayLike | None) -> None:
        if self.leaf is None or (self.node is not None and self.node.op is not None):
            raise RuntimeError("only a leaf with requires_grad=True has a gradient to set")
        array = None if value is None else np.asarray(value)
        if array is not None and array.shape != self.shape:
            raise ValueError(f"a gradient of shape {array.shape} does not fit a Tensor of shape {self.shape}")
        self.leaf.grad = None
        if array is not None:
            self.leaf.accumulate(array)

    def detach(self) -> Tensor:
        """The same numbers as a constant: gradients stop here."""
        for observer in _state.observers:
            observer.cut("detach()", self)
        return Tensor._of(self._data.view(), None, self.leaf or self.memory_of)

    def backward(self, grad: ArrayLike | None = None, retain_graph: bool = False) -> None:
        """Add d(self)/d(leaf) to the `.grad` of every leaf this was computed from.

        Arguments:
            grad: the gradient of the final loss with respect to this Tensor, of its shape. May be left out for a
                scalar, whose gradient with respect to itself is 1.
            retain_graph: keep what a second `backward()` needs; without it memory is freed on the way.

        Raises RuntimeError where there is no graph, where it is already used up, and where a leaf was changed between
        forward and backward; ValueError for a `grad` that is missing or of another shape.
        """
        if self.node is None:
            raise RuntimeError(
                "backward() has nowhere to go: no input of this Tensor requires a gradient, "
                "or it was computed under no_grad() or from detach() or .numpy()"
            )
        if grad is None:
            if self.size != 1:
                raise ValueError(
                    f"backward() starts from a scalar, not shape {self.shape}; "
                    f"take a .sum() or pass the gradient of y: y.backward(grad)"
                )
            start = np.ones_like(self._data)
        else:
            start = np.array(grad, dtype=self.dtype)
            if start.shape != self.shape:
                raise ValueError(f"backward(grad) of shape {start.shape} for a Tensor of shape {self.shape}")
        backward(self.node, start, retain_graph)

    def __reduce__(self) -> Any:
        """For copy.deepcopy and pickle: a leaf is its numbers, not its history."""
        if self.node is not None and self.node.op is not None:
            raise TypeError(f"only leaves can be copied or pickled; this Tensor was computed by {self.node.op}")
        return _leaf, (type(self), np.array(self._data), self.requires_grad, self.name)


def _leaf(cls: type[Tensor], array: Array, requires_grad: bool, name: str | None) -> Tensor:
    tensor = object.__new__(cls)
    Tensor.__init__(tensor, array, requires_grad=requires_grad, name=name)
    return tensor


# --- ops ---------------------------------------------------------------------------------------------------------


@overload
def op(f: Callable[P, Any]) -> Callable[P, Tensor]: ...
@overload
def op(
    *, name: str | None = None, indices: tuple[str, ...] = (), estimator: bool = False
) -> Callable[[Callable[P, Any]], Callable[P, Tensor]]: ...
def op(f: Any = None, **declared: Any) -> Any:
    """Make an op of `f(array, ..., *, static, ...) -> (y, vjps)`, and enter it in OPS.

    Positional parameters are arrays: where a caller gives a Tensor that requires a gradient, the VJP of that input is
    kept. Keyword-only parameters are static. `vjps` is one function, a tuple with one (or None) for each positional
    parameter, or `Joint(vjp)`.

    Arguments:
        name: what graphs and errors call it; the function's own name if left out.
        indices: the positional parameters that are integers and stay so.
        estimator: the VJP differs from the derivative, on purpose; gradcheck must find that it does.
    """
    if f is None:
        return functools.partial(op, **declared)
    name = declared.get("name") or f.__name__
    taken = OPS.get(name)
    if taken is not None and taken.__module__ != f.__module__:
        raise ValueError(f"there is an op {name!r} already, in {taken.__module__}: choose another name")
    OPS[name] = taped = as_op(f, **declared)
    return taped


def as_op(
    f: Any, *, name: str | None = None, indices: tuple[str, ...] = (), estimator: bool = False
) -> Callable[..., Tensor]:
    """What `@op` does, without entering it in OPS."""
    name = name or f.__name__
    parameters = inspect.signature(f).parameters.values()
    positional = {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)  # concat(*parts)
    n_positional = len(positional)
    is_index = [p in indices for p in positional]

    @functools.wraps(f)
    def apply(*args: Any, **static: Any) -> Tensor:
        if len(args) < n_positional:  # linear(x, weight), layer_norm(x, bias=b)
            args += tuple([_omitted(name, p, default, static) for p, default in list(positional.items())[len(args) :]])
        elif len(args) > n_positional and not variadic:
            raise TypeError(f"{name} takes {n_positional} arrays ({', '.join(positional)}), got {len(args)}")
        observers = _state.observers
        for observer in observers:
            observer.op_starts(name, args, static)

        like = None  # the dtype of the Tensors, floats before integers: raw arrays and numbers beside them take it
        wanted, fraction = 0, False  # how many need a gradient; is there a number with a decimal point
        for a in args:
            if isinstance(a, Tensor):
                dtype = a._data.dtype
                if dtype is not like:
                    like = _dtype_of_both(like, dtype)
                wanted += a.node is not None
            elif isinstance(a, float):
                fraction = True
        if fraction and like is not None and like.kind != "f":
            like = _FLOAT32  # integers times 0.5
        if static:
            static = {key: value if type(value) in _PLAIN else _owned(value) for key, value in static.items()}
        try:
            arrays = [_array(a, like) for a in args] if not indices else _with_indices(args, like, is_index)
            result = f(*arrays, **static)
        except (ValueError, TypeError, IndexError) as error:
            raise _with_context(error, name, args) from error
        if type(result) is not tuple or len(result) != 2:
            raise TypeError(f"the op {name} must return (y, vjp), or (y, (vjp_a, vjp_b, ...)), or (y, Joint(vjp))")
        y, vjps = result
        if type(y) is not np.ndarray:
            y = np.asarray(y)

        node = _remember(name, args, arrays, static, y, vjps, wanted) if wanted and _state.recording else None
        shows = None
        if not y.flags.writeable:  # it is, or is a view of, one of the Tensors: perhaps of a parameter
            shows = _shown(y, args)
        output = Tensor._of(y, node, shows)
        for observer in observers:
            observer.op_ends(name, args, static, output)
        return output

    apply.estimator = estimator  # type: ignore[attr-defined]
    apply.indices = indices  # type: ignore[attr-defined]
    return apply


def _remember(
    name: str, args: Sequence[Any], arrays: Sequence[Any], static: dict[str, Any], y: Array, vjps: Any, wanted: int
) -> Node:
    """The Node of one call of an op, of whose arguments `wanted` need a gradient."""
    node = Node(name, y.shape, y.dtype)
    inputs: list[Node | Constant | int | float | None] = []
    used = []
    for a, array in zip(args, arrays):  # noqa: B905  (strict=True costs a tenth of a small op)
        if isinstance(a, Tensor) and a.node is not None:
            inputs.append(a.node)
        elif array is None or isinstance(a, (int, float)):
            inputs.append(a)
        else:
            inputs.append(Constant(array.shape, array.dtype))
        if isinstance(a, Tensor) and (leaf := a.leaf or a.memory_of):
            used.append((leaf, leaf.version))
    if not isinstance(vjps, Joint):
        vjps = vjps if isinstance(vjps, tuple) else (vjps,)
        if len(vjps) != len(inputs):
            raise TypeError(
                f"the op {name} returned {len(vjps)} VJPs for {len(inputs)} arrays: it needs one for each positional "
                f"parameter (None where there is no gradient); what is not an array goes after a `*`"
            )
        if wanted < len(inputs):  # VJPs that nobody needs would hold arrays
            vjps = [vjp if isinstance(i, Node) else None for vjp, i in zip(vjps, inputs, strict=True)]
    node.inputs, node.versions, node.vjps = inputs, used, vjps
    if static:
        node.static = {key: value if type(value) in _PLAIN else _described(value) for key, value in static.items()}
    return node


def _omitted(name: str, parameter: str, default: Any, static: dict[str, Any]) -> Any:
    """An array that was not given by position: by keyword, or not at all."""
    if parameter not in static and default is inspect.Parameter.empty:
        raise TypeError(f"{name} needs {parameter}")
    return static.pop(parameter, default)


def _dtype_of_both(a: np.dtype[Any] | None, b: np.dtype[Any]) -> np.dtype[Any]:
    """Between floats the wider; a float before an integer, whatever their sizes; an integer before a boolean."""
    if a is None or a.kind == b.kind:
        return b if a is None else np.promote_types(a, b)
    return max(a, b, key=lambda dtype: "buif".index(dtype.kind))


def _with_indices(args: Sequence[Any], like: np.dtype[Any] | None, is_index: list[bool]) -> list[Array | None]:
    return [_array(a, like, index) for a, index in zip(args, is_index, strict=True)]


def _array(a: Any, like: np.dtype[Any] | None, index: bool = False) -> Array | None:
    """The array an op computes with. Raw arrays are copied: a VJP may keep them, and the caller may write them."""
    if isinstance(a, Tensor):
        array = a._data
        if array.dtype.kind == "f" and not index:
            return array
    elif a is None:
        return None
    else:
        _no_tensors_inside(a)
        whole = like is not None and like.kind in "iu" and type(a) is int  # NumPy says if it is too large
        array = np.array(a, dtype=like if whole else None)
    kind = array.dtype.kind
    if index:
        if kind not in "iu":
            raise TypeError(f"indices must be integers, not {array.dtype}: use .astype(int)")
        return array
    if kind not in "iufb":
        raise TypeError(f"cannot compute with {array.dtype}; Tensors hold floats, integers or booleans")
    if kind == "b":  # masks and conditions
        return array
    if like is not None and like.kind == "f":
        return array.astype(like, copy=False)
    if isinstance(a, (np.ndarray, np.generic, Tensor)) or (like is not None and kind in "iu"):
        return array
    return array.astype(np.float32)


def _no_tensors_inside(a: Any) -> None:
    if isinstance(a, (list, tuple)):
        for item in a:
            if isinstance(item, Tensor):
                raise TypeError(
                    "a list of Tensors would cut them off from their graph: join them by stack([...]) or concat([...])"
                )
            _no_tensors_inside(item)


def _shown(y: Array, args: Sequence[Any]) -> Leaf | None:
    """The leaf whose memory y shows."""
    tensors = [a for a in args if isinstance(a, Tensor)]
    if len(tensors) > 1:
        tensors = [t for t in tensors if np.may_share_memory(y, t._data)]
    return (tensors[0].leaf or tensors[0].memory_of) if tensors else None


def _owned(value: Any) -> Any:
    """A static argument that nobody else can write: VJPs keep masks and index arrays."""
    if isinstance(value, (Tensor, np.ndarray)):
        return np.array(value)
    if isinstance(value, np.generic):
        return value.item()  # a Python number does not widen float32, np.float64(2) would
    if isinstance(value, list):
        return [_owned(item) for item in value]
    return tuple(_owned(item) for item in value) if type(value) is tuple else value


def _described(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return Constant(value.shape, value.dtype)
    return tuple(_described(item) for item in value) if type(value) in (tuple, list) else value


def _with_context(error: Exception, name: str, args: Sequence[Any]) -> Exception:
    """The error an op raised, with what the op did not know: module, op and shapes."""
    shapes = [str(a.shape) if hasattr(a, "shape") else type(a).__name__ for a in args if a is not None]
    where = f"in {_state.scope}: " if _state.scope else ""
    of = f" of {'shape' if len(shapes) == 1 else 'shapes'} {' and '.join(shapes)}" if shapes else ""
    kind = next(k for k in (ValueError, IndexError, TypeError) if isinstance(error, k))
    return kind(f"{where}{name}{of}: {error}")


# --- backward ----------------------------------------------------------------------------------------------------


def backward(root: Node, grad: Array, retain_graph: bool = False) -> None:
    """Pull `grad` back from `root` to the leaves: reverse-mode differentiation, all of it."""
    pending = {root: grad}  # what has arrived at a Node so far
    nodes = newest_first(root)
    for node in nodes:
        check_usable(node)
    for node in nodes:
        arrived = pending.pop(node, None)  # the newest: every use of it has already been pulled back
        if arrived is None:
            continue
        if isinstance(node, Leaf):
            node.accumulate(arrived)
            for observer in _state.observers:
                observer.leaf(node, arrived)
            continue
        for parent, contribution in zip(node.inputs, pull_back(node, arrived), strict=True):
            if contribution is not None and isinstance(parent, Node):
                pending[parent] = pending[parent] + contribution if parent in pending else contribution
        if not retain_graph:
            node.vjps = None


def newest_first(root: Node) -> list[Node]:
    """All Nodes that `root` was computed from and itself, newest first: outputs before inputs."""
    seen, stack = {root}, [root]
    while stack:
        for parent in stack.pop().inputs:
            if isinstance(parent, Node) and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=lambda node: node.created, reverse=True)


def check_usable(node: Node) -> None:
    if node.op is not None and node.vjps is None:
        raise RuntimeError(
            f"backward() has already gone through {node.op} and freed what it needs: run the forward pass again, "
            f"or keep it with backward(retain_graph=True)"
        )
    for leaf, version in node.versions:
        if leaf.version != version:
            raise RuntimeError(
                f"{f'in {node.scope}: ' if node.scope else ''}{node.op} used {leaf.name or 'a leaf'} of shape "
                f"{leaf.shape}, which was changed after the forward pass: its gradient would be wrong. "
                f"Run the forward pass again before backward()"
            )


def pull_back(node: Node, grad: Array) -> list[Array | None]:
    """The contribution of one Node's output gradient to each of its inputs (None: needs none)."""
    for observer in _state.observers:
        observer.vjp_starts(node, grad)
    try:
        if isinstance(node.vjps, Joint):
            found = node.vjps.vjp(grad)
        else:
            assert node.vjps is not None
            found = [None if vjp is None else vjp(grad) for vjp in node.vjps]
        contributions = [
            unbroadcast(g, parent) if g is not None and isinstance(parent, Node) else None
            for g, parent in zip(found, node.inputs, strict=True)
        ]
    except Exception as error:
        error.add_note(f"in the backward pass of {node.op}{' in ' + node.scope if node.scope else ''}")
        raise
    for observer in _state.observers:
        observer.vjp_ends(node, grad, contributions)
    return contributions


def unbroadcast(grad: Array, parent: Node) -> Array:
    """Copying forward is summing backward: add up the gradients of all the copies that broadcasting made."""
    shape = parent.shape
    if grad.shape != shape:
        extra = grad.ndim - len(shape)  # axes that broadcasting put in front
        copied = [axis for axis in range(grad.ndim) if axis < extra or shape[axis - extra] == 1]
        grad = grad.sum(tuple(copied), keepdims=True)
        grad = grad.reshape(grad.shape[max(extra, 0) :])
        if grad.shape != shape:
            raise ValueError(f"a VJP returned a gradient of shape {grad.shape} for an input of shape {shape}")
    return grad if grad.dtype == parent.dtype else grad.astype(parent.dtype)


# --- modes and observers -----------------------------------------------------------------------------------------


class no_grad(contextlib.ContextDecorator):
    """`with no_grad():` (or `@no_grad()`): compute without remembering how; cheaper where nothing will be trained."""

    def __enter__(self) -> None:
        self.before = [*getattr(self, "before", []), _state.recording]
        _state.recording = False

    def __exit__(self, *exception: object) -> None:
        _state.recording = self.before.pop()

    def _recreate_cm(self) -> no_grad:  # a decorated function may run in several threads at once
        return no_grad()


def in_scope(name: str, f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `f` with `name` added to the scope: `blocks.0` calling `attn` makes "blocks.0.attn"."""
    before = _state.scope
    _state.scope = f"{before}.{name}" if before and name else before or name
    try:
        return f(*args, **kwargs)
    finally:
        _state.scope = before


def current_scope() -> str:
    """The dotted name of the module being called, "" outside of any."""
    return _state.scope


class Observer:
    """What `watch` calls. Inherit, and override what you want to see; arrays are yours to read, not to write."""

    def op_starts(self, name: str, args: tuple[Any, ...], static: dict[str, Any]) -> None:
        """An op is called, with the arguments the caller gave (also under no_grad)."""

    def op_ends(self, name: str, args: tuple[Any, ...], static: dict[str, Any], result: Tensor) -> None:
        """It has returned. `result.node` is None where nothing was taped."""

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
    before = _state.observers
    _state.observers = (*before, observer)
    try:
        yield observer
    finally:
        _state.observers = before
