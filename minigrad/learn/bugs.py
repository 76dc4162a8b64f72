"""The bugs to find: is the symptom gone, and is what was right before still right?

What is said of a file that is not mended yet is the symptom, and which tool to ask; the tool then says the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.debug.check_vjps import check
from minigrad.debug.diagnose import explain_grad, first_bad_value
from minigrad.debug.recording import recording_of
from minigrad.engine import Tensor
from minigrad.finite_differences import gradcheck
from minigrad.learn.op_grader import Names, Unsolved, as_copied, needed


def _same(now: Any, before: Any, what: str) -> None:
    now, before = np.asarray(now), np.asarray(before)
    if now.shape != before.shape or not np.allclose(now, before, rtol=1e-5):
        raise Unsolved(
            f"{what} is not what it was in the file you copied. It was right: only its gradient is to be mended."
        )


def _stands_still(names: Names) -> str:
    build, loss = needed(names, "Classifier"), needed(names, "loss")
    model = build(np.random.default_rng(3))
    x, targets = np.random.default_rng(4).normal(size=(6, 4)), np.array([0, 1, 2, 2, 1, 0])
    for name, parameter in model.named_parameters():
        if explain_grad(lambda: loss(model, x, targets), parameter).verdict == "not reached":
            raise Unsolved(f"No gradient arrives at {name}. Ask explain_grad for the reason, as the file says.")
    copied = as_copied("bug_stands_still")["Classifier"](np.random.default_rng(3))
    _same(model(x), copied(x), "The value of forward()")
    report = gradcheck(lambda: loss(model, x, targets), parameters=model, raise_error=False)
    if not report.ok:
        raise Unsolved(
            f"A gradient arrives at every parameter now, but a wrong one: is a part of the way still cut?\n  {report}"
        )
    return "All four parameters get their gradient, and gradcheck agrees."


def _hardly_learns(names: Names) -> str:
    build, loss = needed(names, "make_weights"), needed(names, "loss")
    x, targets = names["X"], names["TARGETS"]
    for seed in range(3):
        first, second = build(np.random.default_rng(seed))
        found = explain_grad(lambda: loss(first, second, x, targets), first)  # noqa: B023  (called at once)
        if found.verdict != "healthy":
            raise Unsolved(
                f"explain_grad calls the gradient of first: {found.verdict}. Print what it says, as the file shows."
            )
    old = as_copied("bug_hardly_learns")["loss"](first, second, x, targets)
    _same(loss(first, second, x, targets), old, "The value of loss(), for given weights,")
    return f"{found}"


def _gradcheck_fails(names: Names) -> str:
    build, loss = needed(names, "Model"), needed(names, "loss")
    x, model = np.random.default_rng(5).normal(size=(6, 4)), build(np.random.default_rng(6))
    copied = as_copied("bug_gradcheck_fails")
    for name in ("squash", "center", "swish"):
        _same(needed(names, name)(x), copied[name](x), f"The value of {name}()")
    recording, _ = recording_of(lambda: loss(model, x))
    report = check(recording, raise_error=False)
    if not report.ok:
        n = f"Of {report.checked} ops of the model, {len(report.wrong)} with a wrong VJP"
        raise Unsolved(f"{n}. tape.check names what is wrong, as the file shows.")
    used = {event.name for event in recording.calls.values()}
    if not used >= {"squash", "center", "swish"}:
        raise Unsolved("The model no longer uses all three ops. Mend the wrong one and use it.")
    return str(report)


def _nan(names: Names) -> str:
    build, loss, mask, values = needed(names, "make_scores"), needed(names, "loss"), names["MASK"], names["VALUES"]
    scores = build()
    try:
        with np.errstate(all="ignore"), first_bad_value():
            value = loss(scores, values, mask)
            value.backward()
    except FloatingPointError:
        raise Unsolved("A number still goes bad on the way. first_bad_value stops where, as the file shows.") from None
    copied = as_copied("bug_nan")
    with np.errstate(all="ignore"):
        _same(value, copied["loss"](build(), values, mask), "The value of loss()")
    report = gradcheck(lambda s: loss(s, values, mask), scores.data, raise_error=False)
    if not report.ok:
        raise Unsolved(f"All numbers are finite now, but the gradient is not right:\n  {report}")
    return "All numbers are finite, forward and backward, and gradcheck agrees."


def _never_fits(names: Names) -> str:
    loss = needed(names, "loss")
    model = needed(names, "make_model")(np.random.default_rng(0))
    model.weight.data, model.bias.data = np.array([[2.0], [-1.0]]), np.array([1.0])
    x = np.random.default_rng(7).normal(size=(5, 2))
    y = x @ np.array([2.0, -1.0]) + 1.0
    for added, due in ((0.0, 0.0), (np.array([3.0, 0.0, 0.0, 0.0, 4.0]), 5.0)):
        value = loss(model, x, y + added)
        if not isinstance(value, Tensor) or value.shape != ():
            raise Unsolved("loss() must return a scalar Tensor.")
        if not np.isclose(value.item(), due, atol=1e-6):
            errors = "no errors" if due == 0 else "errors of 3, 0, 0, 0 and 4"
            told = f"For 5 points with {errors} the mean square is {due:g}, and loss() returns {value.item():.4g}"
            raise Unsolved(f"{told}. Look at the shapes in the graph, as the file shows.")
    return "The loss of a perfect model is 0, and that of one with errors is the mean of their squares."


def _too_good(names: Names) -> str:
    model = needed(names, "Model")(np.random.default_rng(8))
    ids = np.array([[3, 1, 4, 1, 5, 2, 6, 5]])
    y = model(ids).data
    sees = np.zeros((8, 8), bool)  # whether the output in that row depends on the token in that column
    for j in range(8):
        other = ids.copy()
        other[0, j] = 7
        sees[:, j] = np.abs(model(other).data - y).max((0, 2)) > 1e-9
    if np.triu(sees, 1).any():
        i, j = (int(k) for k in np.argwhere(np.triu(sees, 1))[0])
        raise Unsolved(
            f"The output at position {i} changes with the token at position {j}: it sees the future. "
            f"Draw the weights, as the file shows."
        )
    if not sees[np.tril_indices(8)].all():
        i, j = (int(k) for k in np.argwhere(~sees & np.tril(np.ones((8, 8), bool)))[0])
        raise Unsolved(f"No position sees the future now, but position {i} does not see position {j}, which it should.")
    return "Each position sees the positions up to its own, and no other."


GRADERS: dict[str, Callable[[Names], str]] = {
    "bug_stands_still": _stands_still,
    "bug_hardly_learns": _hardly_learns,
    "bug_gradcheck_fails": _gradcheck_fails,
    "bug_nan": _nan,
    "bug_never_fits": _never_fits,
    "bug_too_good": _too_good,
}
