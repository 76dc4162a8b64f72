"""The recording that pictures are drawn from: `with viz.record() as tape:`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from minigrad.debug.check_vjps import TapeReport, check
from minigrad.debug.diagnose import Explanation, explain
from minigrad.debug.recording import Recording
from minigrad.engine import Tensor
from minigrad.tensors.modes import watch
from minigrad.viz import notebook


class Tape(Recording):
    """A `Recording` (see there for what it holds) that can be asked about."""

    def explain(self, parameter: Tensor) -> Explanation:
        """Why the gradient of `parameter` is what it is: see `diagnose.explain_grad`."""
        return explain(self, parameter)

    def check(self, *, most: int = 32, raise_error: bool = True) -> TapeReport:
        """Whether every op's VJP is right, by finite differences at the recorded values: see `debug.check_vjps`."""
        return check(self, most=most, raise_error=raise_error)

    def __repr__(self) -> str:
        return notebook.told(self)

    def _repr_html_(self) -> str:
        return notebook.html_of(self)


@contextlib.contextmanager
def record() -> Iterator[Tape]:
    """Keep values and gradients of all that runs inside, forward and backward.

    with viz.record() as tape:
        loss = model(x)
        loss.backward()
    viz.graph(loss, tape=tape)         # a picture with numbers
    viz.page(tape, "walk.html")        # a page to walk through
    print(tape.explain(parameter))     # a paragraph about one gradient
    print(tape.check())                # every op's VJP against finite differences
    """
    tape = Tape()
    with watch(tape):
        yield tape
