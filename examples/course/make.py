"""Run the course's notebooks and write them, with their outputs, into a folder.

    python examples/course/make.py                      all six, into out/course
    python examples/course/make.py --html               as pages for a browser, too
    python examples/course/make.py 3 4 --out DIR        only some of them

Takes about half a minute. It needs the extra `notebook`: pip install 'minigrad[notebook]'
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

COURSE = Path(__file__).resolve().parent
SOURCES = sorted(COURSE.glob("[1-9]_*.py"))
SETTINGS = {
    "OPENBLAS_NUM_THREADS": "1",  # two notebooks run at once, and threads that wait make both slow
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # pictures go into the notebook
}


def read(source: Path) -> Any:
    """The notebook that a source stands for, not executed."""
    import jupytext

    return jupytext.read(source, fmt="py:percent")


def make(source: Path, out: Path, html: bool = False) -> tuple[Path, float]:
    """Execute one source and write it into `out`. Returns the file, and the seconds it took.

    Raises nbclient's CellExecutionError, with the traceback, where a cell raises an error.
    """
    import nbclient
    import nbformat

    started = time.perf_counter()
    notebook = read(source)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": COURSE}}
    )
    client.execute(env=os.environ | SETTINGS, stderr=subprocess.DEVNULL)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":  # to the notebooks that were made, not to their sources
            cell.source = re.sub(r"\]\((\d_\w+)\.py\)", r"](\1.ipynb)", cell.source)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(COURSE / "course.py", out)  # so that they run from there, too
    path = out / f"{source.stem}.ipynb"
    nbformat.write(notebook, path)
    if html:
        from nbconvert import HTMLExporter

        page, _ = HTMLExporter().from_notebook_node(notebook)
        path.with_suffix(".html").write_text(page.replace(".ipynb", ".html"), encoding="utf-8")
    return path, time.perf_counter() - started


def make_all(sources: Sequence[Path], out: Path, html: bool = False) -> list[tuple[Path, float]]:
    """Two at a time. Raises ImportError where the extra is not installed."""
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(functools.partial(make, out=out, html=html), sources))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "numbers", nargs="*", type=int, metavar="N", help="which notebooks (default: all)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/course"), metavar="DIR", help="default out/course"
    )
    parser.add_argument("--html", action="store_true", help="write pages for a browser, too")
    args = parser.parse_args(argv)
    chosen = [
        source for source in SOURCES if not args.numbers or int(source.stem[0]) in args.numbers
    ]
    if not chosen:
        parser.error(
            f"there are notebooks 1 to {len(SOURCES)}, not {' '.join(map(str, args.numbers))}"
        )
    try:
        made = make_all(chosen, args.out, args.html)
    except ImportError as error:
        parser.error(f"{error}; to run the notebooks: pip install 'minigrad[notebook]'")
    for path, seconds in made:
        print(f"{path} ({seconds:.0f} s)")


if __name__ == "__main__":
    main()
