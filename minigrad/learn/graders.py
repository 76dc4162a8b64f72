"""The exercises that ask for more than one op's gradient, or for something else: ties, three steps, backward, Adam."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.engine import Array, Node, Tensor, as_op
from minigrad.finite_differences import gradcheck
from minigrad.finite_differences.cases import CASES, case
from minigrad.learn.op_grader import MATRICES, MORE, Names, Unsolved, as_body, grade_op, grade_page, needed
from minigrad.optim import rules
from minigrad.tensors.modes import Observer, watch
from minigrad.tensors.operators import OPS


def _max(names: Names) -> str:
    """Ties are a convention, which differences cannot see."""
    said = grade_page("max", names)
    for x, axis in (([1.0, 3.0, 3.0], None), ([[2.0, 2.0, 2.0], [0.0, 1.0, 1.0]], 1)):
        t = Tensor(np.array(x), requires_grad=True)
        as_op(names["max"])(t, axis=axis).sum().backward()
        winners = np.array(x) == np.max(x, axis, keepdims=True)
        if not np.allclose(np.asarray(t.grad), winners / winners.sum(axis, keepdims=True)):
            told = f"But where elements tie, as in {x}, each of the winners is to get an equal part"
            raise Unsolved(f"{said} {told}: for a gradient of 1 per maximum it returned {np.asarray(t.grad).tolist()}.")
    return f"{said} And winners that tie share."


def _dropout(names: Names) -> str:
    try:
        return grade_page("dropout", names)
    except Unsolved as found:
        if "second backward pass" in str(found):
            told = "A second backward pass gives another gradient. Does the VJP draw random numbers of its own?"
            raise Unsolved(f"{told} Or does it write into an array that it needs again?") from None
        raise


def _straight_through(names: Names) -> str:
    f = needed(names, "straight_through")
    cases = CASES["straight_through"][:2]  # those without a mask
    try:
        said = grade_op(f, OPS["straight_through"], cases, pretended=OPS["softmax"])
    except Unsolved as found:
        raise Unsolved(f"With w = softmax(scores) for the value: {found}") from None
    c = cases[0]
    op = as_op(as_body(f, c, OPS["straight_through"]), name="straight_through", estimator=True)
    return f"{said} And gradcheck fails, as it must:\n  {gradcheck(op, *c.arrays, raise_error=False)}"


def _attention_in_steps(names: Names) -> str:
    functions = [needed(names, name) for name in ("scores", "weights", "average")]
    pages = [lambda q, k: q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]), OPS["softmax"], OPS["matmul"]]
    whole = MORE["attention"] + [c for c in CASES["attention"] if not c.static]
    for f, page in zip(functions, pages, strict=True):
        cases = {
            "scores": [case(*c.arrays[:2]) for c in whole],
            "weights": [c for c in CASES["softmax"] if not c.static],
            "average": MATRICES,
        }[f.__name__]
        grade_op(f, lambda *arrays, page=page: page(*map(Tensor, arrays)), cases)
    scores, weights, average = map(as_op, functions)
    for c in whole[:3]:
        report = gradcheck(lambda q, k, v: average(weights(scores(q, k)), v), *c.arrays, raise_error=False)
        assert report.ok, report
    return "Each step is right, and so is their chain, which is attention."


def _gru_step(names: Names) -> str:
    """The cases of gru with a bias, cut down to their first step."""
    whole = [c for c in CASES["gru"] if len(c.arrays) == 4 and c.arrays[3] is not None and not c.static]
    cases = [case(x[..., 0, :], *rest) for x, *rest in (c.arrays for c in whole) if x.ndim == 3 == rest[0].ndim + 1]

    def page(x: Array, *rest: Array) -> Tensor:
        return OPS["gru"](x[..., None, :], *rest)[..., 0, :]

    return grade_op(needed(names, "gru_step"), page, cases)


def _broadcasting(names: Names) -> str:
    unbroadcast = needed(names, "unbroadcast")

    def pulled(grad: Array, x: Array) -> Array:
        got = unbroadcast(grad, x)
        if np.shape(got) != x.shape:
            what = "nothing" if got is None else f"shape {np.shape(got)}"
            raise Unsolved(
                f"For a gradient of shape {grad.shape} and x of shape {x.shape}, unbroadcast() returns {what}. "
                f"The gradient of x has the shape of x, always."
            )
        return np.asarray(got)

    def mul(a: Array, b: Array) -> Any:
        return a * b, (lambda grad_y: pulled(grad_y * b, a), lambda grad_y: pulled(grad_y * a, b))

    return grade_op(mul, OPS["mul"], CASES["mul"], path=unbroadcast.__code__.co_filename)


# --- backward and Adam ------------------------------------------------------------------------------------------------


def _repeated(step: Callable[[Tensor], Tensor], n: int) -> Callable[[Tensor], Tensor]:
    return lambda x: functools.reduce(lambda y, _: step(y), range(n), x)


def _uses_of_different_age(x: Tensor) -> Tensor:
    a = x * 2.0
    b = OPS["tanh"](OPS["exp"](a))
    return a * b + a


GRAPHS: dict[str, Callable[[Tensor], Tensor]] = {
    "a chain, 3 exp(x/2)": lambda x: OPS["exp"](x * 0.5) * 3.0,
    "x used three times, x · x + x": lambda x: x * x + x,
    "a node whose uses are of different age, a · tanh(exp(a)) + a with a = 2x": _uses_of_different_age,
    "two leaves and a constant, (x + w) · 2": lambda x: (x + Tensor([1.0], requires_grad=True)) * np.array([2.0]),
    "25 doublings, y = (y + y)/2": _repeated(lambda y: (y + y) * 0.5, 25),
    "2,000 ops in a row": _repeated(lambda y: y + 0.001, 2000),
}


class _Counter(Observer):
    """Stops a walk that takes every path."""

    def __init__(self, most: int) -> None:
        self.left = most

    def vjp_starts(self, node: Node, grad: Array) -> None:
        self.left -= 1
        if self.left < 0:
            raise Unsolved(
                "A node that is used several times is pulled back once for each use, and so is all below it: over "
                "25 doublings that makes 2²⁵ times. Collect what arrives, and pull back once."
            )


def _backward(names: Names) -> str:
    own = needed(names, "backward")
    for told, build in GRAPHS.items():
        right, attempt = (Tensor([0.7], requires_grad=True, dtype=np.float64) for _ in "12")
        build(right).backward(np.ones(1))
        y = build(attempt)
        assert y.node is not None
        try:
            with watch(_Counter(20_000)):
                own(y.node, np.ones(1))
        except RecursionError:
            raise Unsolved(
                f"On {told}: the recursion is too deep. Keep the nodes to visit in a list of your own."
            ) from None
        due = np.asarray(right.grad)
        if attempt.grad is None:
            raise Unsolved(f"On {told}: no gradient arrives at x. Does every Leaf accumulate what arrived?")
        if not np.allclose(attempt.grad, due):
            raise Unsolved(f"On {told}: the gradient of x is {attempt.grad[0]:.6g} and should be {due[0]:.6g}.")
    return f"Right on all {len(GRAPHS)} graphs, and each node is pulled back once."


def _adam(names: Names) -> str:
    own = needed(names, "adam")
    for settings in ({"eps": 1e-8}, {"eps": 0.1}, {"eps": 1e-8, "weight_decay": 0.1}):
        rng = np.random.default_rng(0)
        theta = rng.normal(size=4)
        state = [theta, np.zeros(4), np.zeros(4)]
        for t in range(1, 5):
            g = rng.normal(size=4)
            how = {"lr": 0.1, "betas": (0.9, 0.95)} | settings
            given = [a.copy() for a in (state[0], g, *state[1:])]
            with np.errstate(all="ignore"):
                got = own(*given, t, **how)
            if not isinstance(got, tuple) or len(got) != 3:
                raise Unsolved("adam() must return three arrays: theta, m and v.")
            if any((a != b).any() for a, b in zip(given, (state[0], g, *state[1:]), strict=True)):
                raise Unsolved("adam() writes into an array that it was given: `m = a * m`, not `m *= a`.")
            right = rules.adam(state[0], g, state[1], state[2], t, **how)  # type: ignore[arg-type]
            _compare_update(got, right, state[0], t, settings)
            state = list(right)
    return "Right over 4 updates, with a small eps, with a large one, and with weight decay."


def _compare_update(got: Any, right: Any, old: Array, t: int, settings: dict[str, float]) -> None:
    """Say which of the three arrays is wrong, m before v and v before theta, as each is made from those before."""
    after = f"After update {t} (with {', '.join(f'{key}={value:g}' for key, value in settings.items())})"
    for i, what in ((1, "m"), (2, "m is right, but v"), (0, "m and v are right, but the change of theta")):
        a, due = (np.asarray(x) - (old if i == 0 else 0) for x in (got[i], right[i]))
        if a.shape != due.shape:
            raise Unsolved(f"{after} {what} has shape {a.shape}, and should have {due.shape}.")
        if not np.allclose(a, due, rtol=1e-8):
            with np.errstate(all="ignore"):
                raise Unsolved(
                    f"{after} {what} is wrong: divided by what it should be, {np.round(a / due, 4).tolist()}."
                )


GRADERS: dict[str, Callable[[Names], str]] = {
    "broadcasting": _broadcasting,
    "attention_in_steps": _attention_in_steps,
    "max": _max,
    "straight_through": _straight_through,
    "dropout": _dropout,
    "gru_step": _gru_step,
    "backward": _backward,
    "adam": _adam,
}
