"""The optimizers: the rules of `rules.py`, run over all parameters at once and in place.

An optimizer moves its parameters into one flat array and their gradients into another; each parameter becomes a view
into the first. An update is then a few vector operations however many parameters there are, and clipping is one dot
product. Parameters with two or more axes (weights, embeddings) lie first: weight decay applies to them and not to the
rest (biases, layer norms), as in GPT-3 (Brown et al. 2020) and nanoGPT.

A parameter that the loss did not reach (its `.grad` is None) is skipped: it does not decay, and its moments stay.

A parameter belongs to one optimizer. A new optimizer takes over the values and the gradients of its parameters, so a
notebook cell that makes one can be run again; the old one then refuses to do anything.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from minigrad.engine import Leaf, Tensor
from minigrad.optim.arguments import check_one_dtype, checked, distinct, leaf_of

Array = NDArray[Any]

# An update passes over memory about a dozen times, so it goes in pieces that stay in the cache meanwhile. For 0.8
# million parameters AdamW took 1.6 ms in pieces and 2.5 in one piece on one machine, and 2.1 either way on another
# (tests/benchmarks/numerics.py).
PIECE = 2**16


@dataclass(eq=False)
class _Slot:
    """Where a parameter lies in the flat arrays, [start:stop], and how many updates it has had."""

    leaf: Leaf
    start: int
    stop: int
    updates: int = 0

    def of(self, flat: Array) -> Array:
        return flat[self.start : self.stop].reshape(self.leaf.shape)


class Optimizer:
    """What all optimizers share: the memory of their parameters.

    A subclass lists its `settings` and the `moments` it keeps for each parameter, and writes `_update`.

    Arguments:
        parameters: Tensors that require a gradient, all of one dtype. One that comes twice counts once.
        lr: the learning rate; a plain attribute, which a schedule may set before every step.
        weight_decay: how strongly parameters with two or more axes are pulled towards 0.

    Attributes:
        values, gradients: the flat arrays. A parameter the loss did not reach has stale numbers in `gradients`.

    Settings are checked whenever they are set: ValueError or TypeError gives the value and the range.
    """

    settings: ClassVar[tuple[str, ...]] = ("lr", "weight_decay")
    moments: ClassVar[tuple[str, ...]] = ()
    lr: float
    weight_decay: float

    def __init__(self, parameters: Iterable[Tensor], *, lr: float, weight_decay: float = 0.0) -> None:
        self.parameters = distinct(parameters)
        check_one_dtype(self.parameters)
        self.lr, self.weight_decay = lr, weight_decay

        size, dtype = sum(p.size for p in self.parameters), self.parameters[0].dtype
        self.values, self.gradients = np.empty(size, dtype), np.zeros(size, dtype)
        self._moments = {name: np.zeros(size, dtype) for name in self.moments}
        self._scratch = np.empty((2, min(size, PIECE)), dtype)
        self._n_decayed = sum(p.size for p in self.parameters if p.ndim >= 2)

        slots: dict[Leaf, _Slot] = {}
        stop = 0
        for p in sorted(self.parameters, key=lambda p: p.ndim < 2):  # the ones that decay first
            start, stop = stop, stop + p.size
            slot = slots[leaf_of(p)] = _Slot(leaf_of(p), start, stop)
            p.move_into(slot.of(self.values), slot.of(self.gradients), self)
        self._slots = list(slots.values())  # in the order of memory
        self._slots_as_given = [slots[leaf_of(p)] for p in self.parameters]

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, checked(name, value))

    def zero_grad(self) -> None:
        """Forget all gradients: `.grad` of every parameter becomes None."""
        self._check_ownership()
        for slot in self._slots:
            slot.leaf.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient.

        Raises RuntimeError if a newer optimizer has taken over one of the parameters. Ctrl-C, or a warning that was
        made an error, may end a step halfway, with some numbers updated and others not; the exception then says so.
        """
        self._check_ownership()
        for slot in self._slots:
            if slot.leaf.grad is not None:
                slot.updates += 1
                slot.leaf.version += 1  # backward() through a graph made with the old values raises from now on
        try:
            self._update_in_pieces()
        except BaseException as error:
            error.add_note(
                f"{type(self).__name__}.step() ended halfway: some numbers are updated and others not. "
                f"To continue from whole ones, restore the last checkpoint"
            )
            raise

    def _update_in_pieces(self) -> None:
        for start, stop, t in self._reached():
            for begin in range(start, stop, PIECE):
                end = min(begin + PIECE, stop)
                values, g = self.values[begin:end], self.gradients[begin:end]
                if self.weight_decay:
                    g = self._decay(values, g, n=min(max(self._n_decayed - begin, 0), end - begin))
                moments = [moment[begin:end] for moment in self._moments.values()]
                self._update(values, g, *moments, self._scratch[0, : end - begin], t)

    def _decay(self, values: Array, g: Array, n: int) -> Array:
        """The gradient with weight_decay · θ added for the first n numbers of this piece, the ones that decay."""
        decayed = self._scratch[1, : len(g)]
        decayed[n:] = g[n:]
        np.multiply(values[:n], self.weight_decay, out=decayed[:n])
        decayed[:n] += g[:n]
        return decayed

    def _update(self, values: Array, g: Array, *moments_scratch_t: Any) -> None:
        """Apply the rule to one piece: change its values and moments in place. `scratch` is as long, and free to use.

        t counts the updates that this piece has had, this one included.
        """
        raise NotImplementedError(f"{type(self).__name__} has no _update")

    def _reached(self) -> Iterator[tuple[int, int, int]]:
        """The parts (start, stop) of the flat arrays that have a gradient, with their t. Usually there is one: all."""
        part = None
        for slot in self._slots:
            if slot.leaf.grad is None:
                continue
            if part is not None and part[1:] == (slot.start, slot.updates):
                part = part[0], slot.stop, slot.updates
                continue
            if part is not None:
                yield part
            part = slot.start, slot.stop, slot.updates
        if part is not None:
            yield part

    def reached_gradients(self) -> list[Array]:
        """The parts of `gradients` that the loss reached. Usually there is one: all of it."""
        self._check_ownership()
        return [self.gradients[start:stop] for start, stop, _ in self._reached()]

    def _check_ownership(self) -> None:
        for slot in self._slots:
            owner = slot.leaf.optimizer and slot.leaf.optimizer()
            if owner is not self:
                name = slot.leaf.path or slot.leaf.name or "a parameter"
                raise RuntimeError(
                    f"this {type(self).__name__} no longer owns {name} of shape {slot.leaf.shape}: "
                    f"a newer optimizer has taken it over. Use the newer one"
                    + (f", {owner!r}" if owner is not None else "")
                )

    # --- saving and loading -----------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to continue exactly from here, copied.

        It holds the settings as numbers; "updates", how many each parameter has had; and for each of `moments` a list
        of arrays. Both lists are in the order in which the parameters were given. The parameters are not in it.

        Raises RuntimeError if a newer optimizer has taken over a parameter: these moments would belong to values that
        are no longer there. To hand the moments on, take the state_dict before you make the newer optimizer.
        """
        self._check_ownership()
        slots = self._slots_as_given
        return {
            "optimizer": type(self).__name__,
            **{name: getattr(self, name) for name in self.settings},
            "updates": [slot.updates for slot in slots],
            **{name: [slot.of(flat).copy() for slot in slots] for name, flat in self._moments.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`, its settings included.

        Raises ValueError or TypeError where the state is of another kind of optimizer, its arrays do not fit, or a
        setting is out of range; then nothing has been changed.
        """
        self._check_ownership()
        kind = type(self).__name__
        if state.get("optimizer") != kind:
            raise ValueError(f"this is the state of {state.get('optimizer', 'no optimizer')}, not of {kind}")
        missing = [name for name in (*self.settings, "updates", *self.moments) if name not in state]
        if missing:
            raise ValueError(f"this state of {kind} lacks {', '.join(missing)}")
        for name in ("updates", *self.moments):
            if len(state[name]) != len(self.parameters):
                raise ValueError(
                    f"this state of {kind} has {name} of {len(state[name])} parameters, not {len(self.parameters)}"
                )
        settings = {name: checked(name, state[name]) for name in self.settings}
        updates = [operator.index(count) for count in state["updates"]]
        if min(updates) < 0:
            raise ValueError(f"updates are counted from 0 up, not {min(updates)}")
        moments = {name: self._checked_moments(name, state[name]) for name in self.moments}

        for name, value in settings.items():
            setattr(self, name, value)
        for i, slot in enumerate(self._slots_as_given):
            slot.updates = updates[i]
            for name, flat in self._moments.items():
                slot.of(flat)[...] = moments[name][i]

    def _checked_moments(self, name: str, moments: Iterable[Any]) -> list[Array]:
        arrays = [np.asarray(moment) for moment in moments]
        for i, (p, array) in enumerate(zip(self.parameters, arrays, strict=True)):
            if array.shape != p.shape or array.dtype.kind not in "iuf":
                raise ValueError(
                    f"this state of {type(self).__name__} has {name} of shape {array.shape}, {array.dtype}, "
                    f"for {p.path or f'parameter number {i}'}, which has shape {p.shape}"
                )
        return arrays

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be copied or pickled, as it owns its parameters' memory: "
            f"make a new one over the copied model's parameters and give it load_state_dict(old.state_dict())"
        )

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)}" for name in self.settings)
        return f"{type(self).__name__}({len(self.parameters)} parameters, {self.values.size:,} numbers, {settings})"


class SGD(Optimizer):
    """Stochastic gradient descent, with or without momentum: `rules.sgd`."""

    settings = ("lr", "momentum", "weight_decay")
    moments = ("u",)

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, *, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        self.momentum = momentum
        super().__init__(parameters, lr=lr, weight_decay=weight_decay)

    def _update(self, values: Array, g: Array, u: Array, scratch: Array, t: int) -> None:
        if self.momentum:
            u *= self.momentum
            u += g
        np.multiply(u if self.momentum else g, self.lr, out=scratch)  # without momentum u is g, and not kept
        values -= scratch


class Adam(Optimizer):
    """Divides the running mean of the gradient by its running size: `rules.adam`.

    `weight_decay` adds weight_decay · θ to the gradient; see `AdamW` for the decay that is usual today.
    """

    settings = ("lr", "betas", "eps", "weight_decay")
    moments = ("m", "v")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.betas, self.eps = betas, eps
        super().__init__(parameters, lr=lr, weight_decay=weight_decay)

    def _update(self, values: Array, g: Array, m: Array, v: Array, scratch: Array, t: int) -> None:
        """The rule with its scalars drawn together, because each one left out saves a pass over memory.

        lr · m̂ / (√v̂ + ε)  =  (lr · c / (1 − β₁ᵗ)) · m / (√v + c ε),   c = √(1 − β₂ᵗ)
        """
        beta1, beta2 = self.betas
        m *= beta1
        m += np.multiply(g, 1 - beta1, out=scratch)

        v *= beta2
        np.multiply(g, g, out=scratch)
        scratch *= 1 - beta2
        v += scratch

        c = math.sqrt(1 - beta2**t)
        np.sqrt(v, out=scratch)
        scratch += c * self.eps
        np.divide(m, scratch, out=scratch)
        scratch *= self.lr * c / (1 - beta1**t)
        values -= scratch


class AdamW(Adam):
    """Adam that shrinks the weights themselves, all at the same rate: `rules.adamw`."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _decay(self, values: Array, g: Array, n: int) -> Array:
        """Shrink the first n values of this piece, the ones that decay. The gradient stays as it is."""
        values[:n] *= 1 - self.lr * self.weight_decay
        return g
