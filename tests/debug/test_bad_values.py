"""Where explain_grad and first_bad_value find the first nan or inf."""

import gc
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad import viz
from minigrad.debug.diagnose import explain_grad, first_bad_value
from minigrad.tensors.modes import in_scope


def leaf(value=1.0, shape=(3,), name="w"):
    return mg.Tensor(np.full(shape, value, np.float32), requires_grad=True, name=name)


# --- explain_grad ------------------------------------------------------------------------------------------------


def test_nan_names_the_op_that_made_the_first_one():
    w = leaf()
    said = explain_grad(lambda: in_scope("head", lambda: (w - 1.0) / (w - 1.0)).sum(), w)
    assert said.verdict == "nan"
    assert (
        "First appeared in `div` in `head` of shapes (3,) and (3,): 3 of 3 values are nan, out of finite" in said.text
    )


def test_nan_that_only_backward_makes():
    w = leaf(0.0)
    said = explain_grad(lambda: mg.where(w > 0, mg.sqrt(w), 0.0).sum(), w)
    assert said.verdict == "nan" and "The values are finite; first appeared in the backward of `sqrt`" in said.text


def test_nan_in_the_loss_is_told_though_the_gradient_is_finite():
    w = leaf(-1.0)
    said = explain_grad(lambda: mg.where([True, False, False], mg.log(w), w).sum() * 1.0, w)
    assert said.verdict == "nan" and "`log`" in said.text


def test_nan_in_the_data_is_blamed_on_the_data():
    w = leaf()
    said = explain_grad(lambda: (w * [1.0, np.nan, 2.0]).sum(), w)
    assert "`mul` of shapes (3,) and (3,), whose input 1 is nan already (1 of 3 values is nan)" in said.text


def test_a_parameter_that_became_nan_after_the_recorded_step_is_not_blamed():
    w, v = leaf(), leaf(0.0, name="v")
    with viz.record() as tape:
        (w * mg.sqrt(v - 1.0)).sum().backward()
        w.data = np.full(3, np.nan, np.float32)
    said = tape.explain(w)
    assert said.verdict == "nan" and "First appeared in `sqrt`" in said.text


# --- first_bad_value ---------------------------------------------------------------------------------------------


def test_first_bad_value_stops_in_forward_with_op_module_shapes_and_line():
    w = leaf()
    with pytest.raises(FloatingPointError) as error, first_bad_value():
        in_scope("head", lambda: (w - 1.0) / (w - 1.0))
    said = str(error.value)
    assert "`div` in `head` of shapes (3,) and (3,): 3 of 3 values are nan, out of finite input" in said
    assert "test_bad_values.py:" in said and 'in_scope("head", lambda:' in said


def test_first_bad_value_stops_in_backward_and_knows_the_line_of_forward():
    w = leaf(0.0)
    with pytest.raises(FloatingPointError) as error, first_bad_value():
        y = mg.sqrt(w)  # here
        y.sum().backward()
    assert "the backward of `sqrt` of shape (3,)" in str(error.value) and "y = mg.sqrt(w)  # here" in str(error.value)


def test_first_bad_value_lets_masks_pass():
    w, mask = leaf(), np.array([True, True, False])
    with first_bad_value():
        mg.softmax(w + np.where(mask, 0, -np.inf)).sum().backward()
        mg.log_softmax(w, mask=mask)
        mg.softmax(w, mask=~mask & mask).sum().backward()
        mg.attention(leaf(shape=(3, 2)), leaf(shape=(3, 2)), leaf(shape=(3, 2)), causal=True).sum().backward()


def test_first_bad_value_keeps_no_graph_alive():
    with first_bad_value():
        y = mg.exp(leaf())
        node = weakref.ref(y.node)
        del y
        gc.collect()
        assert node() is None
