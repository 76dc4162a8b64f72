"""The memory behind a Tensor: whose it is, who may write it, and how backward notices that somebody did.

Nobody writes an array that a VJP may still need. So `Tensor(a)` copies, and every array a user can reach is read-only.
Three writers are left, all of a leaf: an optimizer's `step()`, `load_state_dict`, and `t.data = array`. Each counts up
the leaf's version. A Node remembers the versions it was computed from, and backward compares.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from minigrad.tensors.modes import in_module, state

if TYPE_CHECKING:
    from minigrad.engine import Leaf, Node, Tensor

Array = NDArray[Any]


class Storage:
    """The half of a Tensor that is about its numbers; the other half, its place in the graph, is in engine.py."""

    __slots__ = ("__weakref__", "_data", "leaf", "memory_of", "node")

    _data: Array
    node: Node | None  # its place in the graph; None where there is nothing to differentiate
    leaf: Leaf | None  # of a leaf, its Node, also while it requires no gradient (frozen)
    memory_of: Leaf | None  # of a view, the leaf whose memory it shows, and which may be written

    @classmethod
    def _of(cls, array: Array, node: Node | None, memory_of: Leaf | None) -> Self:
        """Wrap the output of an op, without a copy: an op that keeps its output cannot write it any more, either."""
        array.setflags(write=False)
        tensor = object.__new__(cls)
        tensor._data, tensor.node, tensor.leaf, tensor.memory_of = array, node, None, memory_of
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
        array = self._fitting(values, "data").astype(self.dtype)
        if self.leaf is None:  # a constant: what was computed from it keeps the old array
            self._data = array
        else:
            self._data.flags.writeable = True
            self._data[...] = array
            self.leaf.version += 1
        self._data.flags.writeable = False

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
        array = None if value is None else self._fitting(value, "a gradient")
        self.leaf.grad = None
        if array is not None:
            self.leaf.accumulate(array)

    def _fitting(self, values: ArrayLike, what: str) -> Array:
        """The values as an array, if they are numbers, one for each element."""
        if isinstance(values, np.ma.MaskedArray):
            raise TypeError(f"{what} must be floats, integers or booleans, not a masked array: use .filled(number)")
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise ValueError(f"{what} must be an array of shape {self.shape}: its rows differ in length") from error
        if array.dtype.kind not in "iufb":
            raise TypeError(f"{what} must be floats, integers or booleans, not {array.dtype}")
        if array.shape != self.shape:
            raise ValueError(f"{what} of shape {array.shape} does not fit a Tensor of shape {self.shape}")
        return array

    @property
    def name(self) -> str | None:
        """What pictures and errors call this leaf."""
        return self.leaf.name if self.leaf is not None else None

    @property
    def path(self) -> str | None:
        """The name with those of the modules around this leaf, as far as they are known: "blocks.0.attn.key.weight"."""
        return (self.leaf.path or self.leaf.name) if self.leaf is not None else None

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
            self._become_leaf()
        self.node = self.leaf if wanted else None

    if TYPE_CHECKING:

        def _become_leaf(self, name: str | None = None) -> None: ...  # in engine.py, where Leaf is

    # --- out of the graph, into NumPy and Python ----------------------------------------------------------------
    def numpy(self) -> Array:
        """The numbers as a read-only array. The graph ends here: what you compute from it gets no gradient."""
        self._observe_cut("numpy()")
        return self._data

    def item(self) -> float:
        """The number in a Tensor of one element, as Python's. The graph ends here, as with `numpy()`."""
        self._observe_cut("item()")
        return self._data.item()  # type: ignore[no-any-return]

    def _observe_cut(self, how: str) -> None:
        for observer in state.observers:
            observer.cut(how, self)  # type: ignore[arg-type]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"a Tensor of {array.dtype} cannot become {np.dtype(dtype)} without a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

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
        return (self[i] for i in range(len(self)))  # type: ignore[index]

    def __repr__(self) -> str:
        numbers = np.array2string(self._data, precision=4, threshold=50, separator=", ", prefix="Tensor(")
        origin = "" if self.node is None else f", op={self.node.op}" if self.node.op else ", requires_grad=True"
        return f"Tensor({numbers}, {self.dtype}{origin})"

    # --- a leaf's memory, for optimizers and modules ------------------------------------------------------------
    def move_into(self, values: Array, gradient: Array, optimizer: Any) -> None:
        """From now on, keep a leaf's numbers and its gradient in these arrays, which are parts of the optimizer's."""
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
        """Give a leaf another dtype, and forget its gradient."""
        assert self.leaf is not None
        self._data = self._data.astype(dtype)
        self._data.flags.writeable = False
        self.leaf.dtype, self.leaf.grad, self.leaf.grad_buffer = self._data.dtype, None, None
        self.leaf.version += 1  # graphs made before hold arrays of the old dtype

    def __reduce__(self) -> Any:
        """For copy.deepcopy and pickle: a leaf is its numbers, not its history."""
        if self.node is not None and self.node.op is not None:
            raise TypeError(
                f"only leaves can be copied or pickled; this Tensor was computed by {self.node.op}: take t.detach()"
            )
        return _copied, (type(self), np.array(self._data), self.name, self.leaf is not None, self.node is not None)


def _copied(cls: type[Tensor], array: Array, name: str | None, is_leaf: bool, requires_grad: bool) -> Tensor:
    tensor = cls._of(array, None, None)
    if is_leaf:
        tensor._become_leaf(name)
        tensor.requires_grad = requires_grad
    return tensor


# --- versions: did somebody write? ------------------------------------------------------------------------------------


def check_usable(nodes: Sequence[Node]) -> None:
    """Raise RuntimeError where backward has freed a Node's VJPs, or a leaf they may need was written since."""
    for node in nodes:
        if node.vjps is None and node.op is not None:
            raise RuntimeError(
                f"backward() has already gone through {node.op} and freed what it needs: run the forward pass again, "
                f"or keep it with backward(retain_graph=True)"
            )
        for leaf, version in node.versions:
            if leaf.version != version:
                name = leaf.path or leaf.name or "a leaf"
                raise RuntimeError(
                    f"{in_module(node.scope)}{node.op} used {name} of shape {leaf.shape}, which was "
                    f"changed after the forward pass: its gradient would be wrong. "
                    f"Run the forward pass again before backward()"
                )


def leaf_shown_by(y: Array, args: Sequence[Any]) -> Leaf | None:
    """The leaf whose memory a read-only output shows, if one: reshape and its like return views."""
    shown = (a.leaf or a.memory_of for a in args if isinstance(a, Storage) and np.may_share_memory(y, a._data))
    return next(filter(None, shown), None)
