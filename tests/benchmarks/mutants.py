"""Which wrong VJPs gradcheck misses: each VJP in minigrad/ops is changed in its source, one place at a time.

    python tests/benchmarks/mutants.py [--quick] [file, such as softmax.py]

An operator is swapped, keepdims dropped, a 1 becomes 0.999. A mutant is killed if gradcheck, run over the op's cases,
reports an error or anything is raised. Survivors are printed with their line.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import minigrad as mg
from minigrad.engine import OPS
from minigrad.finite_differences.cases import CASES

FOLDER = Path(mg.__file__).parent / "ops"
SWAPS: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}


def mutate(node: Any) -> bool:
    """Change this node in place; False where there is nothing to change."""
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        node.op = SWAPS[type(node.op)]()
    elif isinstance(node, ast.Call) and any(k.arg == "keepdims" for k in node.keywords):
        node.keywords = [k for k in node.keywords if k.arg != "keepdims"]
    elif isinstance(node, ast.Constant) and type(node.value) is int and node.value == 1:
        node.value = 0.999
    else:
        return False
    return True


def places(tree: ast.Module) -> Iterator[tuple[str, int, int]]:
    """(op, number of the node in ast.walk, line) of all that may be changed in a VJP."""
    numbers = {id(node): i for i, node in enumerate(ast.walk(tree))}
    for op in tree.body:
        if isinstance(op, ast.FunctionDef) and op.name in OPS and op.name in CASES:
            vjps = [f for f in ast.walk(op) if isinstance(f, ast.FunctionDef) and f.name.startswith("vjp")]
            for node in (node for f in vjps for node in ast.walk(f)):
                if mutate(copy.copy(node)):
                    yield op.name, numbers[id(node)], getattr(node, "lineno", 0)


def killed(tree: ast.Module, name: str, number: int | None, module: Any) -> bool:
    mutant = copy.deepcopy(tree)
    if number is not None:
        mutate(list(ast.walk(mutant))[number])
    op = next(f for f in mutant.body if isinstance(f, ast.FunctionDef) and f.name == name)
    before = OPS[name]
    try:
        names = dict(vars(module))
        OPS.pop(name)
        exec(compile(ast.Module([op], []), "mutant", "exec"), names)
        return not all(
            mg.gradcheck(c.of(names[name]), *c.arrays, typical_size=c.typical_size)
            for c in CASES[name]
            if not c.differs
        )
    except Exception:
        return True
    finally:
        OPS[name] = before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--quick", action="store_true", help="softmax.py only")
    args = parser.parse_args()
    total, survivors, sound = 0, [], set()
    with mg.textbook():
        for file in args.files or (["softmax.py"] if args.quick else sorted(f.name for f in FOLDER.glob("[!_]*.py"))):
            source = (FOLDER / file).read_text(encoding="utf-8")
            tree, module = ast.parse(source), importlib.import_module(f"minigrad.ops.{Path(file).stem}")
            for name, number, line in places(tree):
                if name not in sound:  # else every mutant would seem killed
                    assert not killed(tree, name, None, module), f"{name} fails gradcheck as it is"
                    sound.add(name)
                total += 1
                if not killed(tree, name, number, module):
                    survivors.append(f"{file}:{line} {name}: {source.splitlines()[line - 1].strip()}")
    print(f"{total - len(survivors)} of {total} mutants killed", *survivors, sep="\n")


if __name__ == "__main__":
    main()
