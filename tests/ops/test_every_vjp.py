"""What every op keeps to, on the cases that gradcheck uses; more of that in test_all_ops.py."""

import numpy as np
import pytest

from agreement import assert_close, leaf
from minigrad import OPS, Tensor
from minigrad.engine import Joint, Leaf, newest_first, pull_back
from minigrad.finite_differences.cases import CASES

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("kernel_and_page")]
every_op = pytest.mark.parametrize("op_name", sorted(OPS))


def cases_of(op_name):
    assert CASES.get(op_name), f"{op_name} needs cases in minigrad/finite_differences/cases.py"
    return CASES[op_name]


def calls(op_name, dtype=np.float64):
    """Each case of an op as (arguments, leaves among them, the Tensor it gives)."""
    for case in cases_of(op_name):
        arrays = [None if a is None else np.array(a) for a in case.arrays]
        arguments = [
            leaf(a, dtype) if a is not None and a.dtype.kind == "f" else a
            for a in arrays  # integers, masks and None stay as they are
        ]
        result = OPS[op_name](*arguments, **case.keywords())
        yield case, arguments, [a for a in arguments if isinstance(a, Tensor)], result


@every_op
def test_vjps_compute_in_the_dtype_they_are_given(op_name):
    """The engine would cast a float64 contribution back, but the time and memory would have been spent."""
    for case, _, _, y in calls(op_name, np.float32):
        vjps, grad = y.node.vjps, np.ones(y.shape, np.float32)
        found = vjps.vjp(grad) if isinstance(vjps, Joint) else [vjp and vjp(grad) for vjp in vjps]
        for contribution in found:
            if contribution is not None:
                assert contribution.dtype == np.float32, case


@every_op
def test_vjps_are_linear(op_name):
    """J^T(2u - 3v) = 2 J^T u - 3 J^T v, whatever J is."""
    for case, _, _, y in calls(op_name):
        rng = np.random.default_rng(0)
        u, v = rng.normal(size=y.shape), rng.normal(size=y.shape)
        for a, b, c in zip(pull_back(y.node, 2 * u - 3 * v), pull_back(y.node, u), pull_back(y.node, v), strict=True):
            if a is not None:
                scale = np.abs([a, 2 * b, 3 * c]).max(initial=1.0)  # u and v are of size 1
                assert_close(a, 2 * b - 3 * c, 1e-12, scale=scale, what=str(case))


@every_op
def test_a_gradient_laid_out_differently_in_memory_gives_the_same(op_name):
    """Gradients arrive broadcast (strides of 0), transposed, or backwards, from the ops behind."""
    for case, _, _, y in calls(op_name):
        same = np.broadcast_to(np.array(1.5), y.shape)
        for contiguous, other in [
            (np.full(y.shape, 1.5), same),
            (np.arange(float(y.size)).reshape(y.shape), np.arange(float(y.size)).reshape(y.shape).T.copy().T),
        ]:
            for a, b in zip(pull_back(y.node, contiguous), pull_back(y.node, other), strict=True):
                if a is not None:
                    scale = max(np.abs(g).max(initial=0.0) for g in (a, contiguous))
                    assert_close(a, b, 1e-13, scale=scale, what=str(case))


@every_op
def test_inputs_laid_out_differently_in_memory_give_the_same(op_name):
    for case in cases_of(op_name):
        results = []
        for layout in (np.ascontiguousarray, np.asfortranarray, lambda a: np.repeat(a, 2, -1)[..., ::2]):
            arrays = [a if a is None or np.ndim(a) == 0 else layout(a) for a in case.arrays]
            results.append(OPS[op_name](*arrays, **case.keywords()).data)
        for other in results[1:]:
            assert_close(other, results[0], 1e-13, what=str(case))


@every_op
def test_every_op_remembers_no_arrays_in_its_node(op_name):
    for case, _, _, y in calls(op_name):
        held = [*y.node.inputs, *_flat(y.node.static)]
        assert not any(isinstance(h, (np.ndarray, Tensor)) for h in held), case
        assert all(isinstance(n, Leaf) for n in newest_first(y.node)[1:]), case  # an op is one Node


def _flat(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _flat(item)]
    return [value]


@every_op
def test_every_ops_docstring_derives_its_gradient(op_name):
    doc = OPS[op_name].__doc__
    assert doc and ("Backward." in doc), f"{op_name} has no derivation"
