"""Run the examples at their full setting, keep figures and pictures in results/, and write README.md from them.

python examples/record.py                     all of them, one after the other
python examples/record.py digits cartpole     these
python examples/record.py --page              no runs: only the page, from what is recorded
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ORDER = {  # in learning order
    "From scores to weights": ["softmax_tour", "soft_vs_hard", "temperature", "estimator_bias"],
    "Attention at work": [
        "translate",
        "char_gpt",
        "digits",
        "memory_network",
        "recommend",
        "cartpole",
        "long_attention",
    ],
    "Looking inside": ["draw_graph", "diagnose_gradients"],
}
NAMES = [name for names in ORDER.values() for name in names]
PICTURES = {"draw_graph": "gallery/walk.png", "diagnose_gradients": "gallery/soft_and_hard.svg"}  # others: results/

INTRODUCTION = """# The examples

Each is a story to run, such as `.venv/bin/python examples/translate.py`. What it will show stands at its top, and in
`--help`; a first look takes `--quick`, less than 20 seconds. It prints its figures, writes pictures to `--out` (`out/`
if left out) and everything to `--json FILE`; those that compare runs take `--seeds N`. Pictures need matplotlib,
`digits.py` needs scikit-learn and `cartpole.py` Gymnasium: `.venv/bin/pip install -e '.[examples]'` has them all.

This page is written by `python examples/record.py`, which runs all of them, from the figures in [`results/`](results):
medians over seeds; the ranges stand in the tables that each prints. Measured {when} on {machines}."""


def record(name: str) -> None:
    """One full run. What it wrote replaces the record when it is complete."""
    with tempfile.TemporaryDirectory(dir=HERE) as folder:  # beside results/, so that moving there is one step
        out = Path(folder)
        command = [sys.executable, str(HERE / f"{name}.py"), "--out", str(out), "--json", str(out / f"{name}.json")]
        if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
            sys.exit(f"{name} failed; its old record stands")
        for path in (out / f"{name}.png", out / f"{name}.json"):
            if path.exists():
                os.replace(path, RESULTS / path.name)


def subject(name: str) -> str:
    """The first line of the example's docstring."""
    return (ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))) or "").splitlines()[0]


def figures(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{max(1, round(seconds))} s"


def page() -> str:
    measured = [figures(name)["measured"] for name in NAMES]
    days = sorted({m["on"] for m in measured})
    machines = sorted({f"{m['cores']} cores with Python {m['python']} and NumPy {m['numpy']}" for m in measured})
    when = f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}"
    lines = [INTRODUCTION.format(when=when, machines="; ".join(machines))]
    for heading, names in ORDER.items():
        lines += ["", f"## {heading}", "", "| | | what was measured | time |", "|---|---|---|---|"]
        for name in names:
            picture = PICTURES.get(name, f"results/{name}.png")
            found = figures(name)
            cells = (
                f'<a href="{picture}"><img src="{picture}" width="240" alt="{name}"></a>',
                f"[`{name}.py`]({name}.py)<br>{subject(name)}",
                found["in_words"][0],
                duration(found["seconds"]).replace(" ", "&nbsp;"),
            )
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)}")
    parser.add_argument("--page", action="store_true", help="write README.md from what is recorded, without any run")
    args = parser.parse_args(argv)
    unknown = set(args.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no example {', '.join(sorted(unknown))}")
    for name in [] if args.page else args.names or NAMES:
        print(f"\n=== {name}", flush=True)
        record(name)
    missing = [name for name in NAMES if not (RESULTS / f"{name}.json").exists() or "measured" not in figures(name)]
    if missing:
        print(f"no page yet: there is no record of {', '.join(missing)}")
        return
    beside = HERE / ".README.md"
    beside.write_text(page(), encoding="utf-8")
    beside.replace(HERE / "README.md")


if __name__ == "__main__":
    main()
