"""How tests compute and compare: leaves, a value with its gradients, and closeness measured by the largest number."""

import numpy as np

from minigrad import Tensor


def leaf(data, dtype=np.float64, name=None):
    return Tensor(np.array(data, dtype), requires_grad=True, name=name)


def random_cotangent(y):
    """A gradient for y with no element near 0: of a scalar output, a small one would hide what is wrong behind it."""
    rng = np.random.default_rng(1)
    return (rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1, 1], y.shape)).astype(y.dtype)


def pulled(f, *inputs, cotangent=None):
    """f's value, and the gradient of <cotangent, value> with respect to each input; the cotangent is random if None."""
    leaves = [leaf(x, np.asarray(x).dtype) for x in inputs]
    y = f(*leaves)
    if cotangent is None:
        cotangent = random_cotangent(y)
    y.backward(np.broadcast_to(cotangent, y.shape))
    return y.data, *(x.grad for x in leaves)


def assert_close(actual, expected, tolerance, *, scale=None, what=""):
    """All differences are at most `tolerance` times the largest number of `expected`, or times `scale` where given.

    One element may be the small difference of large ones: its own size says nothing about its rounding error.
    """
    if scale is None:
        finite = np.abs(expected)[np.isfinite(expected)]
        scale = finite.max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale, err_msg=what)


def assert_all_close(actual, expected, tolerance):
    """A value and its gradients: differences are at most `tolerance` times the largest number among all of them.

    A gradient that is 0 in mathematics, as that of a score which has all the weight, consists of rounding errors alone.
    """
    largest = max(np.abs(e)[np.isfinite(e)].max(initial=0.0) for e in expected)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == e.dtype and a.shape == e.shape
        assert_close(a, e, tolerance, scale=largest)
