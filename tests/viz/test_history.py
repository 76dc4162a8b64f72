"""The Nodes of a result, sorted into module calls."""

import numpy as np

import minigrad as mg
from minigrad.tensors.modes import in_scope
from minigrad.viz.history import history, modules_in


def leaf():
    return mg.Tensor(np.ones(3, np.float32), requires_grad=True)


def test_a_number_belongs_to_the_name_before_it():
    assert modules_in("blocks.0.attn.query") == ["blocks.0", "attn", "query"] and modules_in("") == []


def test_calls_hold_their_ops_in_the_order_they_ran():
    def block(x):
        return in_scope("mlp", lambda: mg.tanh(mg.exp(x))) + x

    h = history(in_scope("blocks.0", block, leaf()).sum().node)
    (outer, last) = h.calls.items
    assert last.op == "sum" and outer.scope == "blocks.0"
    assert [getattr(item, "op", None) or item.name for item in outer.items] == ["mlp", "add"]
    assert [node.op for node in outer.nodes()] == ["exp", "tanh", "add"]
    assert [call.scope for call in outer.items[0].path] == ["", "blocks.0", "blocks.0.mlp"]
    assert h.nodes[-1] is h.root and len(h.nodes) == 5


def test_a_graph_that_backward_went_through_can_still_be_walked():
    y = mg.exp(leaf()).sum()
    before = history(y.node).nodes
    y.backward()
    assert history(y.node).nodes == before


def test_20000_ops_deep_is_no_recursion_error():
    x = leaf()
    for _ in range(20_000):
        x = x + 1
    assert len(history(x.node).nodes) == 20_001
