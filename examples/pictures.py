"""Pictures for the examples: the look they share, one decorator that makes and saves a figure, and lines to draw."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DARK = "#3b4652"


def pyplot() -> Any:
    """matplotlib.pyplot, drawing to files; or None where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
            "grid.color": "#e6eaee", "axes.edgecolor": "#8793a0", "axes.axisbelow": True,
            "axes.titleweight": "bold", "legend.frameon": False,
            "savefig.dpi": 130, "figure.constrained_layout.use": True,
        }
    )  # fmt: skip
    return plt


def picture(rows: int = 1, columns: int = 1, size: tuple[float, float] = (7, 4.4)) -> Callable[..., Any]:
    """@picture(1, 2) turns draw(results, left, right), which draws on two axes, into draw(results, path)."""

    def decorate(draw: Callable[..., None]) -> Callable[[Any, Path], None]:
        def draw_to(results: Any, path: Path) -> None:
            plt = pyplot()
            figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
            draw(results, *axes.flat)
            for axis in axes.flat:
                if not axis.has_data():
                    axis.remove()
            save_picture(figure, path)
            plt.close(figure)

        return draw_to

    return decorate


def save_picture(figure: Any, path: Path) -> None:
    write_whole(path, lambda part: figure.savefig(part, format=path.suffix[1:], bbox_inches="tight"))


def band(axis: Any, x: Any, curves: Any, color: str, label: str) -> None:
    """Curves of several seeds, (seeds, points), as a line, their median, and a band from the lowest to the highest."""
    axis.plot(x, np.median(curves, 0), color=color, label=label)
    axis.fill_between(x, np.min(curves, 0), np.max(curves, 0), color=color, alpha=0.15, linewidth=0)


def level(axis: Any, y: float, dashes: str, label: str) -> None:
    """A horizontal line to compare with."""
    axis.axhline(y, color=DARK, linestyle=dashes, linewidth=1, label=label, zorder=1)


def legend_below(axis: Any) -> None:
    axis.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write under a temporary name, then rename: the file is complete, or it is not there."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
