"""einsum and vectors in a matrix product: NumPy's values, and gradients by other ops."""

import numpy as np
import pytest

import minigrad
from agreement import assert_close, leaf, pulled

rng = np.random.default_rng(0)
A, B, ROW, COLUMN = rng.normal(size=(3, 4)), rng.normal(size=(4, 5)), rng.normal(size=4), rng.normal(size=3)


@pytest.mark.parametrize(
    "subscripts", ["ij,jk->ik", "ij,jk", " ij , jk -> ki ", "ij,jk->", "ij,jk->jki", "ij,jk->i", "Zb,ba->aZ"]
)
def test_einsum_is_numpys(subscripts):
    y = minigrad.einsum(subscripts, leaf(A), B)
    assert_close(y.data, np.einsum(subscripts, A, B), 1e-14)
    np.testing.assert_array_equal(np.einsum(subscripts, leaf(A), B).data, y.data)


def test_the_implicit_result_has_the_letters_that_occur_once_in_alphabetical_order():
    for subscripts in ("ba", "ba,bc", "za,ay", "ij,ij"):
        arrays = [np.ones([{"z": 2, "y": 3}.get(letter, 4) for letter in term]) for term in subscripts.split(",")]
        assert minigrad.einsum(subscripts, *arrays).shape == np.einsum(subscripts, *arrays).shape


def test_einsum_has_the_gradients_of_matmul_sum_and_broadcasting():
    for subscripts, same in [
        ("ij,jk->ik", lambda a, b: a @ b),
        ("ij,jk->ki", lambda a, b: (a @ b).mT),
        ("ij,jk->", lambda a, b: (a @ b).sum()),
        ("ij,kl->k", lambda a, b: a.sum() * b.sum(axis=1)),
        ("ij,jk->ijk", lambda a, b: a[:, :, None] * b),
    ]:
        ours = pulled(lambda a, b, s=subscripts: minigrad.einsum(s, a, b), A, B)
        for actual, expected in zip(ours, pulled(same, A, B), strict=True):
            assert_close(actual, expected, 1e-14)


def test_an_outer_product_is_a_broadcast():
    y, grad_a, grad_b = pulled(lambda a, b: a[:, None] * b, COLUMN, ROW, cotangent=A)
    np.testing.assert_array_equal(y, np.outer(COLUMN, ROW))
    same = pulled(lambda a, b: minigrad.einsum("i,j->ij", a, b), COLUMN, ROW, cotangent=A)
    for actual, expected in zip(same, (y, grad_a, grad_b), strict=True):
        assert_close(actual, expected, 1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_einsum_keeps_the_dtype_and_takes_empty_axes(dtype):
    a, b = leaf(np.ones((3, 0)), dtype), leaf(np.ones((0, 2)), dtype)
    y = minigrad.einsum("ij,jk->ik", a, b)
    y.sum().backward()
    assert y.dtype == dtype and (y.data == 0).all() and a.grad.shape == (3, 0) and b.grad.shape == (0, 2)


@pytest.mark.parametrize(
    ("subscripts", "shapes", "says"),
    [
        ("ii->i", [(3, 3)], r"a letter stands twice in 'ii': for a diagonal, take x\[i, i\]"),
        ("ij,jk->ik", [(3, 4)], r"'ij,jk->ik' is for 2 operands, not 1"),
        ("ij,jk->ik", [(3, 4), (3, 4)], r"j is 4 long in one operand and 3 in another"),
        ("ij->ik", [(3, 4)], r"each letter behind the arrow stands there once, and in an operand, unlike 'ik'"),
        ("ij->ii", [(3, 4)], r"each letter behind the arrow stands there once.*'ii'"),
        ("...j->j", [(3, 4)], r"needs one of the letters a to z or A to Z, not '\.\.\.j'"),
        ("ijk->k", [(3, 4)], r"'ijk' names 3 axes of an operand of shape \(3, 4\)"),
    ],
)
def test_subscripts_that_cannot_be_read_are_refused(subscripts, shapes, says):
    with pytest.raises(ValueError, match=rf"^einsum of shapes? .*: .*{says}"):
        minigrad.einsum(subscripts, *[leaf(np.ones(shape)) for shape in shapes])


def test_letters_come_first():
    with pytest.raises(
        TypeError, match=r'einsum.*takes the letters first, as in einsum\("ij,jk->ik", a, b\), not Tensor'
    ):
        minigrad.einsum(leaf(A), "ij->j")


# --- vectors in @ ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "as_matrices"),
    [
        (A, ROW, lambda a, b: (a @ b[:, None])[:, 0]),
        (COLUMN, A, lambda a, b: (a[None] @ b)[0]),
        (ROW, ROW + 1, lambda a, b: (a * b).sum()),
        (np.stack([A, A + 1]), ROW, lambda a, b: (a @ b[:, None])[..., 0]),
        (COLUMN, np.stack([A, A + 1]), lambda a, b: (a[None] @ b)[:, 0]),
    ],
)
def test_a_vector_is_a_row_on_the_left_and_a_column_on_the_right(a, b, as_matrices):
    ours, expected = pulled(lambda a, b: a @ b, a, b), pulled(as_matrices, a, b)
    np.testing.assert_allclose(ours[0], a @ b, rtol=1e-14)
    for actual, other in zip(ours, expected, strict=True):
        assert actual.shape == other.shape
        assert_close(actual, other, 1e-14)


def test_vectors_of_no_length_have_the_product_0():
    y, grad_a, grad_b = pulled(lambda a, b: a @ b, np.zeros(0), np.zeros(0))
    assert y == 0 and grad_a.shape == grad_b.shape == (0,)
