"""Matrix products: where nearly all the arithmetic of a transformer is. einsum is the general form of them."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minigrad.engine import Tensor, op
from minigrad.tensors.operators import composed


@op
def matmul(a, b):
    """y = a @ b, a matrix product for each entry of the (broadcast) batch axes

    Shapes.  a (..., n, k), b (..., k, m), y (..., n, m). A vector a (k) counts as a row, a vector b (k) as a column,
    and y comes without the axis of length 1 that this adds, as in NumPy: matrix @ vector is (..., n), two vectors
    give their dot product, a number.

    Backward.  yᵢⱼ = Σₗ aᵢₗ bₗⱼ.  The entry aᵢₗ is used in row i of y, once for every j, each time multiplied by bₗⱼ.
    The entry bₗⱼ is used in column j of y, once for every i, each time multiplied by aᵢₗ. So
        grad_aᵢₗ = Σⱼ grad_yᵢⱼ bₗⱼ
        grad_bₗⱼ = Σᵢ aᵢₗ grad_yᵢⱼ
    In each, the index that is summed stands next to itself once one factor is transposed, (bᵀ)ⱼₗ and (aᵀ)ₗᵢ:
        grad_a = grad_y @ bᵀ
        grad_b = aᵀ @ grad_y
    The shapes check this, (n, m)·(m, k) and (k, n)·(n, m), but don't prove it: square matrices fit in any order.
    For a vector, grad_y first gets back the axis that y came without, and the gradient then loses it.
    """
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("is for vectors and matrices; to multiply by a number, write a * b")
    a_is_row, b_is_column = a.ndim == 1, b.ndim == 1
    A = a[None, :] if a_is_row else a
    B = b[:, None] if b_is_column else b
    if A.shape[-1] != B.shape[-2]:
        raise ValueError(
            f"the last axis of a ({A.shape[-1]}) must be as long as the {'' if b_is_column else 'second-'}last "
            f"of b ({B.shape[-2]}){'' if a_is_row or b_is_column else '; is a .mT missing?'}"
        )

    def as_matrix(grad_y):
        grad_y = grad_y[..., None] if b_is_column else grad_y
        return grad_y[..., None, :] if a_is_row else grad_y

    def vjp_a(grad_y):
        grad_a = as_matrix(grad_y) @ B.mT
        return grad_a.squeeze(-2) if a_is_row else grad_a

    def vjp_b(grad_y):
        grad_b = A.mT @ as_matrix(grad_y)
        return grad_b.squeeze(-1) if b_is_column else grad_b

    return a @ b, (vjp_a, vjp_b)


@composed
def einsum(subscripts: str, *operands: ArrayLike | Tensor) -> Tensor:
    """Einstein's notation for products and sums: `einsum("ij,jk->ik", a, b)` is the matrix product of a and b.

    Each axis has a letter. Entries with the same letters meet, are multiplied, and are summed over the letters that
    don't stand behind the arrow. Without an arrow the result has, in alphabetical order, the letters that occur once.
    The outer product is "i,j->ij", and as well a[:, None] * b: broadcasting pairs every entry with every other.
    """
    if not isinstance(subscripts, str):
        raise TypeError(f'takes the letters first, as in einsum("ij,jk->ik", a, b), not {type(subscripts).__name__}')
    return _einsum(*operands, subscripts=subscripts)


@op(name="einsum")
def _einsum(*operands, subscripts):
    """Products of entries, summed over some of their letters. For two operands, with letters A, B and those of y, Y:

        y[Y] = Σ a[A] b[B]        over all letters that are not in Y

    Shapes.  Any number of operands. A letter has the same length wherever it stands, stands once in an operand and at
    most once in Y.

    Backward.  y is a sum of products, linear in a. The entry a[A] is in all terms that agree with its letters, each
    time multiplied by b[B], and each of these terms arrives at y[Y]. So
        grad_a[A] = Σ grad_y[Y] b[B]        over all letters that are not in A
    an einsum again, "Y,B->A", in which grad_y stands in a's place, and a's letters in those of the result: from
    "ij,jk->ik" come "ik,jk->ij" and "ik,ij->jk". The same holds for b, and for any number of operands. A letter that
    only a has was summed on its own: every entry along it gets the same gradient, a copy.
    """
    terms, letters = read_subscripts(subscripts, operands)
    y = np.einsum(f"{','.join(terms)}->{letters}", *operands, optimize=True)

    def vjp_of(i):
        others = [operand for j, operand in enumerate(operands) if j != i]
        sources = [letters, *(term for j, term in enumerate(terms) if j != i)]
        shape, term = operands[i].shape, terms[i]
        found = [letter for letter in term if any(letter in source for source in sources)]
        alone = [axis for axis, letter in enumerate(term) if letter not in found]

        def vjp(grad_y):
            grad = np.einsum(f"{','.join(sources)}->{''.join(found)}", grad_y, *others, optimize=True)
            return np.broadcast_to(np.expand_dims(grad, alone), shape)

        return vjp

    return np.asarray(y), tuple(vjp_of(i) for i in range(len(operands)))


def read_subscripts(subscripts: str, operands: tuple[Any, ...]) -> tuple[list[str], str]:
    """The letters of each operand and those of the result; ValueError where they cannot be read or don't fit."""
    left, arrow, letters = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"{subscripts!r} is for {len(terms)} operands, not {len(operands)}")
    if not arrow:
        letters = "".join(sorted(letter for letter in set(left) - {","} if left.count(letter) == 1))
    lengths: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        if term and not (term.isascii() and term.isalpha()):
            raise ValueError(f"each axis of {subscripts!r} needs one of the letters a to z or A to Z, not {term!r}")
        if len(set(term)) != len(term):
            raise ValueError(f"a letter stands twice in {term!r}: for a diagonal, take x[i, i] with i = arange(n)")
        if len(term) != operand.ndim:
            raise ValueError(f"{term!r} names {len(term)} axes of an operand of shape {operand.shape}")
        for letter, length in zip(term, operand.shape, strict=True):
            if lengths.setdefault(letter, length) != length:
                raise ValueError(f"{letter} is {lengths[letter]} long in one operand and {length} in another")
    if len(set(letters)) != len(letters) or not set(letters) <= lengths.keys():
        raise ValueError(f"each letter behind the arrow stands there once, and in an operand, unlike {letters!r}")
    return terms, letters


@op
def linear(x, weight, bias=None):
    """y = x @ weight + bias: every row of x through the same affine map

    Shapes.  x (..., d_in), weight (d_in, d_out), bias (d_out) or None, y (..., d_out).

    Backward.  As in `matmul`. All rows use the same weight, so its gradient is a sum over all of them: that of one
    product, with the rows as one matrix. Each row of y has its own copy of bias, and the gradients of copies add up.
        grad_x      = grad_y @ weightᵀ
        grad_weight = xᵀ @ grad_y            x and grad_y as matrices of all rows
        grad_bias   = Σ_rows grad_y
    """
    check_linear(x, weight, bias)
    y = x @ weight if bias is None else x @ weight + bias

    def vjp_x(grad_y):
        return grad_y @ weight.T

    def vjp_weight(grad_y):
        return as_rows(x).T @ as_rows(grad_y)

    def vjp_bias(grad_y):
        return as_rows(grad_y).sum(0)

    return y, (vjp_x, vjp_weight, vjp_bias)


def as_rows(a):
    """All rows of a, whatever axes they are counted by, as one matrix."""
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


def check_linear(x, weight, bias):
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[0]:
        raise ValueError("needs x (..., d_in) and weight (d_in, d_out)")
    if bias is not None and bias.shape != weight.shape[1:]:
        raise ValueError(f"needs a bias of shape {weight.shape[1:]}, one number for each column of weight")
