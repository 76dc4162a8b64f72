"""How the cost of minigrad's step grows with the model: `python tests/benchmarks/train_step.py --growth`."""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace

from step_compare import Setting, progress
from step_models import Size, gflop
from step_process import in_process
from step_tables import print_table


def growth(rounds, seconds):
    """Double one thing at a time, four times, from a small model; minigrad with OpenBLAS's default kernels."""
    base = Size(batch=8, seq_len=32, d_model=64, n_heads=4, n_layers=1)
    print(f"\nHow the cost of a step grows, from {base}. 'arithmetic' is the growth of the matrix products' FLOP.")
    results = []
    for title, name in [
        ("tokens (batch size)", "batch"),
        ("width (d_model)", "d_model"),
        ("depth (n_layers)", "n_layers"),
        ("sequence length, same batch size", "seq_len"),
    ]:
        sizes = [replace(base, **{name: getattr(base, name) * 2**i}) for i in range(5)]
        found = []
        for size in sizes:
            progress(f"growth with {title}: {getattr(size, name)}")
            runs = [in_process("measure", "minigrad", asdict(size), seconds) for _ in range(rounds)]
            found.append(Setting(title, "minigrad", rounds=runs))
        progress("")
        ms = [setting.median("step_ms") for setting in found]
        mb = [setting.median("memory_mb") for setting in found]
        print()
        print_table(
            [title, *(str(getattr(size, name)) for size in sizes), "16 times"],
            [
                ["step ms", *(f"{t:.2f}" for t in ms), ""],
                ["  growth", *_growth(ms)],
                ["  arithmetic", *_growth([gflop(size) for size in sizes])],
                ["peak MB", *(f"{m:.0f}" for m in mb), ""],
                ["  growth", *_growth(mb)],
            ],
        )
        results.append({"doubled": name, "sizes": [asdict(size) for size in sizes], "step_ms": ms, "memory_mb": mb})
    return results


def _growth(values):
    """Each value over the one before, and the last over the first."""
    steps = [f"x{b / a:.2f}" if a > 0 else "" for a, b in itertools.pairwise(values)]
    return ["", *steps, f"x{values[-1] / values[0]:.1f}" if values[0] > 0 else ""]
