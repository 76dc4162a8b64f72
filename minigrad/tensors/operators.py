"""What `+ * @ []` and the methods of a Tensor mean: each is one op, looked up by name in `OPS`, or a few of them.

`@op` (engine.py) puts every op into `OPS`, `@composed` what is made of ops into `COMPOSED`; `Tensor` inherits from
`Operators`. Spelled out rather than generated, so that an editor completes them and a type checker knows what they
return.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minigrad.tensors import arguments, hints
from minigrad.tensors.storage import Storage

if TYPE_CHECKING:
    from minigrad.engine import Tensor

P = ParamSpec("P")
R = TypeVar("R")
type_of_axis = int | tuple[int, ...] | None

OPS: dict[str, Callable[..., Tensor]] = {}
COMPOSED: dict[str, Callable[..., Any]] = {}  # functions of Tensors that call ops, and have no Node of their own


def checks_keywords(f: Callable[P, R]) -> Callable[P, R]:
    """Refuse a keyword that f does not have as ops do: `t.sum(dim=1)` is told of axis."""
    parameters = inspect.signature(f).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return f  # handed on to an op, which looks at them
    known = parameters.keys() - {"self"}

    @functools.wraps(f)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if not kwargs.keys() <= known:
            unknown = next(key for key in kwargs if key not in known)
            raise arguments.with_context(arguments.unknown_keyword(unknown, known), f.__name__, _with_shapes(args))
        return f(*args, **kwargs)

    return checked


def composed(f: Callable[P, R]) -> Callable[P, R]:
    """Enter a function that is made of ops in COMPOSED. Its errors and its keywords are like those of ops."""

    @checks_keywords
    @functools.wraps(f)
    def apply(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return f(*args, **kwargs)
        except (ValueError, TypeError, IndexError) as error:
            if error.__cause__ is not None:  # an op inside has said where
                raise
            raise arguments.with_context(error, f.__name__, _with_shapes(args)) from error

    COMPOSED[f.__name__] = apply
    return apply


def _with_shapes(args: tuple[Any, ...]) -> list[Any]:
    """The arrays and Tensors among the arguments of a function, those in lists, too."""
    flat = [item for a in args for item in (a if isinstance(a, (list, tuple)) else [a])]
    return [item for item in flat if hasattr(item, "shape")]


# NumPy's functions called on a Tensor (`np.exp(t)`, and `array + t`) are these ops.
UFUNCS = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "power": "pow", "float_power": "pow",
    "negative": "neg", "absolute": "abs", "exp": "exp", "log": "log", "sqrt": "sqrt", "tanh": "tanh",
    "maximum": "maximum", "minimum": "minimum", "matmul": "matmul", "sin": "sin", "cos": "cos",
}  # fmt: skip
# So are these: minigrad's name, how many arrays come first (None: all), and what else may stand by position.
FUNCTIONS: dict[str, tuple[str, int | None, str]] = {
    **{name: (name, 1, "axis") for name in ("sum", "mean", "var", "std", "prod", "max", "min", "cumsum", "squeeze")},
    "amax": ("max", 1, "axis"), "amin": ("min", 1, "axis"), "norm": ("norm", 1, "ord axis keepdims"),
    "where": ("where", 3, ""), "clip": ("clip", 1, "low high"), "einsum": ("einsum", None, ""),
    "reshape": ("reshape", 1, "shape"), "ravel": ("flatten", 1, ""), "expand_dims": ("expand_dims", 1, "axis"),
    "transpose": ("transpose", 1, "axes"), "swapaxes": ("swapaxes", 1, "axis1 axis2"), "tril": ("tril", 1, "k"),
    "broadcast_to": ("broadcast_to", 1, "shape"), "split": ("split", 1, "sections axis"),
    "concatenate": ("concat", 1, "axis"), "stack": ("stack", 1, "axis"),
}  # fmt: skip
THEIR_WORDS = {"a_min": "low", "a_max": "high", "min": "low", "max": "high", "indices_or_sections": "sections"}
COMPARISONS = {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
TESTS = {"isnan", "isfinite", "isinf", "sign"}
# These ask something about an array, so a Tensor that requires a gradient may answer, too.
QUESTIONS = {"shape", "ndim", "size", "argmax", "argmin", "argsort", "allclose", "isclose", "array_equal"}


class Operators:
    """The operators and methods of a Tensor, in NumPy's words. Comparisons give plain boolean arrays."""

    __slots__ = ()

    # --- arithmetic -------------------------------------------------------------------------
    def __add__(self, other: Any) -> Tensor:
        return OPS["add"](self, other)

    def __radd__(self, other: Any) -> Tensor:
        return OPS["add"](other, self)

    def __sub__(self, other: Any) -> Tensor:
        return OPS["sub"](self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return OPS["sub"](other, self)

    def __mul__(self, other: Any) -> Tensor:
        return OPS["mul"](self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return OPS["mul"](other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return OPS["div"](self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return OPS["div"](other, self)

    def __pow__(self, other: Any) -> Tensor:
        return OPS["pow"](self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return OPS["pow"](other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return OPS["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return OPS["matmul"](other, self)

    def __neg__(self) -> Tensor:
        return OPS["neg"](self)

    def __pos__(self) -> Tensor:
        return self  # type: ignore[return-value]  # nobody writes it, so it needs no copy

    def __abs__(self) -> Tensor:
        return OPS["abs"](self)

    # --- indexing -----------------------------------------------------------------------------
    def __getitem__(self, index: Any) -> Tensor:
        return OPS["getitem"](self, index=index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "a Tensor is not written in place (backward may still need its values): "
            "use where(condition, new, old), or change a leaf's numbers with t.data = array"
        )

    # --- comparisons: plain arrays, nothing to differentiate ------------------------------------
    def __eq__(self, other: object) -> NDArray[np.bool_]:  # type: ignore[override]
        return np.asarray(np.equal(np.asarray(self), np.asarray(other)))

    def __ne__(self, other: object) -> NDArray[np.bool_]:  # type: ignore[override]
        return np.asarray(np.not_equal(np.asarray(self), np.asarray(other)))

    def __lt__(self, other: Any) -> NDArray[np.bool_]:
        return np.asarray(np.asarray(self) < np.asarray(other))

    def __le__(self, other: Any) -> NDArray[np.bool_]:
        return np.asarray(np.asarray(self) <= np.asarray(other))

    def __gt__(self, other: Any) -> NDArray[np.bool_]:
        return np.asarray(np.asarray(self) > np.asarray(other))

    def __ge__(self, other: Any) -> NDArray[np.bool_]:
        return np.asarray(np.asarray(self) >= np.asarray(other))

    __hash__ = object.__hash__  # by identity, though == compares values

    # --- elementwise ----------------------------------------------------------------------------
    def exp(self) -> Tensor:
        return OPS["exp"](self)

    def log(self) -> Tensor:
        return OPS["log"](self)

    def sqrt(self) -> Tensor:
        return OPS["sqrt"](self)

    def tanh(self) -> Tensor:
        return OPS["tanh"](self)

    def sigmoid(self) -> Tensor:
        return OPS["sigmoid"](self)

    def relu(self) -> Tensor:
        return OPS["relu"](self)

    def abs(self) -> Tensor:
        return OPS["abs"](self)

    def clip(self, low: float | None = None, high: float | None = None) -> Tensor:
        return OPS["clip"](self, low=low, high=high)

    # --- reductions ---------------------------------------------------------------------------
    @checks_keywords
    def sum(self, axis: type_of_axis = None, keepdims: bool = False) -> Tensor:
        return OPS["sum"](self, axis=axis, keepdims=keepdims)

    @checks_keywords
    def mean(self, axis: type_of_axis = None, keepdims: bool = False) -> Tensor:
        return OPS["mean"](self, axis=axis, keepdims=keepdims)

    @checks_keywords
    def var(self, axis: type_of_axis = None, keepdims: bool = False) -> Tensor:
        return OPS["var"](self, axis=axis, keepdims=keepdims)

    @checks_keywords
    def max(self, axis: type_of_axis = None, keepdims: bool = False) -> Tensor:
        return OPS["max"](self, axis=axis, keepdims=keepdims)

    @checks_keywords
    def min(self, axis: type_of_axis = None, keepdims: bool = False) -> Tensor:
        return OPS["min"](self, axis=axis, keepdims=keepdims)

    @checks_keywords
    def std(self, axis: type_of_axis = None, keepdims: bool = False) -> Tensor:
        return COMPOSED["std"](self, axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]

    @checks_keywords
    def prod(self, axis: type_of_axis = None, keepdims: bool = False) -> Tensor:
        return OPS["prod"](self, axis=axis, keepdims=keepdims)

    @checks_keywords
    def cumsum(self, axis: int | None = None) -> Tensor:
        return OPS["cumsum"](self, axis=axis)

    @checks_keywords
    def argmax(self, axis: int | None = None, keepdims: bool = False) -> NDArray[np.int64]:
        return COMPOSED["argmax"](self, axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]

    @checks_keywords
    def softmax(self, axis: int = -1) -> Tensor:
        return OPS["softmax"](self, axis=axis)

    # --- shape --------------------------------------------------------------------------------
    def reshape(self, *shape: int | tuple[int, ...]) -> Tensor:
        """Both `t.reshape(2, 3)` and `t.reshape((2, 3))`, as in NumPy."""
        return OPS["reshape"](self, shape=shape[0] if len(shape) == 1 else shape)

    def flatten(self) -> Tensor:
        return COMPOSED["flatten"](self)  # type: ignore[no-any-return]

    @checks_keywords
    def squeeze(self, axis: type_of_axis = None) -> Tensor:
        return COMPOSED["squeeze"](self, axis=axis)  # type: ignore[no-any-return]

    def astype(self, dtype: DTypeLike) -> Tensor:
        """The same numbers as float32 or float64; the gradient comes back in this Tensor's own dtype."""
        return OPS["astype"](self, dtype=np.dtype(dtype).name)

    def transpose(self, *axes: int | tuple[int, ...]) -> Tensor:
        """Reverse the axes, or put them in the order given: `t.transpose(0, 2, 1)`."""
        return OPS["transpose"](self, axes=axes[0] if len(axes) == 1 else axes or None)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        return OPS["swapaxes"](self, axis1=axis1, axis2=axis2)

    def broadcast_to(self, shape: tuple[int, ...]) -> Tensor:
        return OPS["broadcast_to"](self, shape=shape)

    @property
    def mT(self) -> Tensor:
        """The matrix transpose: the last two axes swapped."""
        return OPS["swapaxes"](self, axis1=-1, axis2=-2)

    @property
    def T(self) -> Tensor:
        """All axes reversed; of a batch of matrices you probably want `.mT`."""
        return OPS["transpose"](self, axes=None)

    def __dir__(self) -> list[str]:
        return sorted(set(super().__dir__()) - hints.IN_TENSOR.keys())

    # --- NumPy's functions on a Tensor --------------------------------------------------------
    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        name = ufunc.__name__
        if name in COMPARISONS | TESTS and method == "__call__":
            return ufunc(*map(np.asarray, inputs), **options)
        if name in UFUNCS and method == "__call__" and not options:
            return OPS[UFUNCS[name]](*inputs)
        raise self._no_gradient(name if method == "__call__" else f"{name}.{method}")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = function.__name__
        if name in FUNCTIONS and function.__module__.startswith("numpy"):
            return _ours(function, args, kwargs)
        return function(
            *[self._plain(value, name) for value in args],
            **{key: self._plain(value, name) for key, value in kwargs.items()},
        )

    def _plain(self, value: Any, function: str) -> Any:
        """An argument of a NumPy function with arrays in place of Tensors."""
        if isinstance(value, Storage):
            if value.requires_grad and function not in QUESTIONS:
                raise self._no_gradient(function)
            return np.asarray(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self._plain(item, function) for item in value)
        return value

    # --- out of the graph, into other libraries and Python --------------------------------------
    def tolist(self) -> Any:
        """The numbers as Python's, in lists. The graph ends here, as with `numpy()`."""
        return np.asarray(self).tolist()

    def __index__(self) -> int:
        array = np.asarray(self)
        if array.ndim or array.dtype.kind not in "iu":
            raise TypeError(f"only a Tensor of one integer can be an index, not {array.dtype} of shape {array.shape}")
        return int(array)

    def __dlpack__(self, **options: Any) -> Any:
        """A copy, for `torch.from_dlpack(t)` and the like: what they write there changes nothing here."""
        return np.array(self).__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return np.empty(0).__dlpack_device__()

    def __copy__(self) -> Tensor:
        """Of a leaf a new leaf. What was computed is never written, so that its copy may be the Tensor itself."""
        if self.node is None or self.node.op is None:  # type: ignore[attr-defined]
            return copy.deepcopy(self)  # type: ignore[return-value]
        return self  # type: ignore[return-value]

    @staticmethod
    def _no_gradient(name: str) -> TypeError:
        ours = f"minigrad.{name}" if name in OPS else "minigrad's own ops"
        return TypeError(
            f"np.{name} does not know how to differentiate a Tensor: use {ours}, "
            f"or take t.numpy() first if you need no gradient"
        )


def _ours(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a function of NumPy is here, called with the same arguments."""
    theirs = f"{function.__module__.replace('numpy', 'np')}.{function.__name__}"
    ours, n_arrays, positions = FUNCTIONS[function.__name__]
    f = COMPOSED.get(ours) or OPS[ours]
    arrays, rest, words = args[:n_arrays], args[len(args[:n_arrays]) :], positions.split()
    given = dict(zip(words, rest)) | {THEIR_WORDS.get(key, key): value for key, value in kwargs.items()}  # noqa: B905
    parameters = inspect.signature(f).parameters.values()
    known = [p.name for p in parameters if p.name in words or p.kind is p.KEYWORD_ONLY or p.default is not p.empty]
    others = [key for key in given if key not in known and given[key] is not None]  # None: as NumPy does by default
    if others or not arrays or len(rest) > len(words):
        takes = f"takes its arrays first, then {', '.join(known) or 'nothing else'}, by name"
        raise TypeError(f"{theirs} of a Tensor is minigrad.{ours}: it {takes}{f', not {others[0]}' if others else ''}")
    return f(*arrays, **{key: given[key] for key in given if key in known})


class _NotHere:
    """A name that is not an attribute of Tensors. (A `__getattr__` would make every attribute slower to read.)"""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, tensor: object, cls: type) -> Any:
        raise hints.missing("a Tensor", self.name, hints.IN_TENSOR, ())


for _name in hints.IN_TENSOR:
    setattr(Operators, _name, _NotHere(_name))
