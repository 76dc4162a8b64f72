"""Ops that act on each element alone. Start reading at `exp`: it is the whole pattern in four lines.

Where shapes differ NumPy broadcasts; the engine sums the gradient back (`engine.unbroadcast`), so no VJP mentions it.
"""

import math

import numpy as np

from minigrad.engine import op
from minigrad.ops.special import erf_of_each


@op
def exp(x):
    """yᵢ = exp(xᵢ)

    Backward.  ∂yᵢ/∂xᵢ = exp(xᵢ) = yᵢ, so
        grad_x = grad_y · y
    """
    y = np.exp(x)

    def vjp_x(grad_y):
        return grad_y * y

    return y, vjp_x


@op
def add(a, b):
    """y = a + b

    Backward.  ∂y/∂a = ∂y/∂b = 1, so
        grad_a = grad_b = grad_y
    """

    def vjp_a(grad_y):
        return grad_y

    def vjp_b(grad_y):
        return grad_y

    return a + b, (vjp_a, vjp_b)


@op
def sub(a, b):
    """y = a − b

    Backward.  ∂y/∂a = 1, ∂y/∂b = −1, so
        grad_a = grad_y
        grad_b = −grad_y
    """

    def vjp_a(grad_y):
        return grad_y

    def vjp_b(grad_y):
        return -grad_y

    return a - b, (vjp_a, vjp_b)


@op
def mul(a, b):
    """y = a · b

    Backward.  ∂y/∂a = b, ∂y/∂b = a, so
        grad_a = grad_y · b
        grad_b = grad_y · a
    """

    def vjp_a(grad_y):
        return grad_y * b

    def vjp_b(grad_y):
        return grad_y * a

    return a * b, (vjp_a, vjp_b)


@op
def div(a, b):
    """y = a / b

    Backward.  ∂y/∂a = 1/b;  ∂y/∂b = −a/b² = −y/b, so
        grad_a = grad_y / b
        grad_b = −grad_y · y / b

    Numerics.  As in NumPy, x/0 is ±inf and 0/0 is nan, without an exception.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        y = a / b

    def vjp_a(grad_y):
        with np.errstate(divide="ignore", invalid="ignore"):
            return grad_y / b

    def vjp_b(grad_y):
        with np.errstate(divide="ignore", invalid="ignore"):
            return -grad_y * y / b

    return y, (vjp_a, vjp_b)


@op
def neg(x):
    """y = −x

    Backward.  ∂y/∂x = −1, so
        grad_x = −grad_y
    """

    def vjp_x(grad_y):
        return -grad_y

    return -x, vjp_x


@op
def pow(a, b):
    """y = aᵇ

    Backward.  ∂y/∂a = b·aᵇ⁻¹;  ∂y/∂b = aᵇ·ln a = y·ln a, so
        grad_a = grad_y · b · aᵇ⁻¹
        grad_b = grad_y · y · ln a

    Numerics.  b = 0 gives a gradient of 0 to a, also at a = 0, where aᵇ⁻¹ is infinite. At a = 0 we give none to b: for
    b > 0 this is the limit from a > 0; for b ≤ 0, where the limit is −inf, it is a choice. A negative base with a
    fractional exponent is nan, as in NumPy. A negative base has no logarithm, so its gradient to b is nan.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.power(a, b)

    def vjp_a(grad_y):
        with np.errstate(divide="ignore", invalid="ignore"):
            return grad_y * np.where(b == 0, 0, b * np.power(a, b - 1))

    def vjp_b(grad_y):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(a == 0, 0, grad_y * y * np.log(a))

    return y, (vjp_a, vjp_b)


@op
def log(x):
    """yᵢ = ln xᵢ

    Backward.  ∂yᵢ/∂xᵢ = 1/xᵢ, so
        grad_x = grad_y / x

    Numerics.  ln 0 = −inf and the logarithm of a negative number is nan, as in NumPy, without an exception.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.log(x)

    def vjp_x(grad_y):
        with np.errstate(divide="ignore", invalid="ignore"):
            return grad_y / x

    return y, vjp_x


@op
def sqrt(x):
    """yᵢ = √xᵢ

    Backward.  ∂yᵢ/∂xᵢ = 1/(2√xᵢ), so
        grad_x = grad_y / (2y)

    Numerics.  At 0 the slope is infinite, and so is the gradient (nan where grad_y is 0). This op does not hide it:
    where x can be 0, add a small number first, √(x + ε).
    """
    with np.errstate(invalid="ignore"):
        y = np.sqrt(x)

    def vjp_x(grad_y):
        with np.errstate(divide="ignore", invalid="ignore"):
            return grad_y / (2 * y)

    return y, vjp_x


@op
def tanh(x):
    """yᵢ = tanh xᵢ

    Backward.  ∂yᵢ/∂xᵢ = 1 − tanh²xᵢ = 1 − yᵢ², so
        grad_x = grad_y · (1 − y²)
    """
    y = np.tanh(x)

    def vjp_x(grad_y):
        return grad_y * (1 - y * y)

    return y, vjp_x


@op
def sigmoid(x):
    """yᵢ = 1 / (1 + exp(−xᵢ))

    Backward.  slope = ∂yᵢ/∂xᵢ = exp(−xᵢ)/(1 + exp(−xᵢ))² = yᵢ(1 − yᵢ), so
        grad_x = grad_y · slope

    Numerics.  With e = exp(−|x|) ≤ 1 nothing overflows: y is 1/(1 + e) for x ≥ 0 and e/(1 + e) for x < 0, and the
    slope is e/(1 + e)² on both sides. As y(1 − y) it would be 0 for x > 17 in float32, where y rounds to 1.
    """
    e = np.exp(-np.abs(x))
    y = np.where(x >= 0, 1, e) / (1 + e)
    slope = e / (1 + e) ** 2

    def vjp_x(grad_y):
        return grad_y * slope

    return y, vjp_x


@op
def relu(x):
    """yᵢ = max(xᵢ, 0)

    Backward.  The slope is 1 above 0 and 0 below; at 0 itself we take 0.
        grad_x = grad_y where x > 0, else 0
    """
    on = x > 0

    def vjp_x(grad_y):
        return np.where(on, grad_y, 0)

    return np.maximum(x, 0), vjp_x


@op
def gelu(x, *, approximate="tanh"):
    """yᵢ = xᵢ h(xᵢ), where the gate h rises from 0 to 1      (Hendrycks & Gimpel 2016)

        approximate="none":  h = Φ(x) = (1 + erf(x/√2))/2, the probability that a standard normal number is below x
        approximate="tanh":  h = (1 + tanh u)/2,  u = √(2/π)·(x + 0.044715·x³), which is close to it and cheaper

    Backward.  By the product rule,
        slope = ∂y/∂x = h + x · ∂h/∂x
        grad_x = grad_y · slope
    Φ is the integral of the normal density, so ∂h/∂x = φ(x) = exp(−x²/2)/√(2π). (Or from `erf`, whose slope at x/√2 is
    2/√π · exp(−x²/2); the inner slope 1/√2 and the factor ½ make 1/√(2π) of 2/√π.) And (1 + tanh u)/2 is sigmoid(2u),
    whose slope in u is 2h(1 − h) (see `sigmoid`), so there
        ∂h/∂x = 2h(1 − h) · ∂u/∂x,   ∂u/∂x = √(2/π)·(1 + 3·0.044715·x²)

    Numerics.  Where |x| > 40, h is 0 or 1 and ∂h/∂x is 0 to the last bit, so both may take x as ±40 there. Otherwise x³
    would overflow, and the slope would be 0 · inf. For the same reason y takes any x below −40 as −40. The two forms
    differ by less than 0.0005.
    """
    near = np.clip(x, -40, 40)
    if approximate == "none":
        h = (1 + erf_of_each(near / math.sqrt(2))) / 2
        slope_h = np.exp(-near * near / 2) / math.sqrt(2 * math.pi)
    else:
        check_approximate(approximate)
        c = math.sqrt(2 / math.pi)
        h = (1 + np.tanh(c * (near + 0.044715 * near**3))) / 2
        slope_h = 2 * h * (1 - h) * c * (1 + 3 * 0.044715 * near**2)
    slope = h + near * slope_h

    def vjp_x(grad_y):
        return grad_y * slope

    return np.maximum(x, -40) * h, vjp_x


def check_approximate(approximate):
    if approximate not in ("tanh", "none"):
        raise ValueError(f"approximate is 'tanh' or 'none', not {approximate!r}")


@op
def abs(x):
    """yᵢ = |xᵢ|

    Backward.  The slope is the sign of x; at 0 we take 0.
        grad_x = grad_y · sign(x)
    """

    def vjp_x(grad_y):
        return grad_y * np.sign(x)

    return np.abs(x), vjp_x


@op
def maximum(a, b):
    """yᵢ = max(aᵢ, bᵢ), between two arrays

    Backward.  The larger one gets grad_y. On a tie each gets half, so that nothing is lost and a and b are treated
    alike: share_a is 1, ½ or 0 for a > b, a = b, a < b.
        grad_a = grad_y · share_a
        grad_b = grad_y · (1 − share_a)

    Numerics.  If one of the two is nan, so is y, and that one gets grad_y.
    """
    y = np.maximum(a, b)
    share_a = _share(a, b, y)

    def vjp_a(grad_y):
        return grad_y * share_a

    def vjp_b(grad_y):
        return grad_y * (1 - share_a)

    return y, (vjp_a, vjp_b)


@op
def minimum(a, b):
    """yᵢ = min(aᵢ, bᵢ), between two arrays

    Backward.  As `maximum`, with the roles exchanged: share_a is 1, ½ or 0 for a < b, a = b, a > b.
        grad_a = grad_y · share_a
        grad_b = grad_y · (1 − share_a)
    """
    y = np.minimum(a, b)
    share_a = _share(a, b, y)

    def vjp_a(grad_y):
        return grad_y * share_a

    def vjp_b(grad_y):
        return grad_y * (1 - share_a)

    return y, (vjp_a, vjp_b)


def _share(a, b, y):
    """1 where y came from a, 0 where it came from b, ½ where it came from both. A nan in y came from a nan."""
    from_a, from_b = ((x == y) | np.isnan(x) for x in (a, b))
    return from_a / np.add(from_a, from_b, dtype=y.dtype)


@op(keeps_dtype=True)
def where(condition, a, b):
    """yᵢ = aᵢ where the condition holds, else bᵢ

    Backward.  Each element came from one of the two; that one gets its gradient, the other exactly 0.
        grad_a = grad_y where the condition holds, else 0
        grad_b = 0 where the condition holds, else grad_y

    Numerics.  A gradient of inf or nan stays on its own side, too. But the side that was *not* chosen may still make a
    nan in its own backward pass: in where(x > 0, log(x), 0), the gradient that log gets at x = 0 is 0, and log makes
    0/0 of it. Choose the input first: log(where(x > 0, x, 1)).
    """
    condition = condition.astype(bool)

    def vjp_a(grad_y):
        return np.where(condition, grad_y, 0)

    def vjp_b(grad_y):
        return np.where(condition, 0, grad_y)

    return np.where(condition, a, b), (None, vjp_a, vjp_b)


@op
def clip(x, *, low=None, high=None):
    """yᵢ = min(max(xᵢ, low), high); None leaves that side open

    Backward.  The slope is 1 between the bounds, bounds included, and 0 outside.
        grad_x = grad_y where low ≤ x ≤ high, else 0
    """
    if low is None and high is None:
        raise ValueError("needs low, high or both")
    low = -np.inf if low is None else low
    high = np.inf if high is None else high
    inside = (low <= x) & (x <= high)

    def vjp_x(grad_y):
        return np.where(inside, grad_y, 0)

    return np.clip(x, low, high).astype(x.dtype, copy=False), vjp_x


@op
def dropout(x, *, p, rng):
    """yᵢ = xᵢ/(1 − p) with probability 1 − p, else 0      (Srivastava et al. 2014)

    Dividing by 1 − p keeps the mean of y at x, so that nothing has to change when dropout is left out.

    Backward.  y = x · scale, where scale is 1/(1 − p) for the elements that were kept and 0 for the others. So
        grad_x = grad_y · scale

    Arguments.  p: the probability of dropping, 0 ≤ p < 1.  rng: a numpy Generator; it draws one float32 per element.
    """
    if not 0 <= p < 1:
        raise ValueError(f"drops with probability 0 <= p < 1, not {p}")
    keep = rng.random(x.shape, dtype=np.float32) >= p
    scale = keep * np.asarray(1 / (1 - p), x.dtype)

    def vjp_x(grad_y):
        return grad_y * scale

    return x * scale, vjp_x
