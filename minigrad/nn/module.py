"""Parameters, and the modules that hold them.

A Module is a function with parameters inside. What it holds is found by looking at its attributes: Parameters, other
Modules, and lists, tuples and dicts of these. The name of an attribute is the name of what is in it, so the parameter
at `gpt.blocks[0].attn.query.weight` is "blocks.0.attn.query.weight", in files, errors and pictures alike.
"""

from __future__ import annotations

import contextlib
import itertools
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from minigrad.engine import Tensor
from minigrad.tensors.arguments import check_float
from minigrad.tensors.modes import in_scope


class Parameter(Tensor):
    """A Tensor that a Module holds in order to train it.

    Arguments:
        data: the first values. An array keeps its dtype, a list becomes float32; always copied.
        requires_grad: False freezes it: it gets no gradient, so optimizers leave it alone.
    """

    __slots__ = ()

    def __init__(self, data: Any, *, requires_grad: bool = True, dtype: DTypeLike | None = None) -> None:
        super().__init__(data, requires_grad=True, dtype=dtype)
        self.requires_grad = requires_grad


@contextlib.contextmanager
def evaluating(module: Module) -> Iterator[None]:
    """`with evaluating(module):` it and all inside are in evaluation, and afterwards as before."""
    modes = [(inner, inner.training) for inner in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for inner, training in modes:
            inner.training = training


class Module:
    """Inherit, put Parameters and Modules into attributes, and write `forward`; then call the module itself.

    class Affine(Module):
        def __init__(self, d):
            self.scale = Parameter(np.ones(d, np.float32))
            self.shift = Parameter(np.zeros(d, np.float32))

        def forward(self, x):
            return x * self.scale + self.shift
    """

    transposed_in_torch: tuple[str, ...] = ()  # parameters that PyTorch keeps the other way round
    training: bool = True  # False after eval(): dropout lets everything through
    _name: str = ""  # what the module around this one calls it: "attn", "blocks.0"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward(self, ...) method")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`; Nodes made on the way, and errors, know that it was in this module."""
        return in_scope(self._name, self.forward, *args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        new = name not in self.__dict__  # a Tensor may replace a Parameter on purpose, to check gradients
        if new and isinstance(value, Tensor) and not isinstance(value, Parameter) and value.node and value.leaf:
            raise TypeError(f"{name} requires a gradient but would not be trained: make it an nn.Parameter")
        object.__setattr__(self, name, value)
        for local, member in _members(name, value):
            _check_key(name, {})
            _give_name(member, local)

    # --- what is inside ---------------------------------------------------------------------------------------------
    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """This module under the name "" and all the modules inside, each once, outer ones first."""
        return _walk(self, "", set())

    def modules(self) -> list[Module]:
        """This module and all the modules inside, each once, outer ones first."""
        return [module for _, module in self.named_modules()]

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their dotted names. One that is shared comes once, under its first name."""
        seen = set()
        for prefix, module in self.named_modules():
            for name, parameter in _members_of(module):
                if isinstance(parameter, Parameter) and id(parameter) not in seen:
                    seen.add(id(parameter))
                    path = f"{prefix}.{name}" if prefix else name
                    _give_path(parameter, path)
                    yield path, parameter

    def parameters(self) -> list[Parameter]:
        """All parameters, each once: what an optimizer takes."""
        return [parameter for _, parameter in self.named_parameters()]

    # --- training ---------------------------------------------------------------------------------------------------
    def train(self, mode: bool = True) -> Self:
        """Switch this module and all inside to training (dropout drops). Returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch this module and all inside to evaluation (dropout lets everything through). Returns the module."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget all gradients: `.grad` of every parameter becomes None."""
        for parameter in self.parameters():
            parameter.grad = None

    def astype(self, dtype: DTypeLike) -> Self:
        """Convert all parameters to another floating dtype and forget their gradients. Returns the module.

        Raises RuntimeError once an optimizer owns their memory: convert first, then make the optimizer.
        """
        dtype = np.dtype(dtype)
        if dtype.kind != "f":
            raise TypeError(f"parameters are floating numbers, not {dtype}")
        check_float(dtype)
        for name, parameter in self.named_parameters():
            leaf = parameter.leaf
            if leaf is not None and leaf.optimizer is not None and leaf.optimizer() is not None:
                raise RuntimeError(f"an optimizer owns the memory of {name}: call astype before making the optimizer")
        for parameter in self.parameters():
            parameter.convert_to(dtype)
        return self

    # --- saving and loading -----------------------------------------------------------------------------------------
    def state_dict(self, *, layout: str = "minigrad") -> dict[str, NDArray[Any]]:
        """A copy of every parameter's numbers, by name.

        layout="torch" is for a PyTorch module with the same names: its Linear keeps the weight as (d_out, d_in).
        """
        return self._in_layout(layout, {name: parameter.data for name, parameter in self.named_parameters()})

    def load_state_dict(self, state: Mapping[str, ArrayLike], *, layout: str = "minigrad") -> None:
        """Copy the numbers from a `state_dict` of this layout into the parameters, whose dtype they take.

        Raises ValueError where a name is missing or unknown or a shape differs; then nothing has been changed.
        """
        mine = dict(self.named_parameters())
        arrays = self._in_layout(layout, {name: np.asarray(values) for name, values in state.items()})
        wrong = [f"{name} is missing" for name in mine if name not in arrays]
        wrong += [f"{name} is not a parameter here" for name in arrays if name not in mine]
        for name in (name for name in mine if name in arrays):
            if arrays[name].shape != mine[name].shape:
                wrong.append(f"{name} has shape {mine[name].shape} here, {arrays[name].shape} in the state")
            elif arrays[name].dtype.kind not in "iufb":
                wrong.append(f"{name} holds {arrays[name].dtype}, not numbers")
        if wrong:
            more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise ValueError(f"this state does not fit {type(self).__name__}: {'; '.join(wrong[:5])}{more}")
        for name, parameter in mine.items():
            parameter.data = arrays[name]

    def _in_layout(self, layout: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Copies, with those transposed that lie the other way round in that layout, square ones, too."""
        if layout not in ("minigrad", "torch"):
            raise ValueError(f"a layout is 'minigrad' or 'torch', not {layout!r}")
        turned = {
            f"{prefix}.{name}" if prefix else name
            for prefix, module in self.named_modules()
            for name in module.transposed_in_torch
        }
        turned = turned if layout == "torch" else set()
        return {name: (a.T if name in turned else a).copy() for name, a in arrays.items()}

    # --- looking ----------------------------------------------------------------------------------------------------
    def settings(self) -> str:
        """What `repr` shows beside the class, such as "p=0.1" for a Dropout. Override it where there is something."""
        return ""

    def __repr__(self) -> str:
        """A line for each module: what it is, the shapes of its parameters, how many numbers are in it in all.

        No line has more than 80 letters; what is longer goes on in the next.
        """
        rows, names = [], [name for name, _ in self.named_modules() if name]
        for name, module in self.named_modules():
            depth = bool(name) + sum(name.startswith(f"{outer}.") for outer in names)
            label = f"{module._name}: " if name else ""
            settings = f"({module.settings()})" if module.settings() else ""
            shapes = [f"{local} {p.shape}" for local, p in _members_of(module) if isinstance(p, Parameter)]
            count = sum(p.size for p in module.parameters())
            rows.append((f"{'  ' * depth}{label}{type(module).__name__}{settings}", ", ".join(shapes), f"{count:,}"))
        return "\n".join(_table(rows))


def _table(rows: list[tuple[str, str, str]], width: int = 80) -> list[str]:
    """Names, shapes and counts in at most `width` letters: a long cell goes on in the next line, indented.

    A name without shapes may also take the room that shapes have in other rows.
    """
    room = width - 2 - max(len(count) for _, _, count in rows)  # for names and shapes
    first = max((len(name) for name, shapes, _ in rows if shapes), default=0)
    second = max(len(shapes) for _, shapes, _ in rows)
    both = min(room, max(first + 2 + second, *(len(name) for name, shapes, _ in rows if not shapes), 0))
    first = min(first, max(both // 2, both - 2 - second))
    lines = []
    for name, shapes, count in rows:
        indent = " " * (len(name) - len(name.lstrip()) + 4)
        names = textwrap.wrap(name, first if shapes else both, subsequent_indent=indent)
        sizes = textwrap.wrap(shapes, both - first - 2) if shapes else []
        for i, (a, b) in enumerate(itertools.zip_longest(names, sizes, fillvalue="")):
            left = f"{a:<{first}}  {b}" if shapes else a
            lines.append(f"{left:<{both}}  {count:>{width - 2 - room}}" if i == 0 else left.rstrip())
    return lines


def _members(name: str, value: Any) -> Iterator[tuple[str, Module | Parameter]]:
    """The Modules and Parameters that an attribute holds: itself, or the items of a list, tuple or dict."""
    if isinstance(value, (Module, Parameter)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _members(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            for local, member in _members(f"{name}.{key}", item):
                _check_key(key, value)
                yield local, member


def _check_key(key: Any, among: dict[Any, Any]) -> None:
    """Two parameters of one name would be one in a checkpoint: raise ValueError where a key could lead to that."""
    if "." in str(key):
        raise ValueError(f"{key!r} cannot name a Module or a Parameter, since dots separate names: choose another")
    if [str(other) for other in among].count(str(key)) > 1:
        raise ValueError(f"two keys of a dict with parameters are both called {key!s}: choose another for one of them")


def _members_of(module: Module) -> Iterator[tuple[str, Module | Parameter]]:
    for name, value in vars(module).items():
        yield from _members(name, value)


def _walk(module: Module, name: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
    seen.add(id(module))
    yield name, module
    for local, member in list(_members_of(module)):
        if isinstance(member, Module) and id(member) not in seen:
            _give_name(member, local)  # it may have been appended to a list since that was assigned
            yield from _walk(member, f"{name}.{local}" if name else local, seen)


def _give_name(member: Module | Parameter, name: str) -> None:
    if isinstance(member, Module):
        object.__setattr__(member, "_name", name)
    elif member.leaf is not None:
        member.leaf.name = name


def _give_path(parameter: Parameter, path: str) -> None:
    """For errors. A module inside another knows only part of the name, so the longest is kept."""
    if parameter.leaf is not None and len(path) > len(parameter.leaf.path or ""):
        parameter.leaf.path = path


class Sequential(Module):
    """Call one after the other: modules, or functions of one Tensor: `Sequential(Linear(2, 16), relu, Linear(16, 1))`.

    They are in `.layers`.
    """

    def __init__(self, *layers: Callable[..., Any]) -> None:
        self.layers = layers

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x
