"""What explain_grad and first_bad_value say of gradients that are missing, zero, tiny, nan, or fine."""

import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz
from minigrad.debug.diagnose import explain_grad
from minigrad.tensors.modes import in_scope

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import diagnose_gradients


def leaf(value=1.0, shape=(3,), name="w"):
    return mg.Tensor(np.full(shape, value, np.float32), requires_grad=True, name=name)


def other():
    return leaf(name="other")


def attention_loss(normalize="softmax", scale=1.0):
    rng = np.random.default_rng(0)
    layer = nn.MultiHeadAttention(16, 2, causal=True, normalize=normalize, rng=rng)
    for projection in (layer.query, layer.key):
        projection.weight.data = projection.weight.data * scale
    x = mg.Tensor(rng.normal(size=(2, 6, 16)).astype(np.float32))
    return layer, lambda: (in_scope("attn", layer, x) ** 2).mean()


# --- not reached -------------------------------------------------------------------------------------------------


def test_not_reached_because_of_detach():
    w = leaf()

    def f():
        h = in_scope("encoder", mg.exp, w)
        h = h.detach()
        return (h * other()).sum()

    said = explain_grad(f, w)
    assert said.verdict == "not reached"
    assert "`w` in `encoder` of shape (3,) was cut off from the loss by detach() of the output of `exp`" in said.text
    assert "test_diagnose.py:" in said.text and "h = h.detach()" in said.text


def test_not_reached_because_of_no_grad():
    w = leaf()

    def f():
        with mg.no_grad():
            h = mg.exp(w)
        return (h * other()).sum()

    assert "by no_grad(), under which `exp` of shape (3,) ran" in explain_grad(f, w).text


def test_not_reached_because_it_became_a_raw_array():
    w = leaf()
    said = explain_grad(lambda: (np.exp(mg.exp(w).numpy()) * other()).sum(), w)
    assert "numpy() of the output of `exp` (it makes a raw array)" in said.text


@pytest.mark.parametrize("number", [lambda t: t.item(), float], ids=["item", "float"])
def test_not_reached_because_it_became_a_python_number(number):
    w = leaf()
    said = explain_grad(lambda: (other() * number(mg.exp(w).sum())).sum(), w)
    assert said.verdict == "not reached"
    assert "cut off from the loss by item() of the output of `sum` (it makes a Python number)" in said.text


def test_of_several_cuts_the_one_that_the_loss_came_through_is_named():
    w = leaf()

    def f():
        h = mg.exp(w)
        h.detach()  # for a picture: harmless
        with mg.no_grad():
            g = mg.tanh(h)
        return (g * other()).sum()

    said = explain_grad(f, w).text
    assert "no_grad()" in said and "detach()" not in said


def test_a_cut_for_looking_at_values_is_no_cut():
    w = leaf()

    def f():
        h = mg.exp(w)
        h.numpy(), h.detach()
        return h.sum()

    assert explain_grad(f, w).verdict == "healthy"


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda w: other().sum(), "`w` of shape (3,) was used by no op"),
        (lambda w: (mg.exp(w), other().sum())[1], "but no op that leads to the loss took the result (last: `exp`"),
        (lambda w: mg.where(w, other(), 0.0).sum(), "and () gives no gradient to its input 0"),
        (lambda w: mg.exp(w).detach().sum(), "detach()"),
    ],
)  # fmt: skip
def test_not_reached_for_other_reasons(f, says):
    w = leaf()
    said = explain_grad(lambda: f(w), w)
    assert said.verdict == "not reached" and says in said.text


def test_a_frozen_parameter_is_said_to_be_frozen():
    p = nn.Parameter(np.ones(3), requires_grad=False)
    assert "requires_grad=False" in explain_grad(lambda: (p * other()).sum(), p).text
    assert "requires no gradient" in explain_grad(lambda: other().sum(), mg.Tensor([1.0])).text


# --- exactly zero ------------------------------------------------------------------------------------------------


def test_zero_behind_hardmax_names_the_op_and_its_module():
    layer, f = attention_loss("hardmax")
    said = explain_grad(f, layer.query.weight)
    assert said.verdict == "zero"
    assert "`weight` in `attn.query` of shape (16, 16) is 0 in all elements" in said.text
    assert "Blocked at `hardmax` in `attn`" in said.text
    assert explain_grad(f, layer.value.weight).verdict == "healthy"


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda w: mg.relu(w - 5.0), "Blocked at `relu` of shape (3,), whose 3 inputs are all ≤ 0"),
        (lambda w: mg.clip(w, high=0.0), "Blocked at `clip` of shape (3,), whose inputs are all outside the bounds"),
        (lambda w: w * np.zeros(3), "Blocked at `mul` of shapes (3,) and (3,), whose other factor is all zeros"),
        (lambda w: mg.tanh(w * 50.0), "Blocked at `tanh` of shape (3,), saturated"),
        (lambda w: mg.uniform(w) * [1.0, 2.0, 3.0], "Blocked at `uniform` of shape (3,), which ignores its scores"),
        (lambda w: mg.sparsemax(w * [1.0, 9.0, 1.0]) * [1.0, 2.0, 3.0], "where all weight is on one score"),
        (lambda w: mg.relu(w - 5.0) + mg.clip(w, high=0.0), "outside the bounds; and at `relu` of shape (3,)"),
        (lambda w: w - w, "The gradients from its several uses cancel."),
    ],
)
def test_zero_names_what_blocked_and_why(f, says):
    w = leaf()
    said = explain_grad(lambda: f(w).sum(), w)
    assert said.verdict == "zero" and says in said.text


# --- tiny, healthy -----------------------------------------------------------------------------------------------


def test_tiny_behind_a_saturated_softmax_tells_its_largest_weight():
    layer, f = attention_loss(scale=200.0)
    said = explain_grad(f, layer.query.weight)
    assert said.verdict == "tiny"
    assert "Most is lost in `attention` in `attn`" in said.text and "softmax is saturated, largest weight " in said.text


def test_tiny_without_saturation_names_the_op_that_shrank_it():
    w = leaf()
    said = explain_grad(lambda: (mg.exp(w) * 1e-6).sum(), w)
    assert said.verdict == "tiny" and "Most is lost in `mul` of shapes (3,) and ()" in said.text


def test_healthy_gives_norms_along_the_way():
    w = leaf(2.0)
    said = explain_grad(lambda: (in_scope("a.b", mg.exp, w) * 3.0).sum(), w)
    assert said.verdict == "healthy"
    assert str(said).endswith("Norms on the way back: sum 1 → mul 1.73 → a.b.exp 5.2 → w 38.4.")


def test_a_long_way_is_shortened():
    w = leaf()

    def f():
        h = w
        for _ in range(300):
            h = mg.tanh(h) + h
        return (h * 1e-9).sum() * 1e9

    text = explain_grad(f, w).text
    assert " more) → " in text and len(text) < 800


def test_of_ops_with_the_same_name_it_says_which_in_the_order_they_ran():
    w = leaf()
    said = explain_grad(lambda: (mg.tanh(in_scope("a", mg.tanh, mg.tanh(w))) * 3.0).sum(), w)
    assert " → tanh (2nd) " in said.text and " → a.tanh " in said.text and " → tanh (1st) " in said.text
    said = explain_grad(lambda: mg.tanh(mg.tanh(100 * w) * 10).sum(), w)
    assert "Blocked at the 2nd `tanh` of shape (3,)" in said.text


# --- how it asks -------------------------------------------------------------------------------------------------


def test_asking_changes_no_gradient_and_no_optimizer_buffer():
    layer, f = attention_loss()
    optimizer = mg.optim.SGD(layer.parameters(), lr=0.1)
    f().backward()
    before = {name: p.grad.copy() for name, p in layer.named_parameters()}
    buffers = {name: p.grad for name, p in layer.named_parameters()}
    explain_grad(f, layer.query.weight)
    for name, p in layer.named_parameters():
        assert p.grad is buffers[name]
        np.testing.assert_array_equal(p.grad, before[name])
    optimizer.step()


def test_a_recording_can_be_asked_too():
    w = leaf()
    with viz.record() as tape:
        mg.hardmax(w).sum().backward()
    assert tape.explain(w).verdict == "zero"
    with viz.record() as forward_only:
        mg.exp(w)
    with pytest.raises(RuntimeError, match="no backward pass in this recording"):
        forward_only.explain(w)
    y = mg.exp(w)
    with viz.record() as half:
        y.sum().backward()
    with pytest.raises(RuntimeError, match="a part of the forward pass ran outside the recording"):
        half.explain(w)


def test_of_several_backward_passes_in_a_recording_the_last_is_told_and_said_to_be():
    w, v = leaf(), leaf(name="v")
    with viz.record() as tape:
        mg.exp(w).sum().backward()
        mg.exp(v).sum().backward()
    note = "Of the 2 backward passes in this recording only the last is kept"
    assert tape.explain(w).verdict == "not reached" and note in tape.explain(w).text
    assert tape.explain(v).verdict == "healthy" and note in tape.explain(v).text


def test_the_loss_itself_can_be_asked_about():
    w = leaf(2.0, shape=())
    with viz.record() as tape:
        loss = mg.exp(w)
        loss.backward()
    said = tape.explain(loss)
    assert said.verdict == "healthy" and "the output of `exp` of shape () is where backward() started" in said.text
    assert explain_grad(lambda: w, w).verdict == "healthy"
    assert w.grad == mg.exp(w).data  # from the recorded step, not from being asked


def test_bad_input_gets_one_clear_sentence():
    w = leaf()
    with pytest.raises(TypeError, match="must return the loss as a Tensor, not float"):
        explain_grad(lambda: 1.0, w)
    with pytest.raises(TypeError, match="a parameter, a Tensor, not ndarray"):
        explain_grad(lambda: w.sum(), np.ones(3))
    with pytest.raises(TypeError, match=r"f must be a function that builds the loss, .*, not a Tensor"):
        explain_grad(w.sum(), w)
    with pytest.raises(ValueError, match="backward\\(\\) starts from a scalar"):
        explain_grad(lambda: w * 2.0, w)


def test_the_example_tells_the_four_accidents_apart(tmp_path, capsys):
    results = diagnose_gradients.main(["--out", str(tmp_path)])
    told = [results[accident] for accident, *_ in diagnose_gradients.ACCIDENTS]
    assert [each["before"]["verdict"] for each in told] == ["zero", "tiny", "not reached", "nan"]
    assert [each["after"]["verdict"] for each in told] == ["healthy"] * 4
    assert "`div`" in results["first_bad_value"]
    assert "saturated, largest weight 0.9999" in " ".join(capsys.readouterr().out.split())
