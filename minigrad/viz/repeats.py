"""Loops: where the same ops ran again and again, they become one Call, drawn as one box ("tanh, add × 60")."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.debug.recording import Array
from minigrad.engine import Node
from minigrad.viz.history import Call, History

LONGEST = 64  # a round of a loop has at most so many ops and calls
TIMES, OPS = 4, 24  # a loop is folded if it went round at least so often, with so many ops in all


def collapse(h: History) -> History:
    """Put every loop into a Call of its own, whose `times` says how often it went round. Changes `h` and returns it.

    Its ops ran one after the other, so folding it into one box makes no cycle, as with any Call.
    """
    for call in list(h.calls.calls()):
        if any(outer.times > 1 for outer in call.path):
            continue  # inside a loop that is folded already
        lengths, times = _rounds([_signature(item) for item in call.items])
        items: list[Node | Call] = []
        i = 0
        while i < len(call.items):
            end = i + int(lengths[i] * times[i])
            if times[i] >= TIMES and sum(map(_size, call.items[i:end])) >= OPS:
                items.append(_fold(call, i, int(lengths[i]), int(times[i]), h))
                i = end
            else:
                items.append(call.items[i])
                i += 1
        call.items = items
    return h


def _signature(item: Node | Call) -> Any:
    """What is the same in every round: ops and shapes; not the numbers among the arguments, nor an index."""
    return (item.name, *map(_signature, item.items)) if isinstance(item, Call) else (item.op, item.shape)


def _size(item: Node | Call) -> int:
    return sum(1 for _ in item.nodes()) if isinstance(item, Call) else 1


def _rounds(signatures: list[Any]) -> tuple[Array, Array]:
    """For each place: the length of the round that repeats from there for longest, and how often it does."""
    number: dict[Any, int] = {}
    ids = np.array([number.setdefault(s, len(number)) for s in signatures], dtype=np.int64)
    n = len(ids)
    lengths, times = np.ones(n, np.int64), np.ones(n, np.int64)
    for length in range(1, min(LONGEST, n // TIMES) + 1):
        again = np.zeros(n + 1, bool)  # the same comes again one round later
        again[: n - length] = ids[: n - length] == ids[length:]
        places = np.arange(n + 1)
        first_other = np.minimum.accumulate(np.where(again, n, places)[::-1])[::-1]
        round_trips = (first_other - places)[:n] // length + 1
        better = round_trips * length > lengths * times
        better &= round_trips >= TIMES
        lengths[better], times[better] = length, round_trips[better]
    return lengths, times


def _fold(call: Call, start: int, length: int, times: int, h: History) -> Call:
    stretch = call.items[start : start + length * times]
    names = list(dict.fromkeys(i.name if isinstance(i, Call) else str(i.op).lstrip("_") for i in stretch[:length]))
    name = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    loop = Call(f"{name} × {times}", call.scope, call, stretch, times)
    for item in stretch:
        if isinstance(item, Call):
            item.around = loop
        else:
            h.innermost[item] = loop
    return loop
