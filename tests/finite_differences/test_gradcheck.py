"""gradcheck: which gradients pass, which mistakes it notices, and what it cannot check.

test_all_ops.py damages every VJP of every op, and gradcheck has to notice; test_report.py is about what it says.
"""

import numpy as np
import pytest
from classic_mistakes import MISTAKES, X, softmax_right_only_for_a_constant_gradient

import minigrad
from minigrad import nn
from minigrad.engine import Tensor, as_op
from minigrad.finite_differences import GradientError, gradcheck
from minigrad.tensors.modes import no_grad
from minigrad.tensors.operators import OPS

rng = np.random.default_rng(1)
TARGETS = np.array([1, 0, 1])


def report_of(f, *inputs, **how):
    return gradcheck(f, *inputs, raise_error=False, **how)


# --- what passes -------------------------------------------------------------------------------------------------


def test_a_right_gradient_passes_to_many_digits():
    report = gradcheck(minigrad.softmax, X)
    assert report.ok
    assert 0 < report.relative_error < 1e-9


def test_composed_ops_and_several_arguments_are_checked_together():
    report = gradcheck(lambda x, w, b: minigrad.gelu(x @ w + b).mean(axis=0), X, rng.normal(size=(4, 2)), [1.0, -1.0])
    assert report.ok
    assert [a.shape for a in report.arguments] == [(3, 4), (4, 2), (2,)]


def test_arrays_lists_numbers_and_tensors_are_inputs():
    for x in (np.ones(3), np.ones(3, np.float32), [1.0, 1.0, 1.0], [1, 0.5], 1.0, Tensor([1.0]), np.ones((0, 3))):
        assert gradcheck(lambda x: minigrad.exp(x), x).ok


def test_float32_inputs_are_checked_in_float64():
    assert gradcheck(minigrad.tanh, X.astype(np.float32)).relative_error < 1e-9
    assert gradcheck(minigrad.tanh, Tensor(X.astype(np.float32), requires_grad=True)).relative_error < 1e-9


def test_integers_booleans_and_none_pass_through_undifferentiated():
    report = gradcheck(minigrad.cross_entropy, X, np.array([0, 3, 1]))
    assert [a.position for a in report.arguments] == [0]
    report = gradcheck(minigrad.where, X > 0, X, 2 * X)
    assert [a.position for a in report.arguments] == [1, 2]
    report = gradcheck(minigrad.layer_norm, X, None, np.ones(4))
    assert [a.position for a in report.arguments] == [0, 2]
    report = gradcheck(lambda x, n: (x**n).reshape(n, n), [1.0, 2.0, 3.0, 4.0], 2)
    assert [a.position for a in report.arguments] == [0]
    report = gradcheck(minigrad.embedding, X, [0, 2, 2])
    assert [a.position for a in report.arguments] == [0]


def test_log_at_1e_5_passes():
    assert gradcheck(minigrad.log, np.array([1e-5])).ok
    assert gradcheck(minigrad.log, np.array([1e-5, 1.0])).ok  # the step fits the 1 and is halved for the 1e-5
    assert gradcheck(minigrad.log, np.array([1e-7, 1.0])).ok  # where x − h was below 0
    assert gradcheck(minigrad.log, np.array([1e-5, 1e3]), typical_size=1e-5).ok


@pytest.mark.parametrize("size", [1e-9, 1e-5, 1.0, 1e5])
def test_the_step_fits_the_size_of_the_argument(size):
    """Then two calls an element are enough, beside three of the same x: no step has to be halved."""
    calls = []

    def f(x):
        calls.append(x)
        return x**3

    assert gradcheck(f, size * np.array([1.0, -2.0, 0.0])).relative_error < 1e-9
    assert len(calls) == 3 + 2 * 3


def test_a_zero_among_the_inputs_passes():
    assert gradcheck(minigrad.layer_norm, np.array([[0.0, 1.0, 2.0]])).ok
    assert gradcheck(minigrad.exp, np.zeros(3)).ok


def test_a_kink_nearby_is_not_a_kink():
    assert gradcheck(minigrad.relu, np.array([4e-6, 1.0])).ok  # within the first step
    assert gradcheck(lambda x: minigrad.abs(x) ** 1.5, np.array([0.0, 1.0])).ok  # slope 0 from both sides


def test_minus_infinity_behind_a_mask_is_a_constant():
    mask = np.array([[True, False, True, True], [False] * 4, [True] * 4])
    assert gradcheck(lambda x: minigrad.log_softmax(x, mask=mask), X).ok


def test_leaves_used_inside_f_keep_their_gradients():
    fresh = Tensor(X, requires_grad=True)
    trained = Tensor(X, requires_grad=True)
    trained.sum().backward()
    gradcheck(lambda x: x * fresh * trained, X)
    assert fresh.grad is None
    np.testing.assert_array_equal(trained.grad, np.ones((3, 4)))


def test_an_input_keeps_its_gradient_and_its_numbers():
    x = Tensor(X, requires_grad=True)
    gradcheck(minigrad.exp, x)
    assert x.grad is None
    np.testing.assert_array_equal(x.data, X)


# --- what is noticed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("f", "inputs"), MISTAKES, ids=[f.__name__ for f, _ in MISTAKES])
def test_a_classic_wrong_vjp_is_noticed(f, inputs):
    with pytest.raises(GradientError, match=f"gradcheck of {f.__name__}: wrong gradient"):
        gradcheck(f, *inputs)


@pytest.mark.parametrize("seed", range(5))
def test_they_are_noticed_whatever_u_is_drawn(seed):
    for f, inputs in MISTAKES:
        assert report_of(f, *inputs, rng=np.random.default_rng(seed)).verdict == "wrong gradient", f.__name__


def test_a_softmax_that_passes_for_u_equal_1_is_caught():
    """The commonest vacuous test: the sum of a softmax, whose gradient is 0 for the true VJP and for many others."""
    f = softmax_right_only_for_a_constant_gradient
    vacuous = gradcheck(lambda x: f(x).sum(), X)
    assert vacuous.ok
    assert "nothing was tested" in str(vacuous)
    assert not report_of(f, X).ok


def test_scale_does_not_matter():
    """Every size of f and of x: right passes, a ten-thousandth too much does not."""

    def cube(factor, claimed):
        return as_op(lambda x: (factor * x**3, lambda g: g * claimed * factor * x * x))

    for size in (1e-12, 1e-4, 1.0, 1e4, 1e12):
        for factor in (1e-30, 1e-8, 1.0, 1e8, 1e30):
            assert report_of(cube(factor, 3), size * X).ok
            assert report_of(cube(factor, 3.0003), size * X).verdict == "wrong gradient"


def test_a_wild_value_hides_no_other():
    """One element with a huge wrong gradient must not make room for a small error elsewhere."""

    @as_op
    def f(x):
        return x * x, lambda g: 2 * g * x * np.where(x == x.max(), 1e9, 1.001)

    assert len(report_of(f, X).arguments[0].wrong) == X.size


def test_nan_in_the_gradient_is_wrong():
    assert report_of(as_op(lambda x: (x * x, lambda g: g * np.nan)), X).verdict == "wrong gradient"


def test_a_gradient_cut_off_is_wrong():
    for f in (lambda x: minigrad.mul(x.detach(), 2.0), lambda x: Tensor(x.numpy() ** 2)):
        with pytest.raises(GradientError, match=r"no gradient arrived. Is the graph cut by detach\(\)"):
            gradcheck(f, X)
    with no_grad(), pytest.raises(GradientError, match="no_grad"):
        gradcheck(minigrad.exp, X)


# --- what f never used, and what a model keeps to itself ---------------------------------------------------------


def test_an_argument_that_f_never_used_does_not_pass():
    """The gradient is 0 by both ways, and nothing was tested: most likely the model's own weight was meant."""
    layer = nn.Linear(4, 2)
    report = report_of(lambda w: minigrad.cross_entropy(layer(X), TARGETS), layer.weight)
    assert report.verdict == "unused" and not report.ok
    with pytest.raises(GradientError, match=r"gradcheck\(f, parameters=model\)"):
        gradcheck(lambda x, w: minigrad.exp(x), X, X)
    assert [a.unused for a in report_of(lambda x, w: minigrad.exp(x), X, X).arguments] == [False, True]


def test_an_argument_whose_gradient_is_0_by_rule_is_not_unused():
    for f in (minigrad.uniform, minigrad.hardmax, lambda x: minigrad.where(x, 1.0, X)):
        assert gradcheck(f, X).ok


def test_a_wrong_gradient_counts_more_than_an_unused_argument():
    assert report_of(lambda x, w: MISTAKES[0][0](x), X, X).verdict == "wrong gradient"


def test_a_models_own_parameters_are_checked():
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    before, numbers = dict(model.named_parameters()), model.state_dict()
    report = gradcheck(lambda: minigrad.cross_entropy(model(X), TARGETS), parameters=model)
    assert [a.name for a in report.arguments] == list(before)
    assert not any(a.zero for a in report.arguments)
    for name, parameter in model.named_parameters():
        assert parameter is before[name] and parameter.grad is None and parameter.dtype == np.float32
        np.testing.assert_array_equal(parameter.data, numbers[name])


def test_a_wrong_vjp_in_a_model_shows_at_its_parameters():
    layer, f = nn.Linear(4, 2), MISTAKES[0][0]
    report = report_of(lambda x: f(layer(x)), X, parameters=layer)
    assert [(a.name, bool(a.wrong)) for a in report.arguments] == [("weight", True), ("bias", True), ("", True)]
    with pytest.raises(GradientError, match="argument 1, bias of shape"):
        gradcheck(lambda x: f(layer(x)), X, parameters=layer)


def test_parameters_come_from_anything_that_names_them_and_only_those_that_require_a_gradient():
    class Model:
        layers = (Tensor([0.5, 2.0], requires_grad=True), Tensor([3.0, 1.0]))

        def named_parameters(self):
            return [(f"layers.{i}", layer) for i, layer in enumerate(self.layers)]

    model = Model()
    report = gradcheck(lambda: minigrad.exp(model.layers[0] * model.layers[1]), parameters=model)
    assert [a.name for a in report.arguments] == ["layers.0"]
    with pytest.raises(ZeroDivisionError):
        gradcheck(lambda: 1 / 0, parameters=model)
    assert model.layers[0].dtype == np.float32 and model.layers[0].requires_grad


# --- kinks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (minigrad.abs, [0.0]),
        (minigrad.abs, [0.0, 1.0]),
        (minigrad.abs, [1e-8, 1.0]),  # closer than the step can tell
        (minigrad.relu, [0.0, -2.0, 3.0]),
        (lambda x: minigrad.maximum(x, 1.0), [1.0, 2.0]),
        (lambda x: minigrad.max(x), [2.0, 2.0, 1.0]),
        (lambda x: minigrad.clip(x, low=-1, high=1), [1.0, 0.5]),
        (minigrad.hardmax, [1.0, 1.0]),  # a jump
        (lambda x: minigrad.top_k_softmax(x, k=1), [1.0, 1.0]),
        (minigrad.sparsemax, [1.0, 0.0]),  # just leaving the support
        (minigrad.sqrt, [0.0, 1.0]),  # the edge of where it is defined
        (lambda x: minigrad.sqrt(minigrad.abs(x)), [0.0, 1.0]),  # infinitely steep
    ],
)
def test_a_kink_is_a_verdict_of_its_own(f, x):
    report = report_of(f, np.array(x))
    assert report.verdict == "kink"
    assert not report.ok
    assert (0,) in report.arguments[0].kinks
    with pytest.raises(GradientError, match="no derivative at"):
        gradcheck(f, np.array(x))


def test_a_kink_does_not_excuse_a_wrong_gradient_elsewhere():
    half = as_op(lambda x: (np.abs(x), lambda g: g * np.sign(x) / 2))
    report = report_of(half, np.array([0.0, 1.0]))
    assert report.verdict == "wrong gradient"
    assert report.arguments[0].wrong == ((1,),)
    assert report.arguments[0].kinks == ((0,),)


def test_strong_curvature_is_no_kink():
    assert gradcheck(lambda x: minigrad.tanh(x * 1e4), np.array([0.0, 1e-5, -3e-5, 1.0])).ok
    assert gradcheck(lambda x: 1 / (x * x + 1e-6), np.array([0.0, 1e-3, 1.0])).ok


# --- what cannot be checked --------------------------------------------------------------------------------------


def test_a_function_that_is_not_deterministic_is_reported():
    shared = np.random.default_rng(0)
    with pytest.raises(GradientError, match=r"not deterministic: calls .* fresh rng"):
        gradcheck(lambda x: minigrad.dropout(x, p=0.5, rng=shared), X)
    assert gradcheck(lambda x: minigrad.dropout(x, p=0.5, rng=np.random.default_rng(0)), X).ok


@pytest.mark.parametrize("seed", range(20))
def test_chance_is_never_taken_for_a_kink_or_a_wrong_gradient(seed):
    """Of two numbers dropout at 0.1 often leaves both, so the first two calls agree and a later one does not."""
    shared = np.random.default_rng(seed)
    report = report_of(lambda x: minigrad.dropout(x, p=0.1, rng=shared), [1.0, 2.0])
    assert report.verdict in ("not deterministic", "ok")  # ok: of all calls, none dropped anything


def test_nan_and_infinity_in_the_input_are_clear_errors():
    x = X.copy()
    x[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"nan at \[1, 2\] of argument 1"):
        gradcheck(minigrad.mul, X, x)
    with pytest.raises(ValueError, match=r"inf at \[0\] of argument 0"):
        gradcheck(minigrad.exp, [np.inf])


def test_nan_in_the_output_is_a_clear_error():
    with pytest.raises(ValueError, match=r"log of these inputs is nan at \[1\]"):
        gradcheck(minigrad.log, [1.0, -1.0])


@pytest.mark.filterwarnings("error")
def test_infinity_in_the_output_is_a_clear_error_without_warnings():
    with pytest.raises(ValueError, match=r"exp of these inputs is inf at \[0\]: .* where it is finite"):
        gradcheck(minigrad.exp, [800.0, 1.0])
    with pytest.raises(GradientError, match=r"the VJP returns inf, and f itself is −inf. Check at inputs where"):
        gradcheck(lambda x: -minigrad.exp(x), [800.0, 1.0])
    with pytest.raises(GradientError, match=r"the VJP returns nan where f has a finite slope"):
        gradcheck(as_op(lambda x: (x * x, lambda g: g * x / x)), [0.0, 1.0])


def test_nothing_to_differentiate_is_an_error_not_a_pass():
    for integers in (np.arange(3), [1, 2], 3, True):
        with pytest.raises(TypeError, match=r"nothing to differentiate: .* Write 1.0 for 1"):
            gradcheck(minigrad.sum, integers)


def test_a_function_that_returns_something_else_is_an_error():
    with pytest.raises(TypeError, match="returned tuple"):
        gradcheck(lambda x: (x, x), X)
    with pytest.raises(TypeError, match="returned ndarray"):
        gradcheck(lambda x: x.numpy(), X)
    with pytest.raises(TypeError, match="returned float32 for float64 inputs"):
        gradcheck(lambda x: Tensor(x.numpy().astype(np.float32)), X)


def test_a_gradient_hidden_by_rounding_does_not_pass():
    wrong = as_op(lambda x: (x * x, lambda g: 5 * g * x), name="wrong_by_a_factor")
    for hidden_by in (3e10, 1e12):
        report = gradcheck(lambda x, c=hidden_by: wrong(x) + c, np.array([1.0, 2.0]), raise_error=False)
        assert not report.ok and report.verdict in ("lost in rounding", "wrong gradient")
    with pytest.raises(GradientError, match="rounding in f hides the gradient"):
        gradcheck(lambda x: x * x + 1e12, np.array([1.0, 2.0]))


def test_a_gradient_that_is_truly_zero_still_passes():
    assert gradcheck(lambda x: minigrad.softmax(x).sum(), np.array([1.0, 2.0, 3.0])).ok


@pytest.mark.parametrize("scores", [[30.0, 2.0, 1.0], [40.0, 2.0, 1.0], [400.0, 2.0, 1.0]])
def test_where_rounding_leaves_nothing_to_test_no_gradient_passes(scores):
    """A saturated softmax: its true gradient is as lost as a wrong one."""
    returns_0 = as_op(lambda x: (OPS["softmax"].__wrapped__(x)[0], lambda g: 0 * g), name="softmax")
    for f in (returns_0, minigrad.softmax):
        assert report_of(f, scores).verdict == "too small to tell"
        with pytest.raises(GradientError, match="for a softmax or a sigmoid, scores nearer together"):
            gradcheck(f, scores)
    nearer = [score / 10 for score in scores[:1]] + scores[1:]
    if nearer[0] < 20:
        assert report_of(returns_0, nearer).verdict == "wrong gradient" and gradcheck(minigrad.softmax, nearer).ok


def test_a_gradient_that_is_0_since_f_does_not_move_is_no_such_case():
    for f, x in ((minigrad.relu, -np.ones(3)), (minigrad.hardmax, X), (lambda x: x * x, np.zeros(3))):
        assert "the gradient is 0" in str(gradcheck(f, x))
