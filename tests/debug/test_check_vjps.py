"""tape.check(): which of all the ops of a model has the wrong VJP."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, viz
from minigrad.engine import as_op
from minigrad.finite_differences import GradientError
from minigrad.tensors.operators import OPS

rng = np.random.default_rng(0)
X = rng.normal(size=(5, 4)).astype(np.float32)


@pytest.fixture
def wrong_gelu(monkeypatch):
    """An op of one's own that forgets a term: gelu's gate has a slope, too."""

    def gate(x):
        t = np.tanh(0.8 * x)
        return x * (1 + t) / 2, lambda grad_y: grad_y * (1 + t) / 2

    made = as_op(gate)
    monkeypatch.setitem(OPS, "gate", made)
    return made


class Model(nn.Module):
    def __init__(self, activation):
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)
        self.inner = Inner(activation)

    def forward(self, x):
        return self.second(self.inner(self.first(x)))


class Inner(nn.Module):
    def __init__(self, activation):
        self.activation = activation

    def forward(self, h):
        return self.activation(h)  # this line


def recorded(loss):
    with viz.record() as tape:
        loss().backward()
    return tape


def test_the_wrong_vjp_is_named_with_its_op_module_and_line(wrong_gelu):
    model = Model(wrong_gelu)
    tape = recorded(lambda: mg.cross_entropy(model(X), np.array([0, 1, 1, 0, 1])))
    report = tape.check(raise_error=False)
    assert not report.ok and len(report.wrong) == 1 and report.checked == 4
    said = report.wrong[0]
    assert "`gate` in `inner` of shape (5, 6), at test_check_vjps.py:" in said and "# this line" in said
    assert "argument 0, x of shape (5, 6): " in said and "by differences" in said
    with pytest.raises(GradientError, match="4 ops checked: 1 with a wrong VJP"):
        tape.check()


def test_a_right_model_passes():
    model = nn.GPT(nn.GPTConfig(vocab_size=5, block_size=3, n_layers=1, n_heads=2, d_model=4))
    report = recorded(lambda: mg.cross_entropy(model(np.array([[0, 3, 4]])), np.array([[3, 4, 1]]))).check()
    assert report.ok and not report.skipped and report.checked > 8


def test_of_a_large_input_some_elements_are_checked(wrong_gelu):
    w = mg.Tensor(rng.normal(size=(300, 40)), requires_grad=True)
    said = recorded(lambda: wrong_gelu(w).sum()).check(most=5, raise_error=False).wrong[0]
    assert "x (5 elements of 12,000) of shape (5,): 5 of 5 elements differ" in said
    assert recorded(lambda: mg.softmax(w).sum()).check(most=5).checked == 2


def test_constants_among_the_inputs_stay_as_they_are():
    w = mg.Tensor(-np.ones(3) - X[0, :3], requires_grad=True)  # negative: no gradient for an exponent
    assert recorded(lambda: (w**2 * np.array([1.0, 2.0, 3.0]) + mg.Tensor([1.0])).sum()).check().checked == 4


def test_dropout_draws_the_same_for_each_call():
    w, drawn = mg.Tensor(X, requires_grad=True), np.random.default_rng(0)
    assert recorded(lambda: mg.dropout(w, p=0.5, rng=drawn).sum()).check().checked == 2


def test_what_cannot_be_checked_is_said():
    w = mg.Tensor(X, requires_grad=True)
    own = as_op(lambda x: (x * 2.0, lambda g: 3 * g), name="own")

    def loss():
        masked = mg.where(X > 0, mg.straight_through(own(w)), -np.inf)
        return mg.softmax(masked).sum()

    report = recorded(loss).check(raise_error=False)
    text = str(report)
    assert report.checked == 2 and not report.wrong and report.ok
    assert "not checked:" in text and "`own` of shape (5, 4)" in text and "not in OPS" in text
    assert "an estimator" in text and "differences need finite inputs" in text


def test_a_softmax_too_saturated_to_tell_is_not_called_wrong():
    scores = mg.Tensor([40.0, 2.0, 1.0], requires_grad=True)
    report = recorded(lambda: (mg.softmax(scores) * [1.0, 2.0, 3.0]).sum()).check(raise_error=False)
    assert not report.wrong and report.checked == 2
    assert len(report.skipped) == 1 and "`softmax`" in report.skipped[0] and "too small to tell" in report.skipped[0]


def test_an_empty_recording_is_no_pass():
    with viz.record() as tape:
        mg.exp(X)
    with pytest.raises(GradientError, match="0 ops checked"):
        tape.check()


def test_a_check_changes_no_gradient_and_is_not_recorded():
    w = mg.Tensor(X, requires_grad=True)
    with viz.record() as tape:
        mg.exp(w).sum().backward()
        before, n = w.grad.copy(), len(tape.events)
        tape.check()
    assert len(tape.events) == n and tape.passes == 1
    np.testing.assert_array_equal(w.grad, before)
