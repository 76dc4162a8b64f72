"""What holds for every op. These tests walk OPS: a new op is in them as soon as it has cases, and fails until it has.

The last part checks the checker: every VJP of every op, of its page and of its kernel, is damaged in five ways, and
each damage has to be noticed.
"""

import functools

import numpy as np
import pytest

import minigrad  # noqa: F401  every op enters OPS when it is imported
from agreement import random_cotangent
from minigrad.engine import Joint, Tensor, as_op
from minigrad.finite_differences import gradcheck
from minigrad.finite_differences.cases import CASES
from minigrad.tensors.operators import OPS

NAMES = [name for name, op in OPS.items() if op.__wrapped__.__module__.startswith("minigrad.")]  # not tests' own ops
every_op = pytest.mark.parametrize("name", NAMES)
every_case = pytest.mark.parametrize(
    ("name", "case"), [pytest.param(n, c, id=f"{n}-{i}") for n in NAMES for i, c in enumerate(CASES.get(n, []))]
)


# An op's page, and where it has one its kernel: both have VJPs.
CODES = [(n, "page") for n in NAMES] + [(n, "kernel") for n in NAMES if OPS[n].kernel is not None]
every_case_of_every_code = pytest.mark.parametrize(
    ("name", "code", "case"),
    [pytest.param(n, code, c, id=f"{n}-{code}-{i}") for n, code in CODES for i, c in enumerate(CASES.get(n, []))],
)


def function_of(name, code):
    return OPS[name].kernel if code == "kernel" else OPS[name].__wrapped__


def is_float(array):
    return array is not None and np.asarray(array).dtype.kind == "f"


def as_arrays(case, dtype):
    """What an op's function gets: arrays, floating ones in `dtype`."""
    return [None if a is None else np.array(a, dtype if is_float(a) else None) for a in case.arrays]


def rule(name, code, case, dtype=np.float64):
    """The rule of an op as the engine calls it: its arrays, its value, and one function for all VJPs."""
    f = function_of(name, code)
    seen = {}

    @functools.wraps(f)
    def spy(*arrays, **static):
        y, vjps = f(*arrays, **static)
        seen.update(arrays=arrays, y=np.asarray(y), vjps=vjps)
        return y, vjps

    op = as_op(spy, name=name, indices=OPS[name].indices)
    case.of(op)(*(a if a is None else Tensor(a) for a in as_arrays(case, dtype)))
    vjps = seen["vjps"]
    if isinstance(vjps, Joint):
        return seen["arrays"], seen["y"], vjps.vjp
    vjps = vjps if isinstance(vjps, tuple) else (vjps,)
    wanted = [is_float(a) for a in case.arrays]
    return seen["arrays"], seen["y"], lambda g: [v(g) for v, w in zip(vjps, wanted, strict=False) if w]


def gradients(op, case, dtype=np.float64):
    """The gradients of <random u, op(case)>, of the floating arguments; None for the others."""
    tensors = [a if a is None else Tensor(a, requires_grad=is_float(a)) for a in as_arrays(case, dtype)]
    y = case.of(op)(*tensors)
    y.backward(random_cotangent(y))
    return y, [None if t is None else t.grad for t in tensors]


def largest(grad):
    """The largest size in it; 0 where there is nothing but rounding, as in the gradient of the only key's score."""
    size = np.abs(grad).max(initial=0)
    return 0 if size < 1e-12 else size


# --- every op ----------------------------------------------------------------------------------------------------


@every_op
def test_every_op_has_cases(name):
    assert CASES.get(name), f"{name} needs cases in minigrad/finite_differences/cases.py"


def test_every_case_belongs_to_an_op():
    assert set(CASES) <= set(NAMES)


@every_case
def test_gradient_is_what_finite_differences_say(name, case):
    report = gradcheck(case.of(OPS[name]), *case.arrays, typical_size=case.typical_size, raise_error=False)
    assert report.verdict == ("wrong gradient" if case.differs else "ok"), report


@every_op
def test_only_estimators_are_declared_to_differ(name):
    assert OPS[name].estimator == any(case.differs for case in CASES.get(name, []))


@every_case_of_every_code
def test_vjps_write_into_nothing_they_were_given_or_keep(name, code, case):
    """Called a second time, a VJP must return the same bits; inputs, output and grad_y must still have theirs."""
    arrays, y, vjp = rule(name, code, case)
    grad_y = random_cotangent(y)
    seen = [a for a in (*arrays, y, grad_y) if a is not None]
    before = [np.array(a) for a in seen]

    first = vjp(grad_y)
    copies = [np.array(g) for g in first]
    second = vjp(grad_y)

    for a, b in zip(seen, before, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    for results in (first, second):
        for g, copy in zip(results, copies, strict=True):
            assert np.asarray(g).tobytes() == copy.tobytes()


@every_case_of_every_code
def test_float32_stays_float32(name, code, case):
    """Value and gradients, and each VJP's own result, before the engine converts it."""
    result = np.dtype(case.static.get("dtype", np.float32))  # astype is there to change it
    _, y, vjp = rule(name, code, case, np.float32)
    assert y.dtype == result
    assert all(grad.dtype == np.float32 for grad in vjp(random_cotangent(y)))

    y, grads = gradients(OPS[name], case, np.float32)
    assert y.dtype == result
    for array, grad in zip(case.arrays, grads, strict=True):
        if is_float(array):
            assert grad.dtype == np.float32


@every_case
def test_float32_gradient_is_the_float64_gradient_rounded(name, case):
    """gradcheck works in float64; training in float32 runs the same code."""
    _, narrow = gradients(OPS[name], case, np.float32)
    _, wide = gradients(OPS[name], case, np.float64)
    for a, b in zip(narrow, wide, strict=True):
        if b is not None and b.size:
            assert np.abs(a - b).max() <= 1e-3 * largest(b) + 1e-6


# --- every VJP, damaged ------------------------------------------------------------------------------------------


def negated(grad):
    return -grad


def zeroed(grad):
    return np.zeros_like(grad)


def a_ten_thousandth_too_large(grad):
    return grad * 1.0001


def permuted(grad):
    return np.roll(grad, 1).reshape(grad.shape)


def one_element_off(grad):
    """By 1e-4 of the largest, or by 1e-4 where all are 0."""
    off = np.array(grad)
    off.flat[off.size // 2 : off.size // 2 + 1] += 1e-4 * (largest(grad) or 1)
    return off


DAMAGES = [negated, zeroed, a_ten_thousandth_too_large, permuted, one_element_off]
SMALL = [a_ten_thousandth_too_large, one_element_off]
MULTIPLICATIVE = [negated, zeroed, a_ten_thousandth_too_large, permuted]  # they leave 0 as it is
VJPS = [
    (n, code, i)
    for n, code in CODES
    for i in sorted({i for c in CASES.get(n, []) for i, a in enumerate(c.arrays) if is_float(a)})
]


def damaged(name, code, position, damage):
    """The op, but with `damage` done to the gradient of one argument. It does not enter OPS."""
    f = function_of(name, code)

    @functools.wraps(f)
    def g(*arrays, **static):
        y, vjps = f(*arrays, **static)
        if isinstance(vjps, Joint):

            def vjp(grad_y):
                grads = list(vjps.vjp(grad_y))
                grads[position] = damage(grads[position])
                return grads

            return y, Joint(vjp)
        vjps = list(vjps) if isinstance(vjps, tuple) else [vjps]
        whole = vjps[position]
        vjps[position] = lambda grad_y: damage(whole(grad_y))
        return y, tuple(vjps)

    return as_op(g, name=name, indices=OPS[name].indices)


@pytest.mark.parametrize(
    ("name", "code", "position", "damage"),
    [
        pytest.param(*vjp, damage, id="-".join([*map(str, vjp), damage.__name__]))
        for vjp in VJPS
        for damage in (DAMAGES if vjp[1] == "page" else SMALL)
    ],
)
def test_damage_to_a_vjp_is_noticed(name, code, position, damage):
    """A kernel is held to its page by tests/fast, so a third of the cases and the two smallest damages are enough. Of a
    page with many cases, every second is damaged.
    """
    cases = [c for c in CASES[name] if not c.differs and position < len(c.arrays) and is_float(c.arrays[position])]
    cases = cases[:: 3 if code != "page" else 2 if len(cases) > 12 else 1]
    if not cases:
        pytest.skip(f"{name} is an estimator: its gradient differs already, as declared")
    op = damaged(name, code, position, damage)

    harmed = 0
    for case in cases:
        true = gradients(OPS[name], case)[1][position]
        false = gradients(op, case)[1][position]
        if largest(true - false) <= 1e-5 * largest(true):
            continue  # no damage: a gradient of 0 negated, or one of all the same numbers permuted
        harmed += 1
        report = gradcheck(case.of(op), *case.arrays, typical_size=case.typical_size, raise_error=False)
        assert report.verdict == "wrong gradient", f"not noticed in {name}{case}: {report}"
        assert [a.position for a in report.arguments if a.wrong] == [position]

    identically_zero = all(largest(gradients(OPS[name], case)[1][position]) == 0 for case in cases)
    if identically_zero and damage in MULTIPLICATIVE:
        assert harmed == 0
        pytest.skip(f"the gradient of {name} is identically 0: {damage.__name__} leaves it right")
    assert harmed > 0
