"""What a toy training step costs, counted rather than timed, so that a busy machine does not matter.

    python tests/benchmarks/step_cost.py             the counts, beside the recorded ones; about a minute
    python tests/benchmarks/step_cost.py --record    record these

Two counts, of the smallest row of train_step.py, where a step is mostly Python: the calls of functions, as
sys.setprofile sees them, and the instructions of the processor, as valgrind counts them (where it is installed). Both
repeat to within a percent on one version of Python and NumPy; with another, record anew. The command ends with 1 where
a count is more than 5 % above the recorded one. It is no part of the tests, for what is more may be worth it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import step_models

RECORD = Path(__file__).parent / "results" / "step_cost.json"
TOLERANCE = 0.05
FEW, MANY = 5, 25  # steps; the difference of two runs leaves out the imports


def steps(n):
    """Make n steps and return the training, for more."""
    run = step_models.training("minigrad", step_models.ROWS[0])
    for i in range(n):
        run.step(*run.pairs[i % len(run.pairs)])
    return run


def python_calls():
    """How many functions, of Python and of C, one step calls."""
    run, counts = steps(FEW), {"call": 0, "c_call": 0}

    def count(frame, event, argument):
        if event in counts:
            counts[event] += 1

    sys.setprofile(count)
    try:
        run.step(*run.pairs[0])
    finally:
        sys.setprofile(None)
    return sum(counts.values())


def instructions():
    """How many instructions one step takes, by valgrind; None where it is not installed."""
    if shutil.which("valgrind") is None:
        return None
    few, many = (_instructions(n) for n in (FEW, MANY))
    return (many - few) // (MANY - FEW)


def _instructions(n):
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [*command, sys.executable, __file__, "--steps", str(n)], env=env, capture_output=True, text=True
    )
    found = [line for line in done.stderr.splitlines() if "I refs:" in line or "I   refs:" in line]
    if done.returncode or not found:
        raise RuntimeError(f"valgrind failed:\n{done.stderr[-2000:]}")
    return int(found[0].split(":")[1].replace(",", ""))


def compare(what, count, recorded):
    """Print a count beside the recorded one. False if it is too much above it."""
    if recorded is None:
        print(f"{what} of a step: {count:,}, none recorded")
        return True
    more = count / recorded - 1
    fits = more <= TOLERANCE
    print(
        f"{what} of a step: {count:,}, recorded {recorded:,}: {100 * more:+.1f} %"
        + ("" if fits else f", more than the {100 * TOLERANCE:.0f} % that are let pass")
    )
    return fits


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="record these counts")
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)  # what runs under valgrind
    args = parser.parse_args(argv)
    if args.steps:
        steps(args.steps)
        return None
    here = {"Python": platform.python_version(), "NumPy": np.__version__, "processor": platform.machine()}
    counts = {"Python calls": python_calls(), "instructions": instructions()}
    if args.record:
        RECORD.write_text(json.dumps(here | counts, indent=1) + "\n", encoding="utf-8")
    recorded = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    if {name: recorded.get(name) for name in here} != here:
        print(f"recorded with {recorded}, so the counts may differ by a few percent from those of {here}")
    fits = [compare(what, count, recorded.get(what)) for what, count in counts.items() if count is not None]
    return 0 if all(fits) else 1


if __name__ == "__main__":
    raise SystemExit(main())
