"""Where a training step spends its time: op by op, and module by module.

    from minigrad import profile

    with profile.Profile() as times:
        for _ in range(20):
            train_step()
    print(times)

It is an observer: every op and every VJP that runs inside the block is timed, whoever calls it. Run a few steps before:
the first ones are slower, since they touch their memory and start their threads for the first time.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from time import perf_counter
from typing import Any, Self

from numpy.typing import NDArray

from minigrad.engine import Node, Tensor
from minigrad.tensors.modes import Observer, current_scope, watch


@dataclass(slots=True)
class Time:
    """How often something ran, and for how many seconds in all."""

    forward_calls: int = 0
    forward: float = 0.0
    backward_calls: int = 0
    backward: float = 0.0

    @property
    def both(self) -> float:
        return self.forward + self.backward

    def __add__(self, other: Time) -> Time:
        return Time(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


class Profile(Observer):
    """A stopwatch for ops, which runs while its `with` block does. The block may be entered again: times add up.

    times      (op, module scope) -> Time. All VJPs of one Node count as one backward call
    seconds    how long the blocks took from end to end. The time outside of ops goes to the optimizer, to the engine
               (which adds up gradients, for one) and to the caller's own code

    The stopwatch adds a little to each call, and a part of that is in the times it shows. With tiny arrays, read the
    shares rather than the milliseconds.
    """

    def __init__(self) -> None:
        self.times: dict[tuple[str, str], Time] = defaultdict(Time)
        self.seconds = 0.0
        self._watching = contextlib.ExitStack()
        self._entered = 0.0
        self._started = 0.0  # one is enough: the body of an op calls NumPy, and no other op

    def __enter__(self) -> Self:
        self._watching.enter_context(watch(self))
        self._entered = perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds += perf_counter() - self._entered
        self._watching.close()

    # --- the stopwatch ----------------------------------------------------------------------------------------------
    def op_starts(self, name: str, args: tuple[Any, ...], static: dict[str, Any]) -> None:
        self._started = perf_counter()

    def op_ends(self, name: str, args: tuple[Any, ...], static: dict[str, Any], result: Tensor) -> None:
        seconds = perf_counter() - self._started
        time = self.times[name, current_scope()]
        time.forward_calls += 1
        time.forward += seconds

    def vjp_starts(self, node: Node, grad: NDArray[Any]) -> None:
        self._started = perf_counter()

    def vjp_ends(self, node: Node, grad: NDArray[Any], contributions: list[NDArray[Any] | None]) -> None:
        seconds = perf_counter() - self._started
        time = self.times[str(node.op), node.scope]
        time.backward_calls += 1
        time.backward += seconds

    # --- looking ----------------------------------------------------------------------------------------------------
    def by_op(self) -> dict[str, Time]:
        """The time of each op in all modules together; the slowest first."""
        ops = self._added_up(lambda op, scope: [op])
        return dict(sorted(ops.items(), key=lambda item: item[1].both, reverse=True))

    def by_module(self, *, together: bool = False) -> dict[str, Time]:
        """The time of each module with all modules inside it, in the order they ran; "" is everything.

        `together` adds up the members of a list: "blocks.0.attn" and "blocks.1.attn" become "blocks.*.attn".
        """
        return self._added_up(lambda op, scope: _around(scope, together))

    def _added_up(self, names: Callable[[str, str], Iterable[str]]) -> dict[str, Time]:
        totals: dict[str, Time] = defaultdict(Time)
        for (op, scope), time in self.times.items():
            for name in names(op, scope):
                totals[name] += time
        return dict(totals)

    def __str__(self) -> str:
        """Both tables. Shares are of the whole time in the block, the time outside of ops included."""
        in_ops = sum(time.both for time in self.times.values())
        whole = max(self.seconds, in_ops)  # seconds is still 0 inside the block
        ops = [_cells(op, time, whole) for op, time in self.by_op().items()]
        ops += [
            ("outside of ops", "", "", "", "", *_amount(whole - in_ops, whole)),
            ("all", "", "", "", "", *_amount(whole, whole)),
        ]
        modules = [_cells(name or "all modules", t, whole) for name, t in self.by_module(together=True).items()]
        head = ("calls", "forward ms", "calls", "backward ms", "both ms", "share")
        return _aligned([("op", *head), *ops]) + "\n\n" + _aligned([("module and all inside", *head), *modules])


def _around(scope: str, together: bool) -> list[str]:
    """The modules that `scope` is in, outermost first: "blocks.0.attn" -> "", "blocks.0", "blocks.0.attn"."""
    parts = scope.split(".") if scope else []
    is_index = [part.isdigit() for part in parts] + [False]
    if together:
        parts = ["*" if index else part for part, index in zip(parts, is_index, strict=False)]
    return [".".join(parts[:n]) for n in range(len(parts) + 1) if not is_index[n]]  # "blocks", a list, is no module


def _cells(name: str, time: Time, whole: float) -> tuple[str, ...]:
    forward = (str(time.forward_calls), f"{1000 * time.forward:.2f}")
    backward = (str(time.backward_calls), f"{1000 * time.backward:.2f}")
    return (name, *forward, *backward, *_amount(time.both, whole))


def _amount(seconds: float, whole: float) -> tuple[str, str]:
    return f"{1000 * seconds:.2f}", f"{seconds / whole if whole else 0:.1%}"


def _aligned(rows: list[tuple[str, ...]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join(lines)
