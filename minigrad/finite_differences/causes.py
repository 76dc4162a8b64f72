"""Which common mistake explains a wrong gradient? Compare the numbers with what each mistake would have made of them.

First come questions that the gradient itself answers: is it a multiple of the right one, is it transposed? Then the VJP
is asked for more. If it answers −2u as it answers u, grad_y was forgotten. With every unit vector for u it gives the
whole Jacobian that it stands for. Differences give the true one, and the two show where terms are missing or misplaced.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from minigrad.engine import Array
from minigrad.finite_differences.function import Argument

MOST = 40_000  # entries of a Jacobian; a larger one is not asked for,
MOST_CALLS = 1_000  # nor one that needs so many calls of the VJP
CLOSE = 0.01  # if this were the mistake, at most so much of the difference would be left


def likely_cause(argument: Argument, true: Array, n_wrong: int) -> str:
    """A sentence on the gradient `argument.by_vjp`, which should be `true` and differs at n_wrong elements."""
    if not argument.arrived:
        return "no gradient arrived. Is the graph cut by detach(), .numpy() or no_grad()?"
    if not true.any():
        return "f does not change. A gradient where there should be none?"
    if not argument.by_vjp.any():
        return "the VJP returns 0"
    if not np.isfinite(argument.by_vjp).all():
        bad = "nan" if np.isnan(argument.by_vjp).any() else "inf"
        if np.isinf(argument.y).any():
            return f"the VJP returns {bad}, and f itself is −inf. Check at inputs where it is finite"
        return f"the VJP returns {bad} where f has a finite slope. Does it overflow, or divide by 0?"
    return (
        _not_linear(argument)
        or _by_numbers(argument, true, n_wrong)
        or _by_jacobian(argument, true)
        or _by_places(argument, true, n_wrong)
    )


def exchanged(arguments: Sequence[Argument], wrong: Mapping[int, Array]) -> dict[int, str]:
    """Which wrong gradients are those of another argument: {argument: sentence}; `wrong` has the right ones."""
    found = {}
    for i, own in wrong.items():
        by_vjp = arguments[i].by_vjp
        for j, of_another in wrong.items():
            if i != j and own.shape == of_another.shape and _explains(of_another, by_vjp, own):
                found[i] = f"exchanged? This is the gradient of argument {arguments[j].position}"
    return found


def largest(numbers: Array) -> float:
    """The largest size among the finite ones."""
    return float(np.where(np.isfinite(numbers), np.abs(numbers), 0).max(initial=0))


def _explains(mistaken: Array, gradient: Array, true: Array) -> bool:
    """Whether a mistake that turns the true numbers into `mistaken` would explain the gradient."""
    return largest(mistaken - gradient) <= CLOSE * largest(gradient - true)


# --- asked of the numbers -----------------------------------------------------------------------------------------


def _not_linear(argument: Argument) -> str:
    """A VJP is a sum of products with grad_y: −2 grad_y must give −2 times the gradient."""
    by_vjp, again = argument.by_vjp, argument.vjp(-2 * argument.u)
    allowed = 1e-6 * largest(by_vjp)
    if largest(again - by_vjp) <= allowed:
        return "the VJP gives the same for any grad_y: is grad_y forgotten?"
    if largest(again + 2 * by_vjp) > allowed:
        return "the VJP is not linear in grad_y. Is grad_y forgotten in one term, or does the VJP branch on it?"
    return ""


def _by_numbers(argument: Argument, true: Array, n_wrong: int) -> str:
    by_vjp = argument.by_vjp
    ratio = float(np.sum(by_vjp * true) / np.sum(true * true))
    if _explains(ratio * true, by_vjp, true) and (n_wrong > 1 or true.size == 1):
        return _cause_of_ratio(ratio, {*true.shape, *argument.y.shape} - {0, 1, 2}, true.shape == argument.y.shape)
    if largest(by_vjp - true) < 1e-3 * largest(true):
        return "almost right. A small term, an eps, or large numbers cancelling inside f?"
    if _explains(np.where(by_vjp * true < 0, -true, true), by_vjp, true):
        return "sign, at some elements"
    return ""


def _cause_of_ratio(ratio: float, lengths: set[int], same_shape: bool) -> str:
    """The gradient is `ratio` times the true one everywhere; `lengths` are those of the axes."""
    or_else = ", or another constant factor" if same_shape else ""  # f may have no sum at all
    known = {-1.0: "sign", 2.0: "counted twice?", 0.5: "counted once instead of twice, or a factor 2 forgotten?"}
    for n in lengths:
        known[n] = f"summed over an axis of length {n} instead of averaged{or_else}?"
        known[1 / n] = f"averaged over an axis of length {n} instead of summed{or_else}?"
    for value, cause in known.items():
        if math.isclose(ratio, value, rel_tol=1e-5):
            return cause
    for n in lengths:
        if math.isclose(abs(math.log(abs(ratio))), math.log(n) / 2, rel_tol=1e-5):
            return f"a constant factor √{n} forgotten, or taken twice?"
    return "the same everywhere: a constant factor?"


def _by_places(argument: Argument, true: Array, n_wrong: int) -> str:
    """Last of all: are the numbers right, and only in other places?"""
    by_vjp, shape, y_shape = argument.by_vjp, true.shape, argument.y.shape
    if permuted := _permuted(by_vjp, true):
        return permuted
    if shape != y_shape and _broadcasts(shape, y_shape):
        return "not summed over a broadcast axis?"
    if n_wrong <= true.size / 2:
        return "right elsewhere. A mask, a boundary, or a repeated index?"
    return "a term missing?"


def _permuted(by_vjp: Array, true: Array) -> str:
    same = largest(np.sort(true, None) - np.sort(by_vjp, None)) <= CLOSE * largest(by_vjp - true)
    return "the right numbers in the wrong places: permuted?" if same else ""


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    pairs = zip(shape[::-1], to[::-1], strict=False)  # axes are matched from the last
    return len(shape) <= len(to) and all(n in (1, m) for n, m in pairs)


# --- asked of the Jacobian ----------------------------------------------------------------------------------------


class Jacobians(NamedTuple):
    """All ∂yᵢ/∂xⱼ, of shape (*y.shape, *x.shape): as differences have them, and as the VJP does."""

    true: Array
    by_vjp: Array
    y_axes: int

    @classmethod
    def of(cls, argument: Argument) -> Jacobians:
        x, y = argument.x, argument.y
        step = _step(x)
        columns = [_change(argument, x, step * unit.reshape(x.shape)) / (2 * step) for unit in np.eye(x.size)]
        rows = [argument.vjp(unit.reshape(y.shape)) for unit in np.eye(y.size)]
        true, by_vjp = np.stack(columns, -1).reshape(y.shape + x.shape), np.stack(rows).reshape(y.shape + x.shape)
        return cls(true, np.nan_to_num(by_vjp, posinf=0, neginf=0), y.ndim)

    def explained_by(self, mistaken: Array) -> bool:
        return mistaken.shape == self.true.shape and _explains(mistaken, self.by_vjp, self.true)

    def flat(self, jacobian: Array) -> Array:
        """As a matrix, a row for each y and a column for each x."""
        return jacobian.reshape(math.prod(jacobian.shape[: self.y_axes]), -1)

    def coupled(self, jacobian: Array) -> set[int]:
        """The axes along which some y depends on an x in another place; y and x have the same shape."""
        places = np.argwhere(np.abs(jacobian) > 1e-6 * largest(jacobian))
        apart = np.any(places[:, : self.y_axes] != places[:, self.y_axes :], axis=0)
        return set(np.flatnonzero(apart).tolist())


def _step(x: Array) -> float:
    return 1e-5 * (math.sqrt(np.mean(x * x)) or 1.0)


def _change(argument: Argument, x: Array, step: Array) -> Array:
    above, below = argument.f(x + step), argument.f(x - step)
    return np.nan_to_num(np.where(above == below, 0, above - below), posinf=0, neginf=0)


def _by_jacobian(argument: Argument, true: Array) -> str:
    x, y = argument.x, argument.y
    if not 1 < x.size * y.size <= MOST or y.size > MOST_CALLS:
        return ""
    jacobians = Jacobians.of(argument)
    elementwise = x.shape == y.shape and not jacobians.coupled(jacobians.true)
    if elementwise and not jacobians.coupled(jacobians.by_vjp):
        return _wrong_slope(argument, true)
    return (
        _not_summed(argument, jacobians)
        or _other_order(argument, jacobians)
        or _other_axis(argument, jacobians)
        or _misplaced_factor(jacobians)
        or _permuted(argument.by_vjp, true)
        or _other_output(jacobians)
        or _row_sum(argument, jacobians)
        or _other_terms(jacobians)
    )


def _wrong_slope(argument: Argument, true: Array) -> str:
    """An elementwise op: was f′ taken at another point, or one of its factors forgotten?"""
    x, y, u, by_vjp = argument.x, argument.y, argument.u, argument.by_vjp
    step = _step(x)
    for where, point in (("f′(y) for f′(x)", y), ("f′(−x) for f′(x)", -x)):
        if _explains(u * _change(argument, point, np.full(x.shape, step)) / (2 * step), by_vjp, true):
            return f"the slope at the wrong point: {where}?"
    if largest(argument.vjp_at(y) - true) <= CLOSE * largest(by_vjp - true):
        return "the slope at the wrong point: x where y belongs?"
    for name, factor in (("x", x), ("y", y), ("1 − x", 1 - x), ("1 − y", 1 - y)):
        if _explains(true * factor, by_vjp, true):
            return f"a factor {name} too much?"
        if _explains(true / factor, by_vjp, true):
            return f"a factor {name} forgotten?"
    return "a wrong slope: f works on each element alone, and so does the VJP, but with another factor"


def _not_summed(argument: Argument, jacobians: Jacobians) -> str:
    """Some of the outputs send nothing, and all the others what they should."""
    true, by_vjp = jacobians.flat(jacobians.true), jacobians.flat(jacobians.by_vjp)
    silent = np.any(true, axis=1) & ~np.any(by_vjp, axis=1)
    if silent.any() and not silent.all() and _explains(np.where(silent[:, None], 0, true), by_vjp, true):
        if _broadcasts(argument.x.shape, argument.y.shape) and argument.x.shape != argument.y.shape:
            return "not summed over a broadcast axis?"
        if silent.sum() <= silent.size / 2 and argument.x.ndim == argument.y.ndim:
            return "right elsewhere. A mask, a boundary, or a repeated index?"
        return "not summed over an axis: only some of the outputs send a gradient"
    return ""


def _other_order(argument: Argument, jacobians: Jacobians) -> str:
    """The true Jacobian moved along an axis, with an axis reversed, or with its axes in another order."""
    true, m, n = jacobians.true, jacobians.y_axes, jacobians.true.ndim
    for axis in range(n):
        for by in range(1, true.shape[axis] if true.shape[axis] > 2 else 0):  # of two elements it would be a flip
            if jacobians.explained_by(np.roll(true, by, axis)):
                return f"the right numbers in the wrong places: shifted along axis {axis - m if axis >= m else axis}?"
    flips = [(a,) for a in range(n)] + [(a, m + a) for a in range(min(m, n - m))]
    for axes in flips:
        if jacobians.explained_by(np.flip(true, axes)):
            return f"backwards along axis {axes[-1] - m if axes[-1] >= m else axes[-1]}: the wrong direction, a flip?"
    if n <= 5:
        for order in itertools.permutations(range(n)):
            if jacobians.explained_by(true.transpose(order)):
                return "transposed?" if argument.x.ndim == argument.y.ndim else "along the wrong axis, or transposed?"
    return ""


def _other_axis(argument: Argument, jacobians: Jacobians) -> str:
    """Each y depends on other elements along some axis. Does the VJP think so, too?"""
    if argument.x.shape != argument.y.shape:
        return ""
    right, given = jacobians.coupled(jacobians.true), jacobians.coupled(jacobians.by_vjp)
    if given < right:
        axes = " and ".join(str(axis) for axis in sorted(right - given))
        return f"the cross terms are missing: f mixes elements along axis {axes} (a row sum?), the VJP does not"
    if given != right:
        axes = " and ".join(str(axis) for axis in sorted(given - right))
        return f"summed over the wrong axis? The VJP mixes elements along axis {axes}, f does not"
    if right and not jacobians.coupled(jacobians.by_vjp - jacobians.true):
        return "the terms of the other elements are right, that of its own element is missing or wrong"
    return ""


def _other_output(jacobians: Jacobians) -> str:
    """Were the gradients of all outputs the same, the VJP would be right: it mixes up which output is whose."""
    true, by_vjp = jacobians.flat(jacobians.true).sum(0), jacobians.flat(jacobians.by_vjp).sum(0)
    if largest(true) > 0.01 * largest(jacobians.true) and largest(by_vjp - true) <= 1e-4 * largest(true):
        return "right only if grad_y is the same everywhere: is it spread along the wrong axis?"
    return ""


def _other_terms(jacobians: Jacobians) -> str:
    """Where does some y depend on some x? Compare these places, whatever the numbers are."""
    true, by_vjp = jacobians.flat(jacobians.true), jacobians.flat(jacobians.by_vjp)
    right, given = (np.abs(jacobian) > 1e-6 * largest(jacobian) for jacobian in (true, by_vjp))
    if (right.any(1) & ~given.any(1)).any():
        return "only some of the outputs send a gradient. Is only a part of grad_y used?"
    if not (right & ~given).any() and (given & ~right).any():
        others = "" if _explains(np.where(right, true, by_vjp), by_vjp, true) else ", and the others are wrong"
        return f"too many terms: the VJP has some where f does not depend on x{others}. A mask forgotten?"
    if not (given & ~right).any() and (right & ~given).any():
        return "terms are missing: f depends on more elements of x than the VJP has"
    if not (given ^ right).any() and right.mean() < 0.7:
        return "all terms are where they should be, but with a wrong factor each"
    return ""


def _row_sum(argument: Argument, jacobians: Jacobians) -> str:
    """The error is (Σᵢ gᵢ aᵢ) bⱼ in every row of y: one sum over the row, with one wrong or missing term."""
    y = argument.y
    if argument.x.ndim < y.ndim:  # x is broadcast, and not a row
        return ""
    for axis in range(y.ndim - 1, -1, -1):
        error = np.moveaxis(jacobians.by_vjp - jacobians.true, axis, jacobians.y_axes - 1)
        blocks = error.reshape(-1, y.shape[axis], argument.x.size)
        if y.shape[axis] < 2 or min(argument.x.size, y.shape[axis]) < 2:
            continue
        left, sizes, _ = np.linalg.svd(blocks, full_matrices=False)
        rows = left[..., 0]  # (rows, elements): the a of each, up to its length
        there = sizes[:, 0] > 1e-3 * sizes.max()
        spread = (np.abs(rows) > 1e-3).sum(-1)[there]
        if (sizes[:, 1] > 1e-4 * sizes[:, 0].max()).any() or spread.max() < 2:
            continue
        for name, a in (("Σ grad_y", np.ones_like(y)), ("Σ grad_y · y", y)):
            a = np.moveaxis(a, axis, -1).reshape(rows.shape)
            length = np.linalg.norm(a, axis=-1)
            if np.all((np.abs((a * rows).sum(-1)) >= (1 - 1e-6) * length)[there]):
                return f"a term with the row sum {name} along axis {axis} is missing or wrong"
        return f"a term with a row sum along axis {axis} is missing or wrong"
    return ""


def _misplaced_factor(jacobians: Jacobians) -> str:
    """The true Jacobian, with every row or every column multiplied by a number of its own."""
    true, by_vjp = jacobians.flat(jacobians.true), jacobians.flat(jacobians.by_vjp)
    for axis, which in ((1, "grad_y is not multiplied by"), (0, "the gradient is not multiplied by")):
        total = (true * true).sum(axis, keepdims=True)
        factor = (by_vjp * true).sum(axis, keepdims=True) / np.where(total, total, 1)
        if _explains(factor * true, by_vjp, true):
            return f"a factor forgotten or taken twice, another one for each element: {which} what it should be?"
    return ""
