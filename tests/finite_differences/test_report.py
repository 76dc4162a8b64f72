"""What the report of gradcheck says: verdict, figures, the likely cause."""

import dataclasses

import numpy as np
import pytest
from classic_mistakes import (
    SQUARE,
    X,
    add_counted_twice,
    linear_with_the_bias_of_one_row,
    linear_with_the_mean_bias,
    matmul_in_the_wrong_order,
    mean_not_divided_by_n,
    reshape_in_column_order,
    right_but_for_an_eps,
    rows_overwritten_where_they_repeat,
    square_counted_once,
    square_matrix_not_transposed_back,
    tanh_of_x_for_tanh_of_y,
    tiny_with_the_wrong_sign,
    variance_divided_by_n_minus_1,
)

import minigrad
from minigrad.engine import Tensor, as_op
from minigrad.finite_differences import GradientError, gradcheck
from minigrad.finite_differences.cases import case


def report_of(f, *inputs):
    return gradcheck(f, *inputs, raise_error=False)


@pytest.mark.parametrize(
    ("f", "inputs", "cause"),
    [
        (tiny_with_the_wrong_sign, [X], "ratio -1: sign"),
        (add_counted_twice, [X, X], "ratio 2: counted twice?"),
        (square_counted_once, [X], "ratio 0.5: counted once instead of twice, or a factor 2 forgotten?"),
        (matmul_in_the_wrong_order, [SQUARE, SQUARE + 1], "transposed?"),
        (square_matrix_not_transposed_back, [SQUARE], "transposed?"),
        (tanh_of_x_for_tanh_of_y, [X], "the slope at the wrong point: x where y belongs?"),
        (reshape_in_column_order, [X], "the right numbers in the wrong places: permuted?"),
        (linear_with_the_bias_of_one_row, [X, X.T, np.ones(3)], "not summed over a broadcast axis?"),
        (linear_with_the_mean_bias, [X, X.T, np.ones(3)], "averaged over an axis of length 3 instead of summed?"),
        (mean_not_divided_by_n, [X], "ratio 4: summed over an axis of length 4 instead of averaged?"),
        (variance_divided_by_n_minus_1, [X], "ratio 1.33333: the same everywhere: a constant factor?"),
        (rows_overwritten_where_they_repeat, [X], "right elsewhere. A mask, a boundary, or a repeated index?"),
        (right_but_for_an_eps, [X + 5], "almost right. A small term, an eps"),
        (minigrad.straight_through, [X], "f does not change. A gradient where there should be none?"),
        (as_op(lambda x: (x * x, lambda g: 0 * g)), [X], "ratio 0: the VJP returns 0"),
        (as_op(lambda x: (x * x, lambda g: g * 2 * x * np.sign(X))), [X], "sign, at some elements"),
    ],
)
def test_the_report_names_the_likely_cause(f, inputs, cause):
    with pytest.raises(GradientError) as caught:
        gradcheck(f, *inputs)
    assert cause in str(caught.value)


def test_the_report_gives_op_argument_index_and_both_values():
    @as_op
    def product(a, b):
        return a * b, (lambda g: g * b, lambda g: g * a + np.eye(3)[1])

    with pytest.raises(GradientError) as caught:
        gradcheck(product, np.ones(3), np.ones(3))
    report = caught.value.report
    a, b = report.arguments
    assert (a.name, a.wrong, a.likely_cause) == ("a", (), "")
    assert (b.name, b.position, b.index, b.wrong) == ("b", 1, (1,), ((1,),))
    assert b.by_vjp - b.by_differences == pytest.approx(1)
    assert str(caught.value) == str(report)
    for words in ("gradcheck of product: wrong gradient", "argument 1, b of shape (3,): 1 of 3 elements differ"):
        assert words in str(report)
    assert "most at [1]" in str(report)
    assert f"by VJP          {b.by_vjp: .10g}" in str(report)
    assert f"by differences  {b.by_differences: .10g}" in str(report)
    assert f"ratio {b.by_vjp / b.by_differences:.6g}" in str(report)


def test_a_composed_function_is_named_by_its_ops():
    assert report_of(lambda x: minigrad.tanh(x * x), X).function == "mul, tanh"

    def model(x):
        return minigrad.tanh(x * x)

    assert report_of(model, X).function == "model (mul, tanh)"
    assert report_of(lambda x: minigrad.concat([x]), X).function == "concat"
    assert report_of(model, Tensor(X, name="weight")).arguments[0].name == "weight"


def test_the_report_is_frozen_and_a_failure_is_an_assertion_error():
    report = gradcheck(minigrad.exp, X)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.verdict = "kink"
    assert issubclass(GradientError, AssertionError)


def test_a_passing_report_shows_the_worst_error_of_each_argument():
    text = str(gradcheck(minigrad.mul, X, X))
    assert text.startswith("gradcheck of mul: ok\n")
    assert "argument 0, a of shape (3, 4): agrees, worst relative error" in text
    assert "the gradient is 0" in str(gradcheck(minigrad.uniform, X))


def test_the_repr_is_one_line():
    assert repr(gradcheck(minigrad.exp, X)).startswith("<gradcheck of exp: ok, worst relative error ")
    report = report_of(tiny_with_the_wrong_sign, X)
    assert "\n" not in repr(report) and repr(report).startswith(
        "<gradcheck of tiny_with_the_wrong_sign: wrong gradient, "
    )
    assert "array(" not in repr(report.arguments[0])


def test_gradients_given_to_each_others_argument_are_told_so():
    quotient = as_op(lambda a, b: (a / b, (lambda g: -g * a / b**2, lambda g: g / b)))
    causes = [a.likely_cause for a in report_of(quotient, X, X * X + 1).arguments]
    assert causes == [f"exchanged? This is the gradient of argument {i}" for i in (1, 0)]
    among_three = as_op(lambda a, b, c: (a * b * c, (lambda g: g * a * c, lambda g: g * b * c, lambda g: g * a * b)))
    causes = [a.likely_cause for a in report_of(among_three, X, X * X + 1, X - 2).arguments]
    assert [cause[:10] for cause in causes] == ["exchanged?", "exchanged?", ""]


def test_an_estimator_is_reported_as_differing():
    report = report_of(minigrad.straight_through, X)
    assert report.verdict == "wrong gradient"
    assert "declared an estimator, whose gradient differs on purpose" in str(report)
    noisy = case(X, rng=0).of(minigrad.gumbel_softmax)
    assert "declared an estimator" in str(report_of(noisy, X))
