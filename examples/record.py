"""Run the examples at their full setting, keep figures and pictures in results/, and write README.md from them.

python examples/record.py                     all of them, one after the other
python examples/record.py digits cartpole     these
python examples/record.py --words             no runs: the recorded figures are put into words again, and on the page
python examples/record.py --article           no runs: article.md is written from the recorded figures
python examples/record.py --readme            no runs: so are the tables in the project's README.md
"""

from __future__ import annotations

from story import tell, write_text  # isort: skip (first: it hears Ctrl-C while the others load)

import argparse
import ast
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import article
import readme_tables

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ORDER = {  # in learning order
    "From scores to weights": [
        "softmax_tour", "staircase", "soft_vs_hard", "too_sure", "amplification", "temperature", "estimator_bias",
    ],
    "Attention at work": [
        "translate", "char_gpt", "pretrained", "digits", "memory_network", "recommend", "cartpole", "long_attention",
        "since",
    ],
    "Looking inside": ["draw_graph", "diagnose_gradients"],
}  # fmt: skip
NAMES = [name for names in ORDER.values() for name in names]
FLAGS = {"soft_vs_hard": ["--full", "--seeds", "5"]}
PICTURES = {"draw_graph": "gallery/walk.png", "diagnose_gradients": "gallery/soft_and_hard.svg"}  # others: results/

WIDE = "&nbsp;" * 44  # a first column this wide shows the thumbnails at their size

INTRODUCTION = """# The examples

Each is a story to run, such as `.venv/bin/python examples/translate.py`. Its first lines, and `--help`, say what you
will see; `--quick` gives a first look in less than 20 seconds. An example writes its figures and its picture into
`--out` (`out/` if left out), here `translate.json` and `translate.png`, and then prints what it found; a first look has
files of its own, `translate_quick.json` and `translate_quick.png`. Examples that compare runs take `--seeds N`. Ctrl-C
ends any of them. Pictures need matplotlib, `digits.py` needs scikit-learn and `cartpole.py` Gymnasium:
`.venv/bin/pip install -e '.[examples]'` has them all.

Before them, to be read rather than run: [`micro.py`](micro.py), the whole idea in 120 lines of NumPy, without minigrad.

`python examples/record.py` runs all of them and writes this page from the figures in [`results/`](results). They are
medians over seeds; the tables that the examples print show the ranges, too. Measured {when} on {machines}."""


def record(name: str) -> None:
    """One full run. What it wrote replaces the record when it is complete."""
    with tempfile.TemporaryDirectory(dir=HERE) as folder:  # beside results/, so that moving there is one step
        out = Path(folder)
        command = [sys.executable, str(HERE / f"{name}.py"), "--out", str(out), *FLAGS.get(name, [])]
        code = run(command)
        if code:
            sys.exit(code if code == 130 else f"{name} failed; its old record stands")
        for path in (*out.glob(f"{name}*.png"), out / f"{name}.json"):
            if path.exists():
                os.replace(path, RESULTS / path.name)


def run(command: list[str]) -> int:
    """Run a program to its exit code. Ctrl-C is passed on to it, so that it alone says a last line."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    before = signal.signal(signal.SIGINT, lambda *_: program.send_signal(signal.SIGINT))
    try:
        return program.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def put_into_words(name: str) -> None:
    """Write into the record what the program, as it is now, says of the recorded figures."""
    found = figures(name)
    found["in_words"] = importlib.import_module(name).in_words(found)
    write_text(RESULTS / f"{name}.json", json.dumps(found) + "\n")


def figures(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def page() -> str:
    measured = [figures(name)["measured"] for name in NAMES]
    days = sorted({m["on"] for m in measured})
    machines = sorted({f"{m['cores']} cores with Python {m['python']} and NumPy {m['numpy']}" for m in measured})
    when = f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}"
    lines = [INTRODUCTION.format(when=when, machines="; ".join(machines))]
    for heading, names in ORDER.items():
        lines += ["", f"## {heading}", "", f"| {WIDE} | | what was measured | time |", "|---|---|---|---|"]
        for name in names:
            picture = PICTURES.get(name, f"results/{name}.png")
            found = figures(name)
            cells = (
                f'<a href="{picture}"><img src="{picture}" width="240" alt="{name}"></a>',
                f"[`{name}.py`]({name}.py)<br>{subject(name)}",
                " ".join(["**{}**".format(found["in_words"][0]), *found["in_words"][1:]]),
                duration(found["seconds"]).replace(" ", "&nbsp;"),
            )
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def subject(name: str) -> str:
    """The first line of the example's docstring."""
    return (ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))) or "").splitlines()[0]


def duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{max(1, round(seconds))} s"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)}")
    parser.add_argument("--words", action="store_true", help="no runs: only words and page, from what is recorded")
    parser.add_argument("--article", action="store_true", help="no runs: only article.md, from what is recorded")
    parser.add_argument("--readme", action="store_true", help="no runs: only README.md's tables, from what is recorded")
    args = parser.parse_args(argv)
    if args.article:
        write_text(HERE / "article.md", article.page())
    if args.readme:
        write_text(readme_tables.README, readme_tables.updated(readme_tables.README.read_text(encoding="utf-8")))
    if args.article or args.readme:
        return
    unknown = set(args.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no example {', '.join(sorted(unknown))}")
    for name in args.names or NAMES:
        if args.words:
            put_into_words(name)
        else:
            print(f"\n=== {name}", flush=True)
            record(name)
    missing = [name for name in NAMES if not (RESULTS / f"{name}.json").exists()]
    if missing:
        print(f"no page yet: there is no record of {', '.join(missing)}")
    else:
        write_text(HERE / "README.md", page())
        write_text(HERE / "article.md", article.page())


if __name__ == "__main__":
    tell(main)
