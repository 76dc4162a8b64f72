"""What an op is called with, and the arrays it computes with: defaults, dtypes, copies, and errors that say where.

One rule for dtypes. Floats are float32 or float64. An array keeps its dtype; lists and Python numbers become float32.
A raw array or a number beside floating Tensors takes their dtype, so that `x * np.float64(2)` stays float32; only
Tensor with Tensor promotes. An op that computes turns integers and booleans into float32; one that only moves elements,
such as `reshape`, keeps them as they are (`@op(keeps_dtype=True)`).

One rule for memory. Raw arrays are copied: a VJP may keep them, and the caller may write them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.ma import MaskedArray
from numpy.typing import ArrayLike, DTypeLike, NDArray

from minigrad.tensors.modes import in_module
from minigrad.tensors.storage import Storage

if TYPE_CHECKING:
    from minigrad.engine import Leaf, Node

Array = NDArray[Any]

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_PLAIN = frozenset({int, float, bool, str, type(None)})  # static arguments that can be kept as they are


class Constant(NamedTuple):
    """What a Node remembers of an input that needs no gradient."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


# --- the array of a Tensor --------------------------------------------------------------------------------------------


def array_for_tensor(data: Any, dtype: DTypeLike | None) -> Array:
    """A read-only copy of `data`, for `Tensor(data)`."""
    _check_raw(data)
    array = np.array(data._data if isinstance(data, Storage) else data, dtype=dtype)
    if dtype is None and not isinstance(data, (np.ndarray, np.generic, Storage)) and array.dtype.kind in "iuf":
        array = array.astype(np.float32)
    if array.dtype.kind not in "iufb":
        raise TypeError(f"a Tensor holds floats, integers or booleans, not {array.dtype}")
    check_float(array.dtype)
    array.flags.writeable = False
    return array


def check_float(dtype: np.dtype[Any]) -> None:
    """Raise TypeError for a floating dtype that is not one of the two."""
    if dtype.kind == "f" and dtype not in (FLOAT32, FLOAT64):
        swapped = "" if dtype.isnative else " in foreign byte order"
        raise TypeError(f"floats are float32 or float64, not {dtype.name}{swapped}: use .astype(np.float32)")


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raise ValueError unless `value` is an integer of at least `least`."""
    if type(value) is int and value >= least:
        return
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, not {value!r}")


def check_share(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a number from 0 to below 1."""
    if not (isinstance(value, Real) and 0 <= float(value) < 1):
        raise ValueError(f"{name} must be a number from 0 to below 1, not {value!r}")


# --- the arguments of an op -------------------------------------------------------------------------------------------


class Signature:
    """What the signature of an op says: which of its arguments are arrays, and which of those are indices."""

    def __init__(self, name: str, f: Callable[..., Any], indices: tuple[str, ...], keeps_dtype: bool) -> None:
        parameters = inspect.signature(f).parameters.values()
        self.name, self.keeps_dtype = name, keeps_dtype
        self.defaults = [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        for parameter, default in self.defaults:
            if isinstance(default, (int, str, tuple)):
                raise TypeError(
                    f"the op {name} would take {parameter}={default!r} for an array: put a `*` before it, "
                    f"as in {name}(x, *, {parameter}={default!r})"
                )
        self.n = len(self.defaults)
        self.keywords = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        self.open = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)  # concat(*parts)
        self.is_index = [name in indices for name, _ in self.defaults]
        self.has_indices = any(self.is_index)

    def complete(self, args: tuple[Any, ...], static: dict[str, Any]) -> tuple[Any, ...]:
        """All arrays in order, those too that were given by keyword or left out: linear(x, weight) has no bias."""
        given, wanted = len(args), self.n
        if given == wanted and not static:
            return args
        if given < wanted:
            missing = self.defaults[given:]
            for name, default in missing:
                if name not in static and default is inspect.Parameter.empty:
                    raise TypeError(f"{self.name} needs {name}")
            args += tuple([static.pop(name, default) for name, default in missing])
        elif given > wanted and not self.variadic:
            names = ", ".join(name for name, _ in self.defaults)
            arrays = "1 array" if wanted == 1 else f"{wanted} arrays"
            by_name = ", ".join(f"{name}=..." for name in sorted(self.keywords))
            way_out = f"; give by name what is not an array: {by_name}" if by_name else ""
            raise TypeError(f"{self.name} takes {arrays} ({names}), got {given}{way_out}")
        if static and not self.open and not self.keywords.issuperset(static):
            raise with_context(self._unknown(static), self.name, args)
        return args

    def _unknown(self, static: dict[str, Any]) -> TypeError:
        """The error for a keyword that the op does not have."""
        key = next(key for key in static if key not in self.keywords)
        if any(key == name for name, _ in self.defaults):
            return TypeError(f"{key!r} is given twice")
        return unknown_keyword(key, self.keywords)

    def arrays(self, args: tuple[Any, ...]) -> list[Any]:
        """The arrays that the op computes with; None for what was left out."""
        if not self.has_indices:
            arrays = _of_one_float_dtype(args)  # nearly always
            if arrays is not None:
                return arrays
        like = _dtype_of_tensors(args)
        if not self.keeps_dtype and like is not None and like.kind != "f":
            like = FLOAT32
        if self.variadic or not self.has_indices:
            return [_array(a, like, self.keeps_dtype) for a in args]
        return [
            _index(a) if index else _array(a, like, self.keeps_dtype)
            for a, index in zip(args, self.is_index, strict=True)
        ]


def unknown_keyword(key: str, keywords: Collection[str]) -> TypeError:
    """The error for a keyword that is none of these."""
    theirs = {"dim": "axis", "keepdim": "keepdims"}.get(key)
    meant = f"; what PyTorch calls {key} is {theirs} here" if theirs in keywords else ""
    return TypeError(f"no keyword {key!r}: it has {', '.join(sorted(keywords)) or 'none'}{meant}")


def _of_one_float_dtype(args: tuple[Any, ...]) -> list[Any] | None:
    """The arrays of the arguments if all are Tensors of one floating dtype, or left out; else None."""
    arrays: list[Any] = []
    dtype = None
    for a in args:
        array = None
        if a is not None:
            if not isinstance(a, Storage):
                return None
            array = a._data
            if array.dtype is not dtype:
                if dtype is not None:
                    return None
                dtype = array.dtype
        arrays.append(array)
    return arrays if dtype is FLOAT32 or dtype is FLOAT64 else None


def _dtype_of_tensors(args: Sequence[Any]) -> np.dtype[Any] | None:
    """The dtype that raw arrays and numbers beside Tensors take; None where there is no Tensor.

    Between floats it is the wider; a float comes before an integer, whatever their sizes, an integer before a boolean.
    """
    like: np.dtype[Any] | None = None
    for a in args:
        if isinstance(a, Storage) and a._data.dtype is not like:
            dtype = a._data.dtype
            if like is None or like.kind == dtype.kind:
                like = dtype if like is None else np.promote_types(like, dtype)
            else:
                like = max(like, dtype, key=lambda dtype: "buif".index(dtype.kind))
    if like is not None and like.kind != "f" and any(isinstance(a, float) for a in args):
        return FLOAT32  # integers times 0.5
    return like


def _array(a: Any, like: np.dtype[Any] | None, keeps_dtype: bool) -> Array | None:
    if isinstance(a, Storage):
        array = a._data
        if array.dtype.kind == "f":
            return array.astype(like, copy=False)
    elif a is None:
        return None
    else:
        _check_raw(a)
        whole = like is not None and like.kind in "iu" and type(a) is int  # NumPy says if it is too large
        array = np.array(a, dtype=like if whole else None)
    kind = array.dtype.kind
    if kind not in "iufb":
        raise TypeError(f"cannot compute with {array.dtype}; Tensors hold floats, integers or booleans")
    if kind == "b" and keeps_dtype:  # conditions
        return array
    if like is not None and like.kind == "f":
        return array.astype(like, copy=False)
    if kind != "f" and not keeps_dtype:
        return array.astype(FLOAT32)
    if isinstance(a, (np.ndarray, np.generic, Storage)) or (like is not None and kind in "iu"):
        check_float(array.dtype)
        return array
    return array.astype(FLOAT32)


def _index(a: Any) -> Array | None:
    if a is None:
        return None
    _check_raw(a)
    array = a._data if isinstance(a, Storage) else np.array(a)
    if array.dtype.kind not in "iu":
        convert = ".numpy().astype(int)" if isinstance(a, Storage) else ".astype(int)"
        raise TypeError(f"indices must be integers, not {array.dtype}: use {convert}")
    return array


def _check_raw(a: Any) -> None:
    """Raise TypeError for what NumPy would convert at a loss: its masked arrays, and lists with Tensors inside."""
    if isinstance(a, MaskedArray):
        raise TypeError("a masked array would lose its mask: use .filled(number), and pass the mask to the op")
    if isinstance(a, (list, tuple)):
        for item in a:
            if isinstance(item, Storage):
                raise TypeError(
                    "a list of Tensors would cut them off from their graph: join them by stack([...]) or concat([...])"
                )
            _check_raw(item)


# --- static arguments -------------------------------------------------------------------------------------------------


def own(op: str, static: dict[str, Any]) -> dict[str, Any]:
    """Static arguments that nobody else can write: VJPs keep masks and index arrays."""
    return {key: value if type(value) in _PLAIN else _owned(value, op, key) for key, value in static.items()}


def _owned(value: Any, op: str, key: str) -> Any:
    if isinstance(value, Storage) and value.node is not None:
        raise TypeError(
            f"{in_module()}{op} takes {key} as a constant, and this Tensor would silently get no gradient: "
            f"pass {key}=t.detach(), or write the formula in ops that take Tensors"
        )
    if isinstance(value, (Storage, np.ndarray)):
        _check_raw(value)
        array = np.array(value)
        return array if array.ndim else array.item()  # like a NumPy scalar
    if isinstance(value, np.generic):
        return value.item()  # a Python number does not widen float32, np.float64(2) would
    if isinstance(value, list):
        return [item if type(item) in _PLAIN else _owned(item, op, key) for item in value]
    if type(value) is tuple:
        return tuple([item if type(item) in _PLAIN else _owned(item, op, key) for item in value])
    return value


def describe(static: dict[str, Any]) -> dict[str, Any]:
    """Static arguments as a Node keeps them: arrays among them as Constants."""
    return {key: value if type(value) in _PLAIN else _described(value) for key, value in static.items()}


def _described(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return Constant(value.shape, value.dtype)
    return tuple(_described(item) for item in value) if type(value) in (tuple, list) else value


def inputs_of(args: Sequence[Any], arrays: Sequence[Any]) -> tuple[list[Any], list[tuple[Leaf, int]], int]:
    """What a Node remembers of its inputs: the Nodes they came from, and of the others no more than shapes or numbers.

    Also the leaves whose memory the VJPs may hold, each with its version now; and how many inputs need a gradient.
    """
    inputs: list[Node | Constant | int | float | None] = []
    versions, n_needed = [], 0
    for a, array in zip(args, arrays):  # noqa: B905  (strict=True costs a tenth of a small op)
        if isinstance(a, Storage):
            leaf = a.leaf or a.memory_of
            if leaf is not None:
                versions.append((leaf, leaf.version))
            if a.node is not None:
                inputs.append(a.node)
                n_needed += 1
                continue
        plain = array is None or isinstance(a, (int, float))
        inputs.append(a if plain else Constant(array.shape, array.dtype))
    return inputs, versions, n_needed


# --- what an op gives back, and where backward starts -----------------------------------------------------------------


def value_and_vjps(name: str, result: Any) -> tuple[Array, Any]:
    """What an op returned, if it is a value and its VJPs."""
    if type(result) is not tuple or len(result) != 2:
        raise TypeError(f"the op {name} must return (y, vjp), or (y, (vjp_a, vjp_b, ...)), or (y, Joint(vjp))")
    y, vjps = result
    return (y if type(y) is np.ndarray else np.asarray(y)), vjps


class Joint:
    """Marks one VJP that returns the gradients of all inputs at once, where they share most of their work."""

    __slots__ = ("vjp",)

    def __init__(self, vjp: Callable[[Array], Sequence[Array | None]]) -> None:
        self.vjp = vjp


def needed_vjps(name: str, vjps: Any, inputs: list[Any], n_needed: int) -> Any:
    """The VJPs of an op as its Node keeps them. Those that nobody needs are let go: they hold arrays."""
    if type(vjps) is not tuple:
        if isinstance(vjps, Joint):
            return vjps
        vjps = (vjps,)
    if len(vjps) != len(inputs):
        raise TypeError(
            f"the op {name} returned {len(vjps)} VJPs for {len(inputs)} arrays: it needs one for each positional "
            f"parameter (None where there is no gradient); what is not an array goes after a `*`"
        )
    if n_needed < len(inputs):
        without_node = (Constant, int, float, type(None))
        vjps = tuple([None if isinstance(i, without_node) else vjp for vjp, i in zip(vjps, inputs, strict=True)])
    return vjps


def check_returned(node: Node, grads: Sequence[Array | None] | None) -> None:
    """Raise TypeError unless the VJPs of a Node returned a gradient each, a joint one as many as there are inputs."""
    vjps, n = node.vjps, len(node.inputs)
    if isinstance(vjps, Joint):
        if grads is None or len(grads) != n:
            found = "None" if grads is None else f"{len(grads)} gradients"
            raise TypeError(
                f"the joint VJP of {node.op} returned {found} for {n} arrays: it returns one gradient for each, "
                f"and None for one that has none"
            )
        return
    assert vjps is not None and grads is not None
    for i in range(n):
        if grads[i] is None and vjps[i] is not None:
            raise TypeError(f"the VJP for input {i} of {node.op} returned None: is its `return` missing?")


def explain_vjp(error: Exception, node: Node, position: int | None) -> None:
    """Add op and module to an error in one step of backward.

    Where a VJP has returned the wrong thing for the input at `position`, raise the error that says so.
    """
    where = f"in the backward pass of {node.op}{' in ' + node.scope if node.scope else ''}"
    if position is None:
        error.add_note(where)
        return
    name = getattr(node.inputs[position], "name", None)
    vjp = f"{where}: the VJP for input {position}{f', {name},' if name else ''}"
    if isinstance(error, AttributeError):
        raise TypeError(f"{vjp} returned {error.obj!r}, not an array in the shape of that input") from None
    raise ValueError(f"{vjp} {error}") from None


def start_of_backward(t: Storage, grad: ArrayLike | None) -> Array:
    """The gradient that backward() starts from; an error where it cannot start."""
    if t.node is None:
        raise RuntimeError(
            "backward() has nowhere to go: no input of this Tensor requires a gradient, "
            "or it was computed under no_grad() or from detach() or .numpy()"
        )
    if grad is None:
        if t.size != 1:
            raise ValueError(
                f"backward() starts from a scalar, not shape {t.shape}; "
                f"take a .sum() or pass the gradient of y: y.backward(grad)"
            )
        return np.ones_like(t._data)
    return t._fitting(grad, "backward(grad)").astype(t.dtype)


def with_context(error: Exception, name: str, args: Sequence[Any]) -> Exception:
    """The error an op raised, with what the op did not know: module, op and shapes."""
    shapes = [str(a.shape) if hasattr(a, "shape") else type(a).__name__ for a in args if a is not None]
    of = f" of {'shape' if len(shapes) == 1 else 'shapes'} {' and '.join(shapes)}" if shapes else ""
    kind = next(k for k in (ValueError, IndexError, TypeError) if isinstance(error, k))
    return kind(f"{in_module()}{name}{of}: {error}")
