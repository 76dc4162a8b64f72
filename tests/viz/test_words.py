"""Ops and numbers in a few words."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.viz.words import mean_and_spread, number, op_title, values_text


def leaf(shape):
    return mg.Tensor(np.ones(shape, np.float32), requires_grad=True)


@pytest.mark.parametrize(
    ("compute", "title"),
    [
        (lambda x: x * 0.35355, "mul 0.354"),
        (lambda x: 2**x, "pow (2, ·)"),
        (lambda x: x**2, "pow 2"),
        (lambda x: x.mean(axis=0), "mean axis=0"),
        (lambda x: x.reshape(4, 1), "reshape"),
        (lambda x: x.transpose(1, 0), "transpose (1, 0)"),
        (lambda x: x.swapaxes(-1, -2), "swapaxes (−1, −2)"),
        (lambda x: x[:, 1:], "getitem [:, 1:]"),
        (lambda x: mg.softmax(x, mask=mg.causal_mask(2)), "softmax mask 2×2"),
        (lambda x: mg.attention(x, x, x, causal=True), "attention causal"),
        (lambda x: mg.concat([x, x]), "concat axis=0"),
    ],
)
def test_constants_stand_in_the_title(compute, title):
    assert op_title(compute(leaf((2, 2))).node) == title


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (0.35355, "0.354"),
        (12, "12"),
        (-3.0, "−3"),
        (1.2e-5, "1.2e−05"),
        (12345, "12,345"),
        (np.inf, "∞"),
        (True, "True"),
    ],
)
def test_numbers_have_three_digits_and_a_real_minus(x, told):
    assert number(x) == told


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.zeros((0, 3)), "empty"),
        (np.array([1.0, -2.5]), "1, −2.5"),
        (np.full(5, 7.0), "all 7"),
        (np.array([1.0, 3.0] * 3), "2 ± 1"),
        (np.arange(5), "0 … 4"),
        (np.array([1.0, np.nan, np.inf, np.nan, 0.0]), "2 of 5 nan, 1 of 5 inf"),
    ],
)
def test_up_to_four_values_are_told_in_full_and_more_as_mean_and_spread(values, told):
    assert values_text(values) == told


def test_what_is_only_rounding_is_told_as_0():
    assert mean_and_spread(np.array([-1.0, 1.0, 1e-9]))[0] == 0
    assert mean_and_spread(0.1 + 1e-12 * np.arange(5))[1] == 0
