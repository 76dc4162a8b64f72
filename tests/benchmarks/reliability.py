"""How reliable minigrad is, in figures. Not part of the test run.

    python tests/benchmarks/reliability.py [--quick] [kills] [damage] [ops] [mutants]

kills: a process that saves one checkpoint after another is killed (kill -9) 200 times at a random moment. A checkpoint
    is lost if load() refuses it, or if it does not equal, number by number, the last one saved or the one being saved.
damage: 2,000 damaged checkpoint files: cut off, bits flipped, bytes changed, inserted or zeroed, the zip's directory
    changed, members exchanged (checksums put right), headers that lie about shape or dtype. load() has 10 seconds and
    1 GiB of address space for each. It must raise CheckpointError or return what was saved.
ops: 10,000 random calls of all ops that PyTorch has, against PyTorch: shapes (0 and 1 among the sizes), axes, masks
    and broadcasting as in tests/ops/torch_calls.py, with dtypes mixed and raw arrays beside Tensors. Counted: values or
    gradients that are off by more than 1e-10 of the largest number, or 1e-4 where float32 is computed in. Ops that
    PyTorch does not have are listed.
mutants: every VJP, damaged in its source in one place at a time, and whether gradcheck notices; see mutants.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutants as source_mutants


def ops(times: int) -> dict[str, Any]:
    try:
        import random_calls  # needs torch and hypothesis: pip install 'minigrad[test]'
    except ImportError as error:
        return {"skipped": f"pip install torch hypothesis: {error}"}
    return random_calls.against_pytorch(times)


def kills(times: int) -> dict[str, Any]:
    import checkpoint_damage  # POSIX only

    return checkpoint_damage.kills(times)


def damage(times: int) -> dict[str, Any]:
    import checkpoint_damage

    return checkpoint_damage.damage(times)


def mutants(all_of_them: int) -> dict[str, Any]:
    found = source_mutants.count(source_mutants.FILES, set() if all_of_them else {"softmax", "straight_through"})
    return {**found, "equivalent": len(found["equivalent"])}


PARTS: dict[str, tuple[Callable[[int], dict[str, Any]], int, int]] = {
    "kills": (kills, 200, 10),
    "damage": (damage, 2_000, 150),
    "ops": (ops, 10_000, 200),
    "mutants": (mutants, True, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="a few of each, in some seconds")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if os.name != "posix":
        parser.error("kill -9 and the alarm that ends a hang need a POSIX system")
    sys.path.append(str(Path(__file__).parents[1] / "ops"))  # torch_calls
    for name in args.parts or PARTS:
        measure, full, quick = PARTS[name]
        print(json.dumps({name: measure(quick if args.quick else full)}), flush=True)


if __name__ == "__main__":
    main()
