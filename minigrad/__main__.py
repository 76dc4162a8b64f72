"""`python -m minigrad`: check the gradient of every op against finite differences, and print what came out."""

import sys
import time
from typing import NamedTuple

import minigrad  # noqa: F401  every op enters OPS when it is imported
from minigrad.finite_differences import gradcheck
from minigrad.finite_differences.cases import CASES
from minigrad.tensors.operators import OPS


class Row(NamedTuple):
    op: str
    cases: int
    worst: float | None  # relative error, of the cases that are to agree; None if there are none
    verdict: str
    failures: tuple[str, ...]  # in full, for below the table


def check(name: str) -> Row:
    """gradcheck one op on all its cases."""
    estimator = getattr(OPS[name], "estimator", False)
    cases = CASES.get(name, [])
    errors, failures, zero = [], [], True
    for case in cases:
        try:
            report = gradcheck(case.of(OPS[name]), *case.arrays, typical_size=case.typical_size, raise_error=False)
        except Exception as error:
            failures.append(f"{name}{case} raises {type(error).__name__}: {error}")
            continue
        zero = zero and all(argument.zero for argument in report.arguments)
        if not case.differs:
            errors.append(report.relative_error)
            if not report.ok:
                failures.append(f"{name}{case}\n{report}")
        elif report.verdict != "wrong gradient":
            failures.append(f"{name}{case}: its gradient is declared to differ, but the verdict is {report.verdict}")
    if not cases:
        failures.append(f"{name} has no cases: add some to ops/cases.py")
    elif estimator != any(case.differs for case in cases):
        failures.append(f"{name} is declared estimator={estimator}, but no case says so; see Case.differs")

    if failures:
        verdict = f"FAILED ({len(failures)})" if cases else "FAILED: no cases"
    elif estimator:
        verdict = "estimator: differs, as declared"
    else:
        verdict = "ok, the gradient is 0" if zero else "ok"
    return Row(name, len(cases), max(errors, default=None), verdict, tuple(failures))


def main() -> int:
    """Print the table; return 1 if any op fails, else 0."""
    start = time.perf_counter()
    names = [name for name in CASES if name in OPS] + [name for name in OPS if name not in CASES]
    width = max(map(len, names))
    print(f"{'op':{width}}  cases  worst relative error  verdict")
    rows = []
    for name in names:
        row = check(name)
        worst = "–" if row.worst is None else f"{row.worst:.1e}" if row.worst else "0"
        print(f"{name:{width}}  {row.cases:5}  {worst:>20}  {row.verdict}", flush=True)
        rows.append(row)
    for row in rows:
        for failure in row.failures:
            print(f"\n{failure}")
    failed = sum(bool(row.failures) for row in rows)
    seconds = time.perf_counter() - start
    print(f"\n{len(rows)} ops, {sum(row.cases for row in rows)} cases, {failed} failed, in {seconds:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
