"""`python -m minigrad`: check the gradient of every op against finite differences, and print what came out.

Each row gives the number of cases, the worst error of the gradient relative to its size (up to 1e-6 passes), and how
many times faster the op's kernel in `minigrad.fast` is than its page: – where there is no kernel, ? where this machine
is too busy to tell. The last rows are whole modules; their cases are their parameters.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

import minigrad
from minigrad import nn
from minigrad.engine import Tensor
from minigrad.finite_differences import GradientReport, gradcheck
from minigrad.finite_differences.cases import CASES, STANDS_FOR, Case
from minigrad.finite_differences.check import random_cotangent
from minigrad.finite_differences.modules import MODULES, with_parameters
from minigrad.finite_differences.speed import SIZES, speed_up
from minigrad.learn.command import add_exercises
from minigrad.learn.explain import add_explain
from minigrad.tensors.operators import OPS
from minigrad.viz.lab import add_command as add_lab

# Each adds a command: it calls `commands.add_parser(...)` and `set_defaults(run=...)`, a function of the parsed
# arguments that returns the exit code.
COMMANDS: tuple[Callable[["argparse._SubParsersAction[argparse.ArgumentParser]"], None], ...] = (
    add_exercises,
    add_explain,
    add_lab,
)


class Row(NamedTuple):
    name: str
    cases: int
    worst: float | None  # relative error, of the cases that are to agree; None if there are none
    verdict: str
    failures: tuple[str, ...]  # in full, for below the table
    speed_up: float | None = None  # None if there is no kernel, nan if it could not be told


def check_op(name: str) -> Row:
    """gradcheck one op on all its cases."""
    estimator = getattr(OPS[name], "estimator", False)
    cases = CASES.get(name, [])
    reports: list[GradientReport] = []
    errors, failures = [], []
    for case in cases:
        try:
            report = gradcheck(case.of(OPS[name]), *case.arrays, typical_size=case.typical_size, raise_error=False)
        except Exception as error:
            failures.append(f"{name}{case} raises {type(error).__name__}: {error}")
            continue
        reports.append(report)
        if not case.differs:
            errors.append(report.relative_error)
            if not report.ok:
                failures.append(f"{name}{case}\n{report}")
        elif report.verdict != "wrong gradient":
            failures.append(f"{name}{case}: its gradient is declared to differ, but the verdict is {report.verdict}")
        elif name in STANDS_FOR and not stands_for(name, case):
            failures.append(f"{name}{case}: its gradient is not that of {STANDS_FOR[name][0]}, which it stands for")
    if not cases:
        failures.append(f"{name} has no cases: add some to finite_differences/cases.py")
    elif estimator != any(case.differs for case in cases):
        failures.append(f"{name} is declared estimator={estimator}, but no case says so; see Case.differs")

    if failures:
        verdict = f"FAILED ({len(failures)})" if cases else "FAILED: no cases"
    elif estimator:
        verdict = "estimator: differs, as declared"
    else:
        zero = all(argument.zero for report in reports for argument in report.arguments)
        verdict = "ok, the gradient is 0" if zero else "ok"
    has_kernel = getattr(OPS[name], "kernel", None) is not None
    faster = speed_up(OPS[name], SIZES[name]()) if has_kernel and name in SIZES else None
    return Row(name, len(cases), max(errors, default=None), verdict, tuple(failures), faster)


def stands_for(name: str, case: Case) -> bool:
    """Is the estimator's gradient that of the op it stands for?"""
    other, changed = STANDS_FOR[name]
    grads = []
    for op, keywords in ((OPS[name], case.keywords()), (getattr(minigrad, other), case.keywords() | changed)):
        scores = Tensor(np.array(case.arrays[0]), requires_grad=True)
        y = op(scores, **keywords)
        y.backward(random_cotangent(y.shape, np.random.default_rng(0)))
        assert scores.grad is not None
        grads.append(scores.grad)
    return bool(np.allclose(grads[0], grads[1], rtol=1e-9, atol=1e-12))


def check_module(name: str) -> Row:
    """gradcheck one module with respect to all its parameters."""
    case = MODULES[name]
    try:
        f, parameters = with_parameters(case.build(nn))
        report = gradcheck(f, *parameters, *case.inputs, raise_error=False)
    except Exception as error:
        return Row(name, 0, None, "FAILED", (f"{name} raises {type(error).__name__}: {error}",))
    failures = () if report.ok else (f"{name}\n{report}",)
    return Row(name, len(parameters), report.relative_error, "ok" if report.ok else "FAILED", failures)


def print_table() -> int:
    """Check everything; return 1 if anything fails, else 0."""
    start = time.perf_counter()
    ops = [name for name in CASES if name in OPS] + [name for name in OPS if name not in CASES]
    width = max(map(len, [*ops, *MODULES]))
    print(f"{'op':{width}}  cases  worst relative error  speed-up  verdict")
    rows = []
    for name in [*ops, *MODULES]:
        row = check_module(name) if name in MODULES else check_op(name)
        worst = "–" if row.worst is None else f"{row.worst:.1e}" if row.worst else "0"
        faster = "–" if row.speed_up is None else "?" if math.isnan(row.speed_up) else f"{row.speed_up:.1f}"
        print(f"{name:{width}}  {row.cases:5}  {worst:>20}  {faster:>8}  {row.verdict}", flush=True)
        rows.append(row)
    for row in rows:
        for failure in row.failures:
            print(f"\n{failure}")
    n_cases, n_parameters = sum(row.cases for row in rows[: len(ops)]), sum(row.cases for row in rows[len(ops) :])
    failed = sum(bool(row.failures) for row in rows)
    checked = f"{len(ops)} ops with {n_cases} cases, {len(MODULES)} modules with {n_parameters} parameters"
    print(f"\n{checked}, {failed} failed, in {time.perf_counter() - start:.1f} s", flush=True)
    return 1 if failed else 0


def main(arguments: Sequence[str] = ()) -> int:
    """Run the command named in `arguments`, by default the check; return its exit code, 0 if all is well."""
    parser = argparse.ArgumentParser(
        prog="python -m minigrad", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.set_defaults(run=lambda _: print_table())
    if COMMANDS:
        commands = parser.add_subparsers(title="commands", metavar="COMMAND")
        for add_command in COMMANDS:
            add_command(commands)
    chosen = parser.parse_args(arguments)
    if chosen.version:
        print(f"minigrad {minigrad.__version__}")
        return 0
    try:
        return int(chosen.run(chosen))
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C before the end", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has left, as `head` does; Python's last flush must not complain either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
