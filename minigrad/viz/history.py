"""What happened: all Nodes that a result was computed from, sorted into the module calls they ran in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from minigrad.engine import Node, Tensor, newest_first


@dataclass(eq=False)
class Call:
    """One call of a module: the ops and the calls inside it, in the order they ran. The outermost is everything."""

    name: str  # as the module around it calls it: "attn", "blocks.0"; "" for the outermost
    scope: str  # in full: "blocks.0.attn"
    around: Call | None = None
    items: list[Node | Call] = field(default_factory=list)
    times: int = 1  # of a loop that repeats.py found: how often it went round

    def nodes(self) -> Iterator[Node]:
        """All ops inside, also those in calls inside."""
        for item in self.items:
            if isinstance(item, Call):
                yield from item.nodes()
            else:
                yield item

    def calls(self) -> Iterator[Call]:
        """This call and all inside, outer ones first."""
        yield self
        for item in self.items:
            if isinstance(item, Call):
                yield from item.calls()

    @property
    def only_op(self) -> Node | None:
        """Its op, if it has just one: then there is nothing to open."""
        nodes = self.nodes()
        first = next(nodes)
        return first if next(nodes, None) is None else None

    @property
    def path(self) -> list[Call]:
        """The calls around it, outermost first, and itself."""
        return [*(self.around.path if self.around else []), self]

    @property
    def depth(self) -> int:
        return len(self.path) - 1


@dataclass(eq=False)
class History:
    """What a result was computed from."""

    root: Node
    nodes: list[Node]  # oldest first, a topological order; the root is the last
    calls: Call  # the outermost one
    innermost: dict[Node, Call]  # for each op


def history(root: Node) -> History:
    """Find all Nodes that `root` was computed from, and sort them into the module calls they ran in.

    The ops of one call ran one after the other. If a module is called again after something else, that is another Call.
    So a Call is an unbroken stretch of a topological order, and folding it into one box can never make a cycle.
    """
    nodes = newest_first(root)[::-1]
    everything = Call("", "")
    innermost = {}
    current = everything
    for node in nodes:
        if node.op is None:
            continue
        modules = modules_in(node.scope)
        while current.around is not None and modules[: current.depth] != modules_in(current.scope):
            current = current.around
        for name in modules[current.depth :]:
            inner = Call(name, f"{current.scope}.{name}".lstrip("."), current)
            current.items.append(inner)
            current = inner
        current.items.append(node)
        innermost[node] = current
    return History(root, nodes, everything, innermost)


def modules_in(scope: str) -> list[str]:
    """ "blocks.0.attn" is the module attn in the module blocks.0: a number belongs to the name before it."""
    return re.findall(r"[^.]+(?:\.\d+)*", scope)


def root_of(t: Tensor) -> Node:
    """The Node to draw from. Raises ValueError where there is none."""
    if not isinstance(t, Tensor):
        raise TypeError(f"only a Tensor has a graph to draw, not {type(t).__name__}")
    if t.node is None:
        raise ValueError(
            "this Tensor has no graph to draw: none of its inputs requires a gradient, "
            "or it was computed under no_grad() or from detach() or .numpy()"
        )
    return t.node
