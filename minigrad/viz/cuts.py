"""Where numbers went on and the gradient did not: `detach()`, `.numpy()`, `no_grad()`, ops that send back zeros."""

from __future__ import annotations

from typing import Any, NamedTuple

from minigrad.debug.recording import Recording, memory_of
from minigrad.engine import Node, Tensor


class Cut(NamedTuple):
    """Where a constant comes from: the Node that computed it, and what took it out of the graph."""

    source: Node
    how: str  # "detach()", "numpy()", "no_grad()"


def cuts_of(tape: Recording) -> dict[int | None, Cut]:
    """The memory of each array that was taken out of the graph -> where it comes from."""
    cuts: dict[int | None, Cut] = {}
    for event in tape.events:
        result = event.result
        if result is not None and result.node is not None:
            continue
        how = event.name if result is None else "no_grad()"
        for a in event.args:
            cut = Cut(a.node, how) if isinstance(a, Tensor) and a.node is not None else cuts.get(memory_of(a))
            if cut is not None and event.name != "item()":
                cuts[memory_of(a if result is None else result)] = cut
                break
    cuts.pop(None, None)
    return cuts


def silent_ops(nodes: list[Node], tape: Recording) -> list[str]:
    """The ops among these that got a gradient and sent nothing but zeros, or nothing, to an input that needs one."""
    found = []
    for node in nodes:
        grad = tape.grads.get(node)
        if grad is None or not grad.any() or node not in tape.contributions:
            continue
        sent: list[Any] = [
            a for source, a in zip(node.inputs, tape.contributions[node], strict=True) if isinstance(source, Node)
        ]
        if any(a is None or not a.any() for a in sent):
            found.append(str(node.op).lstrip("_"))
    return list(dict.fromkeys(found))
