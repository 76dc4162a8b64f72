"""Wrong answers that people give, each as a change of the op's own page: this code in place of that.

`explain` shows what the checker says of each, and the tests hold that it says what fits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import NamedTuple

from minigrad.engine import Tensor, as_op
from minigrad.finite_differences import gradcheck
from minigrad.learn.op_grader import hints_in, small_cases
from minigrad.learn.pages import code_of
from minigrad.tensors.operators import OPS


class Wrong(NamedTuple):
    right: str  # code on the op's page,
    wrong: str  # and what people write in its place
    why: str  # what they thought, or forgot


_ROW_SUM = "y * (grad_y - (grad_y * y).sum(axis, keepdims=True))"
_NORMED = "r * (g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True))"
_THROUGH_SOFTMAX = "W * (grad_W - (W * grad_W).sum(-1, keepdims=True))"

WRONG: dict[str, tuple[Wrong, ...]] = {
    "exp": (Wrong("grad_y * y", "y", "the slope alone"), Wrong("grad_y * y", "grad_y * x * y", "the rule for powers")),
    "sub": (Wrong("return -grad_y", "return grad_y", "no minus"),),
    "mul": (
        Wrong("return grad_y * b", "return grad_y * a", "each input with itself"),
        Wrong("return grad_y * a", "return a", "the slope alone"),
    ),
    "div": (
        Wrong("-grad_y * y / b", "grad_y * y / b", "no minus"),
        Wrong("-grad_y * y / b", "-grad_y / b", "1/b² forgotten"),
    ),
    "tanh": (
        Wrong("(1 - y * y)", "(1 - x * x)", "x for y"),
        Wrong("grad_y * (1 - y * y)", "1 - y * y", "the slope alone"),
        Wrong("(1 - y * y)", "(1 - y)", "the square forgotten"),
    ),
    "sigmoid": (
        Wrong("grad_y * slope", "grad_y * y", "1 − y forgotten"),
        Wrong("grad_y * slope", "grad_y * x * (1 - x)", "x for y"),
    ),
    "relu": (
        Wrong("np.where(on, grad_y, 0)", "grad_y", "the mask forgotten"),
        Wrong("np.where(on, grad_y, 0)", "np.where(on, np.maximum(grad_y, 0), 0)", "relu once more"),
    ),
    "dropout": (
        Wrong("grad_y * scale", "grad_y * keep", "1/(1 − p) forgotten"),
        Wrong("grad_y * scale", "grad_y", "the mask forgotten"),
    ),
    "sum": (Wrong("_spread(grad_y,", "_spread(grad_y * (grad_y.size / x.size),", "a mean"),),
    "mean": (Wrong("_spread(grad_y / n,", "_spread(grad_y,", "a sum"),),
    "var": (Wrong("(2 / n)", "(1 / n)", "the 2 of the square forgotten"),),
    "max": (Wrong("* share", "* np.ones_like(share)", "the gradient of a sum"),),
    "logsumexp": (
        Wrong("* weights", "* np.exp(x)", "1/s forgotten"),
        Wrong("* weights", "* np.ones_like(x)", "the gradient of a sum"),
    ),
    "embedding": (Wrong("np.add.at(grad_table, ids, grad_y)", "grad_table[ids] += grad_y", "+= counts an id once"),),
    "matmul": (
        Wrong("as_matrix(grad_y) @ B.mT", "as_matrix(grad_y) @ B", "no transpose"),
        Wrong("A.mT @ as_matrix(grad_y)", "A @ as_matrix(grad_y)", "no transpose"),
        Wrong("A.mT @ as_matrix(grad_y)", "as_matrix(grad_y).mT @ A", "the wrong order"),
    ),
    "linear": (
        Wrong("as_rows(grad_y).sum(0)", "as_rows(grad_y).mean(0)", "a mean over the rows"),
        Wrong("as_rows(grad_y).sum(0)", "as_rows(grad_y)[0]", "the copies forgotten"),
    ),
    "softmax": (
        Wrong(_ROW_SUM, "grad_y * y", "as exp"),
        Wrong(_ROW_SUM, "grad_y * y * (1 - y)", "as if each weight stood alone"),
        Wrong(_ROW_SUM, "y * (grad_y - grad_y.sum(axis, keepdims=True))", "y forgotten in the sum"),
        Wrong(_ROW_SUM, "y * (grad_y - (grad_y * y).sum(0, keepdims=True))", "axis forgotten"),
        Wrong(_ROW_SUM, "y * (grad_y - (grad_y * y).mean(axis, keepdims=True))", "a mean for the sum"),
        Wrong(_ROW_SUM, "y * ((grad_y * y).sum(axis, keepdims=True) - grad_y)", "the difference turned round"),
    ),
    "log_softmax": (Wrong("np.exp(y) * g.sum(axis, keepdims=True)", "np.exp(y)", "the sum of g forgotten"),),
    "cross_entropy": (
        Wrong("grad_y * weight, 0)", "weight, 0)", "grad_y forgotten"),
        Wrong("grad_y * weight, 0)", "grad_y, 0)", "a sum over the rows, not a mean"),
        Wrong("* np.exp(log_softmax_x) - q)", "* np.exp(log_softmax_x))", "the right class forgotten"),
        Wrong("g * (q.sum", "-g * (q.sum", "the difference turned round"),
    ),
    "layer_norm": (
        Wrong(_NORMED, "r * g", "mean and variance as constants"),
        Wrong(_NORMED, "r * (g - g.mean(-1, keepdims=True))", "the variance as a constant"),
        Wrong(_NORMED, "r * (g - x_hat * (g * x_hat).mean(-1, keepdims=True))", "the mean as a constant"),
        Wrong("else grad_y * weight", "else grad_y", "the gradient of y for that of x̂"),
        Wrong("grad_y * x_hat", "grad_y * x", "x for x̂"),
    ),
    "sparsemax": (
        Wrong("g - mean)", "g)", "the threshold as a constant"),
        Wrong("np.where(support == 0, 0, g - mean)", "grad_y - mean", "the support forgotten"),
    ),
    "attention": (
        Wrong("grad_S @ k * scale, grad_S.mT @ q * scale", "grad_S @ k, grad_S.mT @ q", "the scale forgotten"),
        Wrong(_THROUGH_SOFTMAX, "W * grad_W", "the row sum of the softmax forgotten"),
        Wrong(_THROUGH_SOFTMAX, "grad_W", "the softmax forgotten"),
        Wrong("grad_S.mT @ q * scale", "-grad_S.mT @ q * scale", "a minus too much"),
    ),
    "gru": (
        Wrong("g * z + grad_u @ weight.T", "g * z", "the way through u forgotten"),
        Wrong("g * z + grad_u @ weight.T", "grad_u @ weight.T", "the way through z forgotten"),
    ),
}  # fmt: skip


def damaged(name: str, wrong: Wrong) -> Callable[..., object]:
    """The body of the op with this wrong answer in it."""
    page = inspect.unwrap(OPS[name])
    source = code_of(page)
    assert source.count(wrong.right) == 1, (
        f"{wrong.right} stands {source.count(wrong.right)} times on the page of {name}"
    )
    names: dict[str, object] = dict(page.__globals__)
    exec(source.replace(wrong.right, wrong.wrong), names)
    f = names[page.__name__]
    assert callable(f)
    return f


def verdicts_on(name: str, wrong: Wrong, most: int = 3) -> list[str]:
    """What the checker says of it: the likely causes it names, over the first cases that it finds wrong."""
    f: Callable[..., Tensor] = as_op(damaged(name, wrong), name=name, indices=getattr(OPS[name], "indices", ()))
    reports, errors = [], []
    for case in small_cases(name):
        try:
            report = gradcheck(case.of(f), *case.arrays, typical_size=case.typical_size, raise_error=False)
        except (ValueError, TypeError, IndexError) as error:
            errors.append(str(error))  # where shapes do not fit; in other cases they do, and that says more
            continue
        if not report.ok:
            reports.append(report)
        if len(reports) == most:
            break
    return hints_in(reports) or errors[:1]
