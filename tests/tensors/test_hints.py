"""Names that are not here say what to write instead, and that code runs."""

import copy
import pickle

import numpy as np
import pytest

import minigrad
from agreement import leaf
from minigrad import nn
from minigrad.tensors.hints import IN_MINIGRAD, IN_NN, IN_TENSOR

PLACES = [(minigrad, IN_MINIGRAD), (nn, IN_NN), (leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), IN_TENSOR)]


@pytest.mark.parametrize(("place", "name"), [(place, name) for place, hints in PLACES for name in hints])
def test_every_hint_is_given_and_runs(place, name):
    code = next(hints for where, hints in PLACES if where is place)[name].partition("  # ")[0]
    if not (place is minigrad and name == "viz"):  # there once somebody has imported it
        with pytest.raises(AttributeError) as error:
            getattr(place, name)
        assert f"has no {name!r}; did you mean `{code}`?" in str(error.value)
    exec(code, {"minigrad": minigrad, "np": np, "nn": nn, "t": leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])})


def test_misspelt_names_get_the_nearest_one():
    for place, name, nearest in [
        (minigrad, "sofmax", "softmax"),
        (minigrad, "layernorm", "layer_norm"),
        (minigrad, "MultiHeadAttention", "nn.MultiHeadAttention"),
        (minigrad, "Linear", "nn.Linear"),
        (nn, "Layernorm", "LayerNorm"),
    ]:
        with pytest.raises(AttributeError, match=rf"has no '{name}'; did you mean `{nearest}`\?$"):
            getattr(place, name)
    with pytest.raises(AttributeError, match=r"^minigrad has no 'xyzzy'$"):
        _ = minigrad.xyzzy


def test_hints_are_not_offered_as_attributes():
    t = leaf([1.0, 2.0])
    assert not IN_TENSOR.keys() & set(dir(t)) and {"reshape", "grad", "sum"} < set(dir(t))
    assert not any(hasattr(t, name) for name in IN_TENSOR)


def test_names_that_protocols_ask_for_are_simply_not_there():
    t = leaf([1.0, 2.0])
    assert not hasattr(t, "__cuda_array_interface__") and not hasattr(minigrad, "__wrapped__")
    np.testing.assert_array_equal(copy.deepcopy(t).data, t.data)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(t)).data, t.data)
