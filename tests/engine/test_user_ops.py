"""`@op` on functions of a user: what it accepts, what it refuses, and how its errors name the op."""

import numpy as np
import pytest

from agreement import leaf
from minigrad import Tensor, no_grad, op
from minigrad.engine import Joint
from minigrad.ops.elementwise import exp
from minigrad.tensors.modes import in_scope
from minigrad.tensors.operators import OPS


@pytest.fixture
def user_ops():
    """A place to try `@op` in: what the test registers is gone afterwards."""
    before = dict(OPS)
    yield OPS
    OPS.clear()
    OPS.update(before)


def test_a_user_can_make_an_op(user_ops):
    @op
    def square(x):
        """yᵢ = xᵢ²"""

        def vjp_x(grad_y):
            return 2 * grad_y * x

        return x * x, vjp_x

    x = leaf([1.0, -3.0], np.float32)
    y = square(x)
    assert y.dtype == np.float32 and y.node.op == "square" and user_ops["square"] is square
    assert square.__name__ == "square" and square.__doc__ == "yᵢ = xᵢ²"
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [2, -6])
    assert square([1, 2]).dtype == np.float32 and square(x=x).node is not None


def test_a_user_op_may_have_several_inputs_static_arguments_and_a_joint_vjp(user_ops):
    calls = []

    @op
    def scaled_product(a, b, *, scale=1.0):
        def vjp(grad_y):
            calls.append("joint")
            shared = grad_y * scale
            return shared * b, shared * a

        return a * b * scale, Joint(vjp)

    a, b = leaf([1.0, 2.0]), leaf([[3.0], [4.0]])
    y = scaled_product(a, b, scale=10.0)
    assert y.node.static == {"scale": 10.0}
    y.sum().backward()
    assert calls == ["joint"]
    np.testing.assert_array_equal(a.grad, [70, 70])
    np.testing.assert_array_equal(b.grad, [[30], [30]])
    a.grad = None
    scaled_product(a, np.array([5.0, 6.0])).sum().backward()  # a joint VJP beside a constant
    np.testing.assert_array_equal(a.grad, [5, 6])


def test_vjps_of_inputs_that_need_none_are_never_called(user_ops):
    @op
    def product(a, b):
        def vjp_a(grad_y):
            return grad_y * b

        def vjp_b(grad_y):
            raise AssertionError("b is a constant")

        return a * b, (vjp_a, vjp_b)

    x = leaf([1.0])
    product(x, np.array([2.0])).sum().backward()
    assert x.grad == 2


def test_index_arguments_stay_integers_and_must_be(user_ops):
    @op(indices=("rows",))
    def pick(table, rows):
        def vjp_table(grad_y):
            grad = np.zeros(table.shape, grad_y.dtype)
            np.add.at(grad, rows, grad_y)
            return grad

        assert rows.dtype.kind == "i"
        return table[rows], (vjp_table, None)

    table = leaf(np.ones((3, 2)), np.float32)
    pick(table, [2, 2, 0]).sum().backward()
    np.testing.assert_array_equal(table.grad, [[1, 1], [0, 0], [2, 2]])
    pick(table, Tensor(np.array([1])))
    for rows in [np.array([0.0]), Tensor([1.0]), np.array([True])]:
        with pytest.raises(TypeError, match=r"pick of shapes \(3, 2\) and \(1,\): indices must be integers, not"):
            pick(table, rows)


def test_optional_arrays_may_be_left_out(user_ops):
    @op
    def affine(x, weight=None, bias=None):
        y = x if weight is None else x * weight
        y = y if bias is None else y + bias

        def vjp_x(grad_y):
            return grad_y if weight is None else grad_y * weight

        def vjp_weight(grad_y):
            return grad_y * x

        def vjp_bias(grad_y):
            return grad_y

        return y + 0, (vjp_x, vjp_weight, vjp_bias)

    x, w, b = leaf([2.0]), leaf([3.0]), leaf([5.0])
    for y, expected in [
        (affine(x), (1, None, None)),
        (affine(x, w), (3, 2, None)),
        (affine(x, bias=b), (1, None, 1)),
        (affine(x, None, b), (1, None, 1)),
        (affine(x, bias=b, weight=w), (3, 2, 1)),
        (affine(weight=w, x=x), (3, 2, None)),
    ]:
        y.backward()
        assert (x.grad, w.grad, b.grad) == expected
        x.grad = w.grad = b.grad = None


def test_a_default_that_is_not_none_is_used_however_the_rest_is_passed(user_ops):
    @op
    def shift(x, by=1.0):
        return x + by, (lambda grad_y: grad_y, lambda grad_y: grad_y)

    x = leaf([2.0])
    for y in [shift(x), shift(x=x), shift(x, 1.0), shift(x, by=1.0)]:
        np.testing.assert_array_equal(y.data, [3])
        y.backward()
        np.testing.assert_array_equal(x.grad, [1])
        x.grad = None


def test_a_name_that_is_taken_is_refused(user_ops):
    before = user_ops["exp"]
    with pytest.raises(ValueError, match=r"there is an op 'exp' already, in minigrad\.ops\.elementwise"):

        @op
        def exp(x):
            return x, lambda grad_y: grad_y

    assert user_ops["exp"] is before


@pytest.mark.parametrize(
    ("bad", "shape"),
    [
        (lambda grad_y: grad_y.T, (3, 2)),
        (lambda grad_y: grad_y.sum(), ()),
        (lambda grad_y: grad_y[0], (3,)),
        (lambda grad_y: grad_y[:, :1], (2, 1)),
    ],
)
def test_a_vjp_of_the_wrong_shape_is_an_error_that_names_the_op(user_ops, bad, shape):
    @op
    def careless(x):
        return x * 1, bad

    y = in_scope("blocks.0", careless, leaf(np.ones((2, 3))))
    with pytest.raises(ValueError) as caught:
        y.sum().backward()
    assert str(caught.value) == (
        f"in the backward pass of careless in blocks.0: the VJP for input 0 returned a gradient of shape {shape} "
        f"for an input of shape (2, 3)"
    )


def test_a_vjp_of_the_wrong_shape_among_several_is_named_by_its_input(user_ops):
    @op
    def product(a, b):
        return a * b, (lambda grad_y: grad_y * b, lambda grad_y: grad_y[0])

    y = product(leaf([1.0, 2.0]), leaf([3.0, 4.0], name="weight"))
    with pytest.raises(ValueError, match=r"product: the VJP for input 1, weight, returned a gradient of shape \(\)"):
        y.sum().backward()


def test_a_vjp_without_its_return_is_an_error_that_names_op_and_input(user_ops):
    """Trained on, its parameter would stay where it is, and nothing would say so."""

    @op
    def forgetful(x, weight):
        def vjp_x(grad_y):
            return grad_y * weight

        def vjp_weight(grad_y):
            _ = grad_y * x

        return x * weight, (vjp_x, vjp_weight)

    x, weight = leaf([1.0]), leaf([2.0])
    forgetful(x, np.array([2.0])).backward()  # where nobody asks for it, nothing is missing
    for y in (forgetful(x, weight), forgetful(np.array([1.0]), weight)):
        with pytest.raises(TypeError, match=r"the VJP for input 1 of forgetful returned None: is its `return` missing"):
            y.backward()

    @op
    def alone(x):
        return x * 2, lambda grad_y: None

    with pytest.raises(TypeError, match="the VJP for input 0 of alone returned None"):
        alone(x).backward()

    @op
    def together(a, b):
        return a * b, Joint(lambda grad_y: None)

    with pytest.raises(TypeError, match="the joint VJP of together returned None for 2 arrays"):
        together(x, weight).backward()


def test_none_in_the_place_of_a_vjp_or_of_a_joint_gradient_declares_that_there_is_none(user_ops):
    @op
    def gated(x, gate):
        return x * (gate > 0), (lambda grad_y: grad_y * (gate > 0), None)

    @op
    def gated_jointly(x, gate):
        return x * (gate > 0), Joint(lambda grad_y: (grad_y * (gate > 0), None))

    for f in (gated, gated_jointly):
        x, gate = leaf([3.0, 2.0]), leaf([1.0, -1.0])
        f(x, gate).sum().backward()
        np.testing.assert_array_equal(x.grad, [1, 0])
        assert gate.grad is None


@pytest.mark.parametrize("wrong", [1, (None, None)])
def test_a_vjp_that_is_no_array_is_an_error_that_names_the_op(user_ops, wrong):
    @op
    def careless(x):
        return x * 1, lambda grad_y: wrong

    with pytest.raises(Exception) as caught:
        careless(leaf(np.ones(2))).sum().backward()
    assert any("careless" in note for note in getattr(caught.value, "__notes__", [str(caught.value)]))


def test_a_wrong_number_of_vjps_is_an_error_that_names_the_op(user_ops):
    @op
    def lopsided(a, b):
        return a * b, (lambda grad_y: grad_y * b,)

    with pytest.raises((ValueError, TypeError, AssertionError), match=r"lopsided.*VJP"):
        lopsided(leaf([1.0, 2.0]), leaf([3.0, 4.0]))


def test_a_joint_vjp_with_the_wrong_number_of_gradients_names_the_op(user_ops):
    @op
    def lopsided(a, b):
        return a * b, Joint(lambda grad_y: (grad_y * b,))

    y = lopsided(leaf([1.0]), leaf([3.0]))
    with pytest.raises(TypeError, match="the joint VJP of lopsided returned 1 gradients for 2 arrays"):
        y.backward()


def test_an_op_that_forgets_its_vjp_is_an_error_that_names_it(user_ops):
    @op
    def forgetful(x):
        return x * 2

    for shape in [(2,), (3,), (2, 2)]:  # an array of length 2 unpacks like (y, vjp)
        with pytest.raises((TypeError, ValueError), match="forgetful"):
            forgetful(leaf(np.ones(shape)))


def test_an_op_that_returns_its_input_keeps_the_versions_apart(user_ops):
    @op
    def identity(x):
        return x, lambda grad_y: grad_y

    p, q = leaf([1.0, 2.0]), leaf([1.0, 1.0])
    with no_grad():
        same = identity(p)
    y = (q * same).sum()
    p.data = np.array([50.0, 60.0])
    try:
        y.backward()
    except RuntimeError as error:
        assert "changed after the forward pass" in str(error)
    else:
        np.testing.assert_array_equal(q.grad, [1, 2])


def test_errors_in_a_vjp_name_the_op_and_its_scope(user_ops):
    @op
    def brittle(x):
        def vjp_x(grad_y):
            raise FloatingPointError("no luck")

        return x * 1, vjp_x

    y = in_scope("blocks.3", brittle, leaf([1.0]))
    with pytest.raises(FloatingPointError, match="no luck") as caught:
        y.backward()
    assert caught.value.__notes__ == ["in the backward pass of brittle in blocks.3"]


def test_an_estimator_is_declared(user_ops):
    @op(estimator=True)
    def round_straight_through(x):
        return np.round(x), lambda grad_y: grad_y

    assert round_straight_through.estimator and not exp.estimator
    x = leaf([0.4, 0.6])
    round_straight_through(x).sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 1])
