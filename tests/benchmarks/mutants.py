"""Which wrong VJPs do gradcheck and its cases miss? Each VJP is changed in its source, in one place at a time.

    python tests/benchmarks/mutants.py [--quick] [op, ...]

The VJPs are those of the pages in minigrad/ops, of the kernels in minigrad/fast and of the estimators, with the
functions that only they call. A mutant has one change: an operator swapped, a term, factor, sign or statement dropped,
a number 0.1 % smaller, keepdims dropped, another axis, a transpose added or removed, operands exchanged, a condition
turned round, one branch of np.where. It is killed if an exception is raised, if gradcheck fails on one of the op's
cases, or, for a kernel, if its gradients are not its page's on one of them. An estimator has no derivative to be
checked against: its gradients are compared with those of the function it stands for.

Printed are the number killed and every survivor. Those in equivalent_mutants.py have a reason; others are a hole in the
cases.
"""

from __future__ import annotations

import argparse
import ast
import copy
import dataclasses
import importlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from equivalent_mutants import EQUIVALENT

import minigrad as mg
from minigrad.engine import OPS
from minigrad.finite_differences.cases import CASES, STANDS_FOR, Case, case

ROOT = Path(mg.__file__).parent
FILES = [*sorted((ROOT / "ops").glob("[!_]*.py")), *sorted((ROOT / "fast").glob("[!_]*.py")), ROOT / "estimators.py"]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


# More cases than gradcheck needs, which would be slow there, for the kernels' branches: a second block of queries, and
# scores beyond ±10, with a query that may look at nothing.
BRANCHES = {
    "attention": [
        case(*normal(3, 65, 1), causal=True),
        case(*normal(3, 65, 1) * 10, causal=True),
        case(*normal(3, 5, 2) * 10, mask=np.tri(5, k=-1) > 0),
    ]
}

# --- changes -----------------------------------------------------------------------------------------------------

SWAPS: dict[type, ast.operator] = {ast.Add: ast.Sub(), ast.Sub: ast.Add(), ast.Mult: ast.Div(), ast.Div: ast.Mult()}
OPPOSITES: dict[type, ast.cmpop] = {
    ast.Lt: ast.GtE(), ast.LtE: ast.Gt(), ast.Gt: ast.LtE(), ast.GtE: ast.Lt(), ast.Eq: ast.NotEq(), ast.NotEq: ast.Eq()
}  # fmt: skip
OTHER_AXIS = {0: 1, 1: 0, -1: -2, -2: -1}
REDUCTIONS = {"sum", "mean", "max", "min", "prod", "cumsum", "flip", "argsort", "argmax"}


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """All that may stand in the place of this node."""
    match node:
        case ast.BinOp(left, op, right):
            if type(op) in SWAPS:
                yield ast.BinOp(left, SWAPS[type(op)], right)
                yield left
            if isinstance(op, (ast.Add, ast.Mult)):
                yield right
            if isinstance(op, ast.Sub):
                yield ast.UnaryOp(ast.USub(), right)
            if isinstance(op, ast.Pow):
                yield left
            if isinstance(op, ast.MatMult):
                yield ast.BinOp(right, op, left)
                yield ast.BinOp(_transposed(left), op, right)
                yield ast.BinOp(left, op, _transposed(right))
        case ast.AugAssign(target, op, value):
            yield ast.Pass()
            if type(op) in SWAPS:
                yield ast.AugAssign(target, SWAPS[type(op)], value)
        case ast.UnaryOp(ast.USub() | ast.Invert(), operand) if not isinstance(operand, ast.Constant):
            yield operand
        case ast.Compare(left, [op], right) if type(op) in OPPOSITES:
            yield ast.Compare(left, [OPPOSITES[type(op)]], right)
        case ast.Constant(float(number)):
            yield ast.Constant(number * 0.999)
        case ast.Constant(1 | 2 as number) if type(number) is int:
            yield ast.Constant(number * 0.999)
        case ast.Attribute(value, "mT" | "T"):
            yield value
        case ast.Call():
            yield from _changed_calls(node)


def _changed_calls(call: ast.Call) -> Iterator[ast.AST]:
    for keyword in call.keywords:
        others = [k for k in call.keywords if k is not keyword]
        if keyword.arg == "keepdims":
            yield ast.Call(call.func, call.args, others)
        if keyword.arg == "axis":
            for axis in _other_axes(keyword.value):
                yield ast.Call(call.func, call.args, [*others, ast.keyword("axis", axis)])
    if not isinstance(call.func, ast.Attribute):
        return
    if call.func.attr in REDUCTIONS and call.args:
        method = not (isinstance(call.func.value, ast.Name) and call.func.value.id == "np")
        at = 0 if method else 1
        for axis in _other_axes(call.args[at]) if len(call.args) > at else ():
            yield ast.Call(call.func, [*call.args[:at], axis, *call.args[at + 1 :]], call.keywords)
    if call.func.attr == "where" and len(call.args) == 3:
        yield from call.args[1:]
    if call.func.attr in ("swapaxes", "transpose"):
        yield call.func.value


def _other_axes(axis: ast.AST) -> Iterator[ast.expr]:
    match axis:
        case ast.Constant(0 | 1 as number):
            yield ast.Constant(OTHER_AXIS[number])
        case ast.UnaryOp(ast.USub(), ast.Constant(1 | 2 as number)):
            yield ast.Constant(OTHER_AXIS[-number])
        case ast.Name("axis"):
            yield ast.Constant(0)
            yield ast.Constant(-1)


def _transposed(a: ast.expr) -> ast.expr:
    return ast.Attribute(a, "mT", ast.Load())


# --- where they are made -----------------------------------------------------------------------------------------


@dataclasses.dataclass
class Mutant:
    """One change in one function of a module. `ops` are the functions of the module that have to be made anew."""

    module: ModuleType
    function: ast.FunctionDef
    ops: list[ast.FunctionDef]
    inside: str  # the VJP
    node: ast.AST | None = None
    new: ast.AST | None = None
    line: int = 0

    def __str__(self) -> str:
        assert self.node is not None and self.new is not None
        where = f"{self.module.__name__.removeprefix('minigrad.')}.{self.function.name}"
        where += f".{self.inside}" if self.inside != self.function.name else ""
        new = " ".join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(self.new))).split())
        return f"{where}: {' '.join(ast.unparse(self.node).split())} -> {new}"

    def functions(self) -> dict[str, Callable[..., Any]]:
        """What the changed source defines, for each of `ops`."""
        changed = self.function
        if self.node is not None:
            copies: dict[int, Any] = {}
            changed = copy.deepcopy(self.function, copies)
            changed = _Replace(copies[id(self.node)], copy.deepcopy(self.new)).visit(changed)
        names = dict(vars(self.module))
        for f in [changed, *(f for f in self.ops if f is not self.function)]:
            plain = copy.copy(f)
            plain.decorator_list = []
            exec(compile(ast.fix_missing_locations(ast.Module([plain], [])), "mutant", "exec"), names)
        return {op_name(f): names[f.name] for f in self.ops}


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def mutants(file: Path, wanted: set[str]) -> Iterator[Mutant]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    parts = ["minigrad", *file.relative_to(ROOT).with_suffix("").parts]
    module = importlib.import_module(".".join(parts))
    functions = [f for f in tree.body if isinstance(f, ast.FunctionDef)]
    with_vjps = [f for f in functions if vjps_of(f) and (not wanted or op_name(f) in wanted)]
    for f in with_vjps:
        yield Mutant(module, f, [f], "")  # as it is: must pass
        for vjp in vjps_of(f):
            yield from _of_function(module, f, [f], vjp)
    for helper in functions:
        users = [f for f in with_vjps if any(helper.name in called_in(vjp) for vjp in vjps_of(f))]
        elsewhere = [f for f in functions if f is not helper and helper.name in called_in(f, skip=vjps_of(f))]
        if users and not elsewhere:
            yield from _of_function(module, helper, users, helper)


def _of_function(
    module: ModuleType, function: ast.FunctionDef, ops: list[ast.FunctionDef], inside: ast.FunctionDef
) -> Iterator[Mutant]:
    for statement in inside.body:
        for node in ast.walk(statement):
            for new in changes(node):
                yield Mutant(module, function, ops, inside.name, node, new, getattr(node, "lineno", 0))


def vjps_of(f: ast.FunctionDef) -> list[ast.FunctionDef]:
    return [inner for inner in ast.walk(f) if isinstance(inner, ast.FunctionDef) and inner.name.startswith("vjp")]


def called_in(f: ast.AST, skip: list[ast.FunctionDef] | None = None) -> set[str]:
    """The names of the functions that it calls, outside of the functions to skip."""
    skipped = {id(node) for inner in skip or [] for node in ast.walk(inner)}
    calls = [node for node in ast.walk(f) if isinstance(node, ast.Call) and id(node) not in skipped]
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)}


def op_name(f: ast.FunctionDef) -> str:
    """What `@op` enters it as, or the op that `@faster` makes faster."""
    for decorator in f.decorator_list:
        if isinstance(decorator, ast.Call):
            if ast.unparse(decorator.func) == "faster":
                function = ast.unparse(decorator.args[0])  # the op may have another name, as cross_entropy_of has
                return next(name for name, op in OPS.items() if op.__name__ == function)
            for keyword in decorator.keywords:
                if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                    return str(keyword.value.value)
    return f.name


# --- whether they are noticed ------------------------------------------------------------------------------------


def passes(mutant: Mutant) -> bool:
    """Do the cases of the ops, alone, find nothing wrong with it?"""
    try:
        for name, f in mutant.functions().items():
            op, kernel = OPS[name], OPS[name].kernel
            page = mutant.module.__name__.startswith("minigrad.fast")
            op.kernel = f  # the engine runs this in the place of the page
            try:
                if not all(
                    _case_passes(case, name, against_page=page) for case in [*CASES[name], *BRANCHES.get(name, [])]
                ):
                    return False
            finally:
                op.kernel = kernel
    except Exception:
        return False
    return True


def _case_passes(case: Case, name: str, against_page: bool) -> bool:
    op = OPS[name]
    if name in STANDS_FOR and case.differs:
        other, changed = STANDS_FOR[name]
        soft = case if not changed else dataclasses.replace(case, static=case.static | changed)
        return _same(_gradients(case, op), _gradients(soft, OPS[other]))
    if not mg.gradcheck(case.of(op), *case.arrays, typical_size=case.typical_size, raise_error=False).ok:
        return False
    if against_page:
        ours = _gradients(case, op)
        with mg.textbook():
            return _same(ours, _gradients(case, op))
    return True


def _gradients(case: Case, op: Callable[..., Any]) -> list[Any]:
    tensors = [
        mg.Tensor(np.array(a), requires_grad=True) if a is not None and np.asarray(a).dtype.kind == "f" else a
        for a in case.arrays
    ]
    y = op(*tensors, **case.keywords())
    y.backward(np.random.default_rng(0).uniform(0.5, 1.5, y.shape))
    return [t.grad for t in tensors if isinstance(t, mg.Tensor)]


def _same(ours: list[Any], theirs: list[Any]) -> bool:
    return all(np.allclose(a, b, rtol=0, atol=1e-9 * max(1, np.abs(b).max(initial=0))) for a, b in zip(ours, theirs))  # noqa: B905


def count(files: list[Path], wanted: set[str], progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """How many mutants there are and were killed, and the survivors with their line, explained or not."""
    total, survivors = 0, {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # mutants overflow and divide by 0
        for file in files:
            for mutant in mutants(file, wanted):
                if mutant.node is None:
                    assert passes(mutant), f"{mutant.function.name} fails as it is: every mutant would seem killed"
                    continue
                total += 1
                if passes(mutant):
                    survivors[str(mutant)] = f"{file.relative_to(ROOT)}:{mutant.line}"
                    progress(str(mutant))
    reasons = {key: reason for reason, keys in EQUIVALENT.items() for key in keys}
    return {
        "mutants": total,
        "killed": total - len(survivors),
        "equivalent": {key: reasons[key] for key in survivors if key in reasons},
        "unexplained": {key: line for key, line in survivors.items() if key not in reasons},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ops", nargs="*")
    parser.add_argument("--quick", action="store_true", help="softmax and linear only, in some seconds")
    args = parser.parse_args()
    wanted = set(args.ops or (["softmax", "linear"] if args.quick else []))
    if unknown := wanted - set(OPS):
        parser.error(f"no op is called {', '.join(sorted(unknown))}")
    found = count(FILES, wanted)
    print(f"{found['killed']} of {found['mutants']} mutants killed, {len(found['equivalent'])} equivalent, ", end="")
    print(f"{len(found['unexplained'])} unexplained")
    for key, reason in found["equivalent"].items():
        print(f"  {key}\n      {reason}")
    for key, line in found["unexplained"].items():
        print(f"  UNEXPLAINED {line} {key}")


if __name__ == "__main__":
    main()
