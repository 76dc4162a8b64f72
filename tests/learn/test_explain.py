"""`python -m minigrad explain softmax`: the page, its check and numbers, and what is said of each wrong answer."""

import numpy as np
import pytest

import minigrad
from minigrad.__main__ import main
from minigrad.learn import explain, terminal
from minigrad.learn.wrong_answers import WRONG, verdicts_on
from minigrad.tensors.operators import OPS

OWN = [name for name, op in OPS.items() if op.__module__.startswith("minigrad.")]
HINTS = {  # of each wrong answer in WRONG, words of what gradcheck must say (one of those between bars)
    "exp": ["grad_y forgotten", "a factor x too much"],
    "sub": ["sign"],
    "mul": ["a wrong slope", "grad_y forgotten"],
    "div": ["sign", "a factor y forgotten"],
    "tanh": ["x where y belongs", "grad_y forgotten", "a wrong slope"],
    "sigmoid": ["a factor 1 − y forgotten", "x where y belongs"],
    "relu": ["a wrong slope", "not linear in grad_y"],
    "dropout": ["a factor 2 forgotten", "a wrong slope"],
    "sum": ["a constant factor"],
    "mean": ["a constant factor"],
    "var": ["a factor 2 forgotten"],
    "max": ["too many terms"],
    "logsumexp": ["a factor", "a factor"],
    "embedding": ["only some of the outputs send a gradient"],
    "matmul": ["transposed", "transposed", "transposed"],
    "linear": ["averaged over an axis of length 3", "not summed over a broadcast axis"],
    "softmax": ["cross terms", "cross terms", "row sum", "wrong axis", "the row sum Σ grad_y · y", "sign"],
    "log_softmax": ["grad_y forgotten in one term"],
    "cross_entropy": ["grad_y forgotten", "summed over an axis of length 3", "another one for each element", "sign"],
    "layer_norm": ["cross terms", "row sum", "row sum", *["another one for each element"] * 2],
    "sparsemax": ["cross terms", "where f does not depend on x"],
    "attention": ["√5", "row sum", "with a wrong factor each", "sign"],
    "gru": ["terms are missing: f depends on more elements", "a term missing"],
}


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_answer_gets_the_hint_that_fits(name):
    assert len(HINTS[name]) == len(WRONG[name])
    for wrong, words in zip(WRONG[name], HINTS[name], strict=True):
        said = " | ".join(verdicts_on(name, wrong, most=1))
        assert said and any(word in said for word in words.split("|")), (wrong, said)


@pytest.fixture
def told(capsys, monkeypatch):
    def run(op, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        return main(["explain", op]), capsys.readouterr().out

    return run


def test_a_page_has_all_its_parts_in_order_and_fits_the_terminal(told):
    code, out = told("exp")
    parts = [
        "exp(x)",
        "grad_x = grad_y · y",
        "def exp(x):",
        "ok in all 3 cases",
        "An example",
        "  grad_y  ",
        "In place of",
    ]
    at = [out.index(part) for part in parts]
    assert code == 0 and at == sorted(at)
    assert max(map(len, out.splitlines())) <= 80


def test_lines_break_where_the_terminal_is_narrow(told):
    for columns in (50, 120):
        assert max(map(len, told("linear", columns)[1].splitlines())) <= columns


def test_an_estimator_is_said_to_differ_on_purpose(told):
    code, out = told("straight_through")
    assert code == 0 and "differs from the slope on purpose" in " ".join(out.split())


def test_an_unknown_op_gets_close_names(told):
    code, out = told("sofmax")
    assert code == 2 and out.startswith("There is no op 'sofmax'. Did you mean softmax")
    assert told("minigrad.nothing_like_it")[1].startswith("There is no op 'nothing_like_it'. There are: ")


def test_an_op_whose_gradient_is_wrong_is_told_so(told, monkeypatch):
    monkeypatch.setitem(OPS, "exp", minigrad.engine.as_op(lambda x: (np.exp(x), lambda g: g), name="exp"))
    code, out = explain.checked("exp")
    assert not code and "Of 3 cases 3 are wrong" in out


@pytest.mark.parametrize("name", OWN)
def test_the_example_of_every_op_shows_what_goes_in_and_comes_back(name):
    rows = explain.example(name)
    assert any(line.startswith("  y ") for line in rows) and any("grad_" in line for line in rows)


def test_the_examples_numbers_are_the_ops(told):
    rows = {
        line.split()[0]: np.array(line.split("[")[1].rstrip("]").split(), float) for line in explain.example("softmax")
    }
    x = minigrad.Tensor(rows["x"], requires_grad=True)
    y = minigrad.softmax(x)
    y.backward(rows["grad_y"])
    np.testing.assert_allclose(rows["y"], y.data, atol=6e-4)
    np.testing.assert_allclose(rows["grad_x"], x.grad, atol=6e-4)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_every_page_can_be_said_where_signs_are_missing(encoding):
    for name in OWN:
        page = OPS[name].__doc__
        assert page.encode(encoding, "spelled").decode(encoding).count("?") == page.count("?"), name
    assert "Σⱼ exp(xᵢ) ≤ √2".encode("ascii", "spelled").decode() == "sum_j exp(x_i) <= sqrt2"


def test_prose_is_filled_and_formulas_stay(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = "a few words that go\non here\n    y = x\nand then a line that is too long for it"
    assert terminal.wrap(text).splitlines() == [
        "a few words that go on here", "    y = x", "and then a line that is too long for it",
    ]  # fmt: skip
