"""One training step of a small GPT, side by side: minigrad, PyTorch eager, and others on request.

    python tests/benchmarks/train_step.py                          all five rows, about twenty minutes
    python tests/benchmarks/train_step.py --rows 1 4 --rounds 9    some rows, more rounds
    python tests/benchmarks/train_step.py --peers                  torch.compile, JAX jit, HIPS autograd as well
    python tests/benchmarks/train_step.py --profile                where minigrad's step spends its time, op by op
    python tests/benchmarks/train_step.py --growth                 how the cost of a step grows with the model

To measure anew what the README shows, on a machine that does nothing else:

    python tests/benchmarks/train_step.py --json tests/benchmarks/results/train_step.json
    python tests/benchmarks/train_step.py --readme                 writes the README's table from that file

What is measured: forward, backward and AdamW of a GPT with pre-norm blocks, causal attention, tanh-GELU and a head of
its own, vocabulary 65, float32. All libraries start from the same weights and see the same batches of random ids; they
must have the same number of parameters and make the same losses, or the benchmark stops. PyTorch's AdamW is measured as
it comes and fused, its faster form. In two processes of one thread each, half a batch on each, minigrad trains over MPI
(minigrad.training.parallel), PyTorch with DistributedDataParallel over gloo and the fused AdamW.

How: each library and setting runs in a process of its own, since thread pools that share one disturb each other.
A round is one process for each setting, in turn, every other round backwards. Each process makes a few steps to warm
up, sleeps 0.3 s, so that no thread is still spinning, and then times step after step: its figure is the median step.
Only ratios within a round count, as the speed of a machine changes by the minute; of these we give the median.

The limit: the matrix products of a step, and nothing else, are timed in the same process, with PyTorch's product or
NumPy's. "step / products" says how far the step is from it. That is for contiguous arrays of the shapes in question;
the products of causal attention are counted in full.

The parts: step_models.py what is trained, step_process.py one measurement, step_compare.py rounds and figures,
step_tables.py, step_machine.py, step_growth.py. step_cost.py counts instead of timing: for a busy machine.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from step_compare import check_same_model, libraries_beside, measure_row, settings
from step_growth import growth
from step_machine import kernels_to_measure, machine, print_machine
from step_models import ROWS
from step_process import in_process
from step_tables import print_row, print_summary, with_table

RECORD = Path(__file__).parent / "results" / "train_step.json"
README = Path(__file__).parents[2] / "README.md"


def compare(args, kernels):
    """Measure and print the rows. Returns every figure."""
    libraries = libraries_beside(args.peers)
    rows = []
    for number in args.rows:
        size, found = ROWS[number - 1], settings(kernels, libraries)
        measure_row(size, found, args.rounds, args.seconds, f"row {number}")
        check_same_model(found)
        print_row(number, size, found)
        if args.profile:
            print(f"\nminigrad, {in_process('profiled', asdict(size))}")
        rows.append((number, size, found))
    print_summary(rows)
    imports = {s.library: s.median("import_ms") for s in rows[0][2] if s.rounds}
    print(f"\nimport, beyond NumPy: {', '.join(f'{name} {ms:.0f} ms' for name, ms in imports.items())}")
    return [
        {"row": number, "size": asdict(size), "settings": [asdict(setting) for setting in found]}
        for number, size, found in rows
    ]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = range(1, len(ROWS) + 1)
    parser.add_argument("--rows", type=int, nargs="+", choices=numbers, default=[*numbers], help="default: all")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing in each process (default 1)")
    parser.add_argument("--peers", action="store_true", help="torch.compile, JAX jit, HIPS autograd where installed")
    parser.add_argument("--profile", action="store_true", help="print time per op and module for each row")
    parser.add_argument("--growth", action="store_true", help="how cost grows with the model, instead of the rows")
    parser.add_argument("--kernels", metavar="NAME", help="a third OPENBLAS_CORETYPE to measure, such as HASWELL")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    parser.add_argument("--readme", action="store_true", help="measure nothing: write the README's table anew")
    args = parser.parse_args(argv)
    if args.readme:
        README.write_text(with_table(README.read_text("utf-8"), json.loads(RECORD.read_text("utf-8"))), "utf-8")
        return print(f"{README.name}: its table is that of {RECORD.name}")
    if args.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {args.rounds}")
    if args.json and not args.json.parent.is_dir():
        parser.error(f"--json: there is no folder {args.json.parent}")

    about = machine()
    print_machine(about)
    results = {"machine": about}
    if args.growth:
        results["growth"] = growth(args.rounds, args.seconds)
    else:
        results["rows"] = compare(args, kernels_to_measure(about["BLAS kernels"], args.kernels))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
        print(f"figures: {args.json}")


if __name__ == "__main__":
    main()
