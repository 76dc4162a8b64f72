"""A recording keeps what ran: values, gradients, contributions."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz
from minigrad.debug.diagnose import first_bad_value
from minigrad.debug.profile import Profile
from minigrad.debug.recording import Recording


def leaf(value):
    return mg.Tensor(np.asarray(value, np.float64), requires_grad=True, name="w")


def test_values_gradients_and_contributions_of_each_node():
    w = leaf([1.0, 2.0])
    with viz.record() as tape:
        y = w * w
        loss = y.sum()
        loss.backward()
    np.testing.assert_array_equal(tape.values[y.node], [1, 4])
    np.testing.assert_array_equal(tape.grads[y.node], [1, 1])
    np.testing.assert_array_equal(tape.grads[w.node], [2, 4])
    np.testing.assert_array_equal(tape.contributions[y.node], [[1, 2], [1, 2]])
    assert tape.root is loss.node


def test_leaves_are_kept_as_they_were_before_an_update():
    w = leaf([1.0, 2.0])
    with viz.record() as tape:
        loss = (w * 3.0).sum()
        loss.backward()
        w.data = [9.0, 9.0]
    np.testing.assert_array_equal(tape.values[w.node], [1, 2])
    np.testing.assert_array_equal(tape.inputs(loss.node.parents[0])[0], [1, 2])


def test_of_two_backward_passes_the_last_counts():
    w = leaf(1.0)
    with viz.record() as tape:
        (w * 2.0).backward()
        second = w * 5.0
        second.backward()
    assert tape.root is second.node and tape.grads[w.node] == 5
    assert set(tape.contributions) == {second.node}


def test_a_second_pass_through_the_same_graph_is_a_new_pass():
    w = leaf(1.0)
    with viz.record() as tape:
        y = mg.exp(w * 2.0)
        y.backward(retain_graph=True)
        y.backward(3.0)
    assert tape.grads[y.node] == 3


def test_a_backward_pass_through_an_older_graph_is_a_new_pass():
    w, v = leaf(1.0), leaf(2.0)
    with viz.record() as tape:
        first, second = mg.exp(w), mg.exp(v)
        second.backward()
        first.backward()
    assert tape.root is first.node and tape.passes == 2
    assert set(tape.grads) == {first.node, w.node}


def test_pictures_of_another_pass_than_the_last_are_refused():
    w = leaf(1.0)
    with viz.record() as tape:
        h = mg.exp(w)
        first, second = h * 2.0, h * 3.0
        first.backward(retain_graph=True)
        second.backward()
    for draw in (viz.graph, viz.tree):
        draw(second, tape=tape)
        draw(h, tape=tape)
        with pytest.raises(ValueError, match="last backward pass in this recording started from another result"):
            draw(first, tape=tape)


def test_raw_arrays_are_kept_as_they_were():
    w, x = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    with viz.record() as tape:
        first, again = w * x, w + x
        x[:] = 0
        later = w - x
    np.testing.assert_array_equal(tape.inputs(first.node)[1], [3, 4])
    np.testing.assert_array_equal(tape.inputs(later.node)[1], [0, 0])
    assert tape.calls[first.node].args[1] is tape.calls[again.node].args[1]  # one box in a picture


def test_ops_under_no_grad_leave_an_event_but_no_value():
    w = leaf(1.0)
    with viz.record() as tape, mg.no_grad():
        mg.exp(w)
    assert [event.name for event in tape.events] == ["exp"] and not tape.calls


def test_events_know_the_line_that_called_the_op():
    with viz.record() as tape:
        mg.exp(leaf(1.0))  # this line
    assert "test_recording.py" in str(tape.events[0].line) and str(tape.events[0].line).endswith("# this line")


def test_the_line_is_the_users_also_where_minigrad_calls_itself_through_no_grad():
    config = nn.GPTConfig(vocab_size=5, block_size=4, n_layers=1, n_heads=1, d_model=4)
    model = nn.GPT(config, np.random.default_rng(0))
    with viz.record() as tape:
        model.generate([1, 2], 1)  # here
    assert {str(event.line).split(": ")[1] for event in tape.events} == {"model.generate([1, 2], 1)  # here"}


def test_nothing_is_recorded_outside():
    with viz.record() as tape:
        pass
    mg.exp(leaf(1.0))
    assert tape.events == []


def test_weights_are_found_where_there_are_some():
    scores = leaf([[1.0, 2.0], [3.0, 1.0]])
    with mg.watch(Recording()) as tape:
        soft, logs, over_rows = mg.softmax(scores), mg.log_softmax(scores), mg.softmax(scores, axis=0)
    np.testing.assert_array_equal(tape.weights(soft.node), soft.data)
    assert tape.weights(logs.node) is None and tape.weights(over_rows.node) is None


def heads(rng, *shapes):
    return [mg.Tensor(rng.normal(size=shape), requires_grad=True) for shape in shapes]


def weighed(weights, v, n_heads):
    """What attention computes from these weights."""
    values = v.reshape(*v.shape[:-1], n_heads, -1).swapaxes(-2, -3)
    return (weights @ values).swapaxes(-2, -3).reshape(*weights.shape[:-3], weights.shape[-2], -1)


@pytest.mark.parametrize("B", [2, 3])  # 2 is the number of heads, too: a mask must not be taken for one per head
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask_shape", [None, ("B", 5, 5), ("B", 1, 5), ("B", 2, 5, 5), (5, 5)])
def test_the_weights_of_attention_are_those_its_output_was_made_with(B, causal, mask_shape):
    rng = np.random.default_rng(0)
    q, k, v = heads(rng, (B, 5, 8), (B, 5, 8), (B, 5, 6))
    mask = None
    if mask_shape is not None:
        mask = rng.random([B if n == "B" else n for n in mask_shape]) < 0.7
    with viz.record() as tape:
        y = mg.attention(q, k, v, n_heads=2, mask=mask, causal=causal)
    weights = tape.weights(y.node)
    assert weights.shape == (B, 2, 5, 5)
    np.testing.assert_allclose(weighed(weights, v.data, 2), y.data, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("B", [2, 3])
def test_the_weights_of_attention_are_those_that_the_layer_shows(B):
    rng = np.random.default_rng(0)
    layer = nn.MultiHeadAttention(8, 2, causal=True, rng=rng)
    x, mask = rng.normal(size=(B, 5, 8)).astype(np.float32), mg.length_mask(rng.integers(1, 6, B), 5)
    with viz.record() as tape:
        layer(x, mask=mask)
    (attended,) = (node for node in tape.calls if node.op == "attention")
    shown = np.asarray(layer.weights(x, mask=mask))
    np.testing.assert_allclose(tape.weights(attended), shown, rtol=1e-5, atol=1e-7)


def test_asking_for_weights_leaves_no_trace():
    q, k, v = heads(np.random.default_rng(0), (5, 4), (5, 4), (5, 4))
    with viz.record() as tape, Profile() as profile, first_bad_value():
        y = mg.attention(q, k, v)
        before = [event.name for event in tape.events], dict(profile.by_op())
        assert tape.weights(y.node) is not None
        assert ([event.name for event in tape.events], dict(profile.by_op())) == before
        mg.exp(q)
    assert [event.name for event in tape.events] == ["attention", "exp"]  # it watches again


def test_weights_of_long_inputs_are_not_made_again():
    q, k, v = heads(np.random.default_rng(0), (5, 4), (7, 4), (7, 4))
    with viz.record() as tape:
        y = mg.attention(q, k, v)
    assert tape.weights(y.node, longest=7).shape == (5, 7) and tape.weights(y.node, longest=6) is None


def test_an_exception_inside_still_ends_the_recording():
    with pytest.raises(ZeroDivisionError), viz.record() as tape:
        raise ZeroDivisionError
    mg.exp(leaf(1.0))
    assert tape.events == []
