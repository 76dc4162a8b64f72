"""The machine that train_step.py runs on: its CPU, the kernels OpenBLAS has for it, and whether it is busy."""

from __future__ import annotations

import datetime
import importlib.util
import os
import platform
from pathlib import Path

from step_process import in_process


def kernels_to_measure(default, forced):
    """{name: environment variables}: OpenBLAS's default kernels, and the best ones where those are others.

    `default` is the name of the kernels OpenBLAS chooses by itself, `forced` those the user asks for.
    """
    found = {f"default kernels ({default})": {}}
    if default in ("Haswell", "Zen", "Sandybridge") and has_avx512():
        found["best kernels (SkylakeX)"] = {"OPENBLAS_CORETYPE": "SKYLAKEX"}
        print(
            f"OpenBLAS takes its {default} kernels here although the CPU has AVX-512. OPENBLAS_CORETYPE=SKYLAKEX, set\n"
            f"before NumPy is imported, chooses faster ones; minigrad does not set it for you, we measure both."
        )
    elif default != "default":  # which means that NumPy's library does not tell
        print(f"OpenBLAS's default kernels are {default} here, and we know of none better for this CPU.")
    if forced:
        found[f"{forced} kernels"] = {"OPENBLAS_CORETYPE": forced}
    return found


def has_avx512():
    """What OpenBLAS's SKYLAKEX kernels need (Linux only: elsewhere we cannot tell)."""
    return {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= set(_cpuinfo().split())


def _cpuinfo():
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def machine():
    """CPU, versions and settings, for the head of the table and the JSON file."""
    names = [line.split(":")[1].strip() for line in _cpuinfo().splitlines() if line.startswith("model name")]
    found = {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        **in_process("environment"),
    }
    if importlib.util.find_spec("torch"):
        from importlib.metadata import version

        found["torch"] = version("torch")
    return found


def print_machine(about):
    print(
        f"{about['cpu']}, {about['cores']} cores; Python {about['python']}, NumPy {about['NumPy']}, {about['BLAS']}"
        + (f", PyTorch {about['torch']}" if "torch" in about else "")
    )
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.3 * about["cores"]:
        print(
            f"Other programs are running (load {os.getloadavg()[0]:.1f} on {about['cores']} cores): "
            f"expect noise, above all where several threads work together."
        )
