"""Optimizers: from gradients to better parameters.

An optimizer moves its parameters into one flat array and their gradients into another; each parameter becomes a view
into the first. An update is then a few vector operations however many parameters there are, and clipping is one dot
product. Parameters with two or more axes (weights, embeddings) lie first: weight decay applies to them and not to the
rest (biases, layer norms), as in GPT-3 (Brown et al. 2020) and nanoGPT.

A parameter that the loss did not reach (its `.grad` is None) is skipped: no decay, no change of its running means.

Read `Optimizer.step`, then any `_update`: it is the paper's formula, on one piece of the flat arrays. There θ are the
parameters (`values`), g is their gradient, and t = 1, 2, ... counts the updates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from minigrad.engine import Leaf, Tensor
from minigrad.nn.module import Module, Parameter

Array = NDArray[Any]

# An update passes over memory about a dozen times. Piece by piece, each small enough to stay in cache meanwhile, AdamW
# takes 1.6 ms for 0.8 million parameters; in one piece 2.5 (tests/benchmarks/numerics.py).
PIECE = 2**16


class _Place(NamedTuple):
    """Where a parameter lies in the flat arrays: [start:stop]."""

    leaf: Leaf
    start: int
    stop: int

    def of(self, flat: Array) -> Array:
        return flat[self.start : self.stop].reshape(self.leaf.shape)


class Optimizer:
    """What all optimizers share: they own the memory of their parameters.

    A subclass lists its `settings` and the `means` it keeps for each parameter, and writes `_update`.

    Arguments:
        parameters: Tensors that require a gradient, all of one dtype. One that comes twice counts once.
        lr: the learning rate; a plain attribute, which a schedule may set before every step.
        weight_decay: how strongly parameters with two or more axes are pulled towards 0.

    Attributes:
        values, gradients: the flat arrays. A parameter the loss did not reach has stale numbers in `gradients`.

    Raises RuntimeError for a parameter that another optimizer owns, TypeError for mixed dtypes.
    """

    settings: ClassVar[tuple[str, ...]] = ("lr", "weight_decay")
    means: ClassVar[tuple[str, ...]] = ()
    lr: float
    weight_decay: float

    def __init__(self, parameters: Iterable[Tensor], *, lr: float, weight_decay: float = 0.0) -> None:
        self.parameters = _distinct(parameters)
        for p in self.parameters:
            owner = _leaf(p).optimizer and _leaf(p).optimizer()
            if owner is not None:
                raise RuntimeError(
                    f"{p.name or 'a parameter'} of shape {p.shape} already belongs to {owner!r}: "
                    f"a parameter has one optimizer; delete the old one first (del optimizer)"
                )
            if p.dtype != self.parameters[0].dtype:
                raise TypeError(
                    f"an optimizer needs parameters of one dtype, but {p.name or 'one'} is {p.dtype} and "
                    f"{self.parameters[0].name or 'the first'} {self.parameters[0].dtype}: use model.astype(np.float32)"
                )
        self.lr, self.weight_decay = lr, weight_decay

        size, dtype = sum(p.size for p in self.parameters), self.parameters[0].dtype
        self.values, self.gradients = np.empty(size, dtype), np.zeros(size, dtype)
        self._means = {name: np.zeros(size, dtype) for name in self.means}
        self._scratch = np.empty((2, min(size, PIECE)), dtype)
        self._n_decayed = sum(p.size for p in self.parameters if p.ndim >= 2)

        self._places: list[_Place] = []
        stop = 0
        for p in sorted(self.parameters, key=lambda p: p.ndim < 2):
            start, stop = stop, stop + p.size
            self._places.append(_Place(_leaf(p), start, stop))
            p.move_into(self._places[-1].of(self.values), self._places[-1].of(self.gradients), self)
        self._updates = [0] * len(self._places)  # how many each parameter has had: the t of its next one, less 1

    def zero_grad(self) -> None:
        """Forget all gradients: `.grad` of every parameter becomes None."""
        for place in self._places:
            place.leaf.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for i, place in enumerate(self._places):
            if place.leaf.grad is not None:
                self._updates[i] += 1
                place.leaf.version += 1  # graphs made with the old values can no longer be gone back through
        for start, stop, t in self._reached():
            for begin in range(start, stop, PIECE):
                end = min(begin + PIECE, stop)
                values, grad = self.values[begin:end], self.gradients[begin:end]
                if self.weight_decay:
                    grad = self._decay(values, grad, n=min(max(self._n_decayed - begin, 0), end - begin))
                means = [mean[begin:end] for mean in self._means.values()]
                self._update(values, grad, *means, self._scratch[0, : end - begin], t)

    def _reached(self) -> Iterator[tuple[int, int, int]]:
        """The parts (start, stop) of the flat arrays that have a gradient, with their t. Usually one: all of it."""
        part = None
        for place, t in zip(self._places, self._updates, strict=True):
            if place.leaf.grad is None:
                continue
            if part is not None and part[1:] == (place.start, t):
                part = part[0], place.stop, t
                continue
            if part is not None:
                yield part
            part = place.start, place.stop, t
        if part is not None:
            yield part

    def _decay(self, values: Array, grad: Array, n: int) -> Array:
        """Add to the loss weight_decay/2 · ‖θ‖², whose gradient is weight_decay · θ, for the first n of this piece."""
        decayed = self._scratch[1, : len(grad)]
        decayed[n:] = grad[n:]
        np.multiply(values[:n], float(self.weight_decay), out=decayed[:n])
        decayed[:n] += grad[:n]
        return decayed

    def _update(self, values: Array, g: Array, *means_scratch_t: Any) -> None:
        """Change one piece of the values and of each of the means in place. `scratch`, as long, is free to use."""
        raise NotImplementedError(f"{type(self).__name__} has no _update")

    # --- saving and loading -----------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to go on exactly from here, copied.

        The settings as numbers; "updates", how many each parameter has had; and for each of `means` a list of arrays:
        both in the order in which the parameters were given. The parameters themselves are not in it.
        """
        order = self._given_order()
        return {
            "optimizer": type(self).__name__,
            **{name: getattr(self, name) for name in self.settings},
            "updates": [self._updates[i] for i in order],
            **{name: [self._places[i].of(mean).copy() for i in order] for name, mean in self._means.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, its settings included.

        Raises ValueError where it is another optimizer's or its arrays do not fit; then nothing has been changed.
        """
        kind = type(self).__name__
        if state.get("optimizer") != kind:
            raise ValueError(f"this is the state of {state.get('optimizer', 'no optimizer')}, not of {kind}")
        missing = [name for name in (*self.settings, "updates", *self.means) if name not in state]
        if missing:
            raise ValueError(f"this state of {kind} lacks {', '.join(missing)}")
        for name in ("updates", *self.means):
            if len(state[name]) != len(self.parameters):
                raise ValueError(
                    f"this state of {kind} has {name} of {len(state[name])} parameters, not {len(self.parameters)}"
                )
        for name in self.means:
            for i, (p, mean) in enumerate(zip(self.parameters, state[name], strict=True)):
                if np.shape(mean) != p.shape:
                    raise ValueError(
                        f"this state of {kind} has {name} of shape {np.shape(mean)} "
                        f"for {p.name or 'parameter'} (number {i}), which has shape {p.shape}"
                    )
        for name in self.settings:
            setattr(self, name, tuple(state[name]) if isinstance(state[name], list) else state[name])  # JSON: lists
        for i, updates in zip(self._given_order(), state["updates"], strict=True):
            self._updates[i] = int(updates)
        for name, flat in self._means.items():
            for i, mean in zip(self._given_order(), state[name], strict=True):
                self._places[i].of(flat)[...] = mean

    def _given_order(self) -> list[int]:
        """For each parameter, in the order given, the number of its place."""
        number = {place.leaf: i for i, place in enumerate(self._places)}
        return [number[_leaf(p)] for p in self.parameters]

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be copied or pickled, as it owns its parameters' memory: "
            f"make a new one over the copied model's parameters and give it load_state_dict(old.state_dict())"
        )

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)}" for name in self.settings)
        return f"{type(self).__name__}({len(self.parameters)} parameters, {self.values.size:,} numbers, {settings})"


class SGD(Optimizer):
    """Stochastic gradient descent; with momentum (Polyak 1964) it goes along a decaying sum of the gradients so far.

        u ← momentum · u + g
        θ ← θ − lr · u

    `weight_decay` adds weight_decay · θ to g.
    """

    settings = ("lr", "momentum", "weight_decay")
    means = ("u",)

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, *, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay)
        self.momentum = momentum

    def _update(self, values: Array, g: Array, u: Array, scratch: Array, t: int) -> None:
        if self.momentum:
            u *= float(self.momentum)
            u += g
        np.multiply(u if self.momentum else g, float(self.lr), out=scratch)
        values -= scratch


class Adam(Optimizer):
    """Steps of about lr whatever the gradient's scale: its running mean by its running size.  (Kingma & Ba 2015)

        m ← β₁ m + (1 − β₁) g           m̂ = m / (1 − β₁ᵗ)
        v ← β₂ v + (1 − β₂) g²          v̂ = v / (1 − β₂ᵗ)
        θ ← θ − lr · m̂ / (√v̂ + ε)

    m and v start at 0; the divisions make up for it. `weight_decay` adds weight_decay · θ to g: see `AdamW`.
    """

    settings = ("lr", "betas", "eps", "weight_decay")
    means = ("m", "v")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
            raise ValueError(f"betas are two numbers from 0 to below 1, not {betas}")
        super().__init__(parameters, lr=lr, weight_decay=weight_decay)
        self.betas, self.eps = (float(betas[0]), float(betas[1])), float(eps)  # Python's: NumPy's would widen float32

    def _update(self, values: Array, g: Array, m: Array, v: Array, scratch: Array, t: int) -> None:
        lr, (beta1, beta2) = float(self.lr), self.betas
        m *= beta1
        m += np.multiply(g, 1 - beta1, out=scratch)

        v *= beta2
        np.multiply(g, g, out=scratch)
        scratch *= 1 - beta2
        v += scratch

        # lr · m̂ / (√v̂ + ε) with the scalars drawn together: each one left out saves a pass over memory
        correction = math.sqrt(1 - beta2**t)
        np.sqrt(v, out=scratch)
        scratch += self.eps * correction
        np.divide(m, scratch, out=scratch)
        scratch *= lr * correction / (1 - beta1**t)
        values -= scratch


class AdamW(Adam):
    """Adam with the weight decay beside it and not through m and v, so that all weights shrink at the same rate.

        θ ← θ − lr · weight_decay · θ, then as Adam

    (Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization.)
    """

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

    def _decay(self, values: Array, grad: Array, n: int) -> Array:
        values[:n] *= 1 - float(self.lr) * float(self.weight_decay)
        return grad


# --- around the step -------------------------------------------------------------------------------------------------


def cosine_schedule(step: int, *, lr: float, warmup: int, steps: int, lr_min: float = 0.0) -> float:
    """The learning rate of `step` = 0, 1, ...: up in a straight line, then down along half a cosine.

    step < warmup:   lr · (step + 1) / (warmup + 1)                        (Goyal et al. 2017)
    up to `steps`:   lr_min + (lr − lr_min) · (1 + cos(π p)) / 2,          (Loshchilov & Hutter 2017)
                     p = (step − warmup) / (steps − warmup)
    after that:      lr_min
    """
    if not 0 <= warmup < steps:
        raise ValueError(f"the warm-up of {warmup} steps must end before the schedule's {steps} steps do")
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    progress = min((step - warmup) / (steps - warmup), 1.0)
    return lr_min + (lr - lr_min) * (1 + math.cos(math.pi * progress)) / 2


def clip_grad_norm(parameters: Optimizer | Iterable[Tensor], max_norm: float) -> float:
    """Shrink all gradients by one factor so that their norm, taken as one vector, is at most `max_norm`.

    Returns the norm before. Give it the optimizer rather than the parameters: its gradients lie side by side, and the
    norm is one dot product.  (Pascanu, Mikolov & Bengio 2013; PyTorch's function divides by norm + 1e-6.)

    Raises FloatingPointError for a gradient with nan or inf in it, naming the parameter: one step with it would spoil
    every parameter.
    """
    if not max_norm > 0:
        raise ValueError(f"gradients are clipped to a norm above 0, not {max_norm}")
    if isinstance(parameters, Optimizer):
        gradients = [parameters.gradients[start:stop] for start, stop, _ in parameters._reached()]
        parameters = parameters.parameters
    else:
        parameters = _distinct(parameters, whose="clip_grad_norm")
        gradients = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(math.fsum(float(np.vdot(g, g)) for g in gradients))
    if not math.isfinite(norm):
        for i, p in enumerate(parameters):
            if p.grad is not None and not np.isfinite(p.grad).all():
                raise FloatingPointError(f"the gradient of {p.name or 'parameter'} (number {i}) has nan or inf in it")
        largest = max(float(np.abs(g).max()) for g in gradients)  # only the squares overflowed
        norm = largest * math.sqrt(math.fsum(float(np.vdot(g / largest, g / largest)) for g in gradients))
    if norm > max_norm:
        for g in gradients:
            g *= float(max_norm) / norm
    return norm


def _distinct(parameters: Iterable[Tensor], whose: str = "an optimizer") -> list[Tensor]:
    """The parameters, each once, after a look at each."""
    if isinstance(parameters, (Module, Tensor)):
        raise TypeError(
            f"{whose} takes a list of parameters, such as model.parameters(), not {type(parameters).__name__}"
        )
    found: dict[Leaf, Tensor] = {}
    for p in parameters:
        if not isinstance(p, Tensor):
            raise TypeError(f"{whose} takes Tensors, not {type(p).__name__}; for a Module give .parameters()")
        if p.node is not None and p.node.op is not None:
            raise ValueError(f"{whose} takes leaves; this Tensor of shape {p.shape} was computed by {p.node.op}")
        if p.node is None and not isinstance(p, Parameter):  # a Parameter without a Node is frozen, perhaps for now
            raise ValueError(f"{whose} takes Tensors with requires_grad=True; one of shape {p.shape} has not")
        found.setdefault(_leaf(p), p)
    if not found:
        raise ValueError(f"{whose} needs at least one parameter")
    return list(found.values())


def _leaf(p: Tensor) -> Leaf:
    assert p.leaf is not None
    return p.leaf
