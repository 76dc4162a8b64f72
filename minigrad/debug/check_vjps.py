"""Which op's VJP is wrong? Each op of a recording is checked against finite differences, alone and where it was used.

gradcheck of a whole model says that a gradient is wrong, and not which of its hundred ops made it so. The recording has
what each op was given. So each is called again on just these numbers, and gradcheck asks it alone.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from minigrad.debug.recording import Array, Recording, unobserved
from minigrad.engine import Node, Tensor, as_op
from minigrad.finite_differences import GradientError, GradientReport, gradcheck
from minigrad.tensors.modes import no_grad
from minigrad.tensors.operators import OPS


@dataclass(frozen=True)
class TapeReport:
    """What `check` found, in sentences; `print` it."""

    checked: int  # how many ops were compared with differences
    wrong: tuple[str, ...]  # op, module, line and figures of each wrong VJP, in the order in which they ran
    skipped: tuple[str, ...]  # what could not be compared, and why

    @property
    def ok(self) -> bool:
        return not self.wrong and self.checked > 0

    def __str__(self) -> str:
        ops = f"{self.checked} op{'' if self.checked == 1 else 's'}"
        lines = [f"{ops} checked: {len(self.wrong)} with a wrong VJP", *self.wrong]
        if self.skipped:
            lines += [f"{len(self.skipped)} not checked:", *(f"  {why}" for why in dict.fromkeys(self.skipped))]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """What a notebook shows: the same, in green or in red."""
        head, *rest = escape(str(self)).split("\n")
        figures = "\n".join([f'<b style="color: {"#1f7a3d" if self.ok else "#c92a1b"}">{head}</b>', *rest])
        return f'<pre style="white-space: pre-wrap">{figures}</pre>'


def check(recording: Recording, *, most: int = 32, raise_error: bool = True) -> TapeReport:
    """Compare the VJP of every recorded op with finite differences of this op, at the recorded values.

    Arguments:
        most: of each input, at most this many elements are moved; of a larger one, a random choice.
        raise_error: False returns the report of a failure instead of raising it.

    Returns the report. Raises GradientError if a VJP is wrong, or if there was nothing to check.
    """
    rng = np.random.default_rng(0)
    checked, wrong, skipped = 0, [], []
    with unobserved():
        for node, event in recording.calls.items():
            found = _check_one(node, recording, most, rng)
            if isinstance(found, str):
                skipped.append(f"{event}{event.at}: {found}")
                continue
            checked += 1
            if found.verdict not in ("ok", "kink"):  # at a kink the other elements have been compared
                figures = "\n".join([f"    {found.note}"] * bool(found.note) + [f"    {a}" for a in found.arguments])
                wrong.append(f"  {event}{event.at}\n{figures}")
    report = TapeReport(checked, tuple(wrong), tuple(skipped))
    if raise_error and not report.ok:
        raise GradientError(report)
    return report


def _check_one(node: Node, recording: Recording, most: int, rng: np.random.Generator) -> GradientReport | str:
    """gradcheck's report on one call of an op, or why there is none."""
    event, values = recording.calls[node], recording.inputs(node)
    if event.name not in OPS:
        return "not in OPS, so it cannot be called again (made by as_op?)"
    op = OPS[event.name]
    if getattr(op, "estimator", False):
        return "an estimator, whose gradient differs on purpose"
    generators = [key for key, value in event.static.items() if isinstance(value, np.random.Generator)]

    def call(*inputs: Any) -> Tensor:
        fresh = {key: copy.deepcopy(event.static[key]) for key in generators}  # so that each call draws the same
        result: Tensor = op(*inputs, **event.static | fresh)
        return result

    try:
        with no_grad():
            again = call(*values).data
        if not generators and not np.allclose(again, recording.values[node], rtol=1e-3, equal_nan=True):
            return "another value when called again"
        f, inputs = _of_some_elements(call, node, values, _names(op, len(values)), most, rng)
        report = gradcheck(f, *inputs, raise_error=False)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    untested = ("lost in rounding", "too small to tell", "not deterministic", "unused")
    return report.verdict if report.verdict in untested else report


def _of_some_elements(
    call: Callable[..., Tensor], node: Node, values: list[Any], names: list[str], most: int, rng: np.random.Generator
) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The call as a function of those inputs that have a gradient: of all their elements, or of `most` of each."""
    places: dict[int, Callable[[Tensor], Tensor]] = {}
    inputs = []
    for i, parent in enumerate(node.inputs):
        if isinstance(parent, Node):
            x = np.asarray(values[i], np.float64)
            if x.size > most:
                chosen = rng.choice(x.size, most, replace=False)
                places[i], x, note = _put_into(x, chosen), x.reshape(-1)[chosen], f" ({most} elements of {x.size:,})"
            else:
                places[i], note = lambda moved: moved, ""
            inputs.append(Tensor(x, name=names[i] + note))

    def f(*moved: Tensor) -> Tensor:
        given = list(values)
        for (i, put), tensor in zip(places.items(), moved, strict=True):
            given[i] = put(tensor)
        return call(*given)

    return f, inputs


def _put_into(x: Array, chosen: Array) -> Callable[[Tensor], Tensor]:
    """An op that makes x out of its chosen elements, the others being constant."""

    @as_op
    def put(elements: Array) -> Any:
        whole = x.copy()
        whole.reshape(-1)[chosen] = elements
        return whole, lambda grad_y: grad_y.reshape(-1)[chosen]

    return put


def _names(op: Any, n: int) -> list[str]:
    """What the op calls its inputs; those of `concat(*arrays)` have numbers."""
    known = [p.name for p in inspect.signature(op).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return [known[i] if i < len(known) else f"input {i}" for i in range(n)]
