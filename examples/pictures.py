"""Pictures for the examples: the look they share, one decorator that makes and saves a figure, and lines to draw."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

DARK = "#3b4652"
# Okabe and Ito's colours, told apart with any colour vision, as "C0" to "C6". On a dark page the blues change places.
SKY, BLUE, VERMILION, ORANGE, GREEN, PURPLE = "#56B4E9", "#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7"
LIGHT_CYCLE = [BLUE, VERMILION, ORANGE, GREEN, PURPLE, SKY, "#6b7683"]
DARK_CYCLE = [SKY, VERMILION, ORANGE, GREEN, PURPLE, "#9ecae1", "#a9b4c0"]
ON_DARK = {
    "figure.facecolor": "#0d1117", "axes.facecolor": "#0d1117", "savefig.facecolor": "#0d1117",
    "text.color": "#e6edf3", "axes.labelcolor": "#e6edf3", "axes.edgecolor": "#8793a0", "axes.titlecolor": "#e6edf3",
    "xtick.color": "#c3ccd5", "ytick.color": "#c3ccd5", "grid.color": "#262d36",
}  # fmt: skip


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


def picture(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (7, 4.4), dark: bool = False, **subplots: Any
) -> Callable[..., Any]:
    """@picture(1, 2) turns draw(results, left, right), which draws on two axes, into draw(results, path).

    With dark=True a second picture, for dark pages, is drawn to the same path with _dark at the end of its name.
    """

    def decorate(draw: Callable[..., None]) -> Callable[[Any, Path], None]:
        def draw_to(results: Any, path: Path) -> None:
            plt = pyplot()
            themes = {path: ({}, LIGHT_CYCLE), path.with_stem(f"{path.stem}_dark"): (ON_DARK, DARK_CYCLE)}
            for place, (theme, cycle) in list(themes.items())[: 1 + dark]:
                with plt.rc_context({**theme, "axes.prop_cycle": plt.cycler(color=cycle)}):
                    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **subplots)
                    draw(results, *axes.flat)
                    for axis in axes.flat:
                        if not axis.has_data():
                            axis.remove()
                    save_picture(figure, place)
                    plt.close(figure)

        return draw_to

    return decorate


def save_picture(figure: Any, path: Path) -> None:
    write_whole(path, lambda part: figure.savefig(part, format=path.suffix[1:], bbox_inches="tight"))


def band(axis: Any, x: Any, curves: Any, color: str, label: str | None = None, **line: Any) -> str:
    """Curves of several seeds, (seeds, points), as a line, their median, and a band from the lowest to the highest.

    Returns the line's colour.
    """
    drawn = axis.plot(x, np.median(curves, 0), color=color, label=label, **line)[0]
    axis.fill_between(x, np.min(curves, 0), np.max(curves, 0), color=color, alpha=0.15, linewidth=0)
    return str(drawn.get_color())


def label(axis: Any, x: float, y: float, text: str, color: str, **text_settings: Any) -> None:
    """Name a line where it ends, at the point (x, y), in its own colour (a little darker on white, to be legible)."""
    from matplotlib.colors import to_rgb

    shade = tuple((1.0 if dark(axis) else 0.72) * part for part in to_rgb(color))
    settings = {"xytext": (6, 0), "va": "center", "fontweight": "bold", "fontsize": 9} | text_settings
    axis.annotate(text, (x, y), textcoords="offset points", color=shade, annotation_clip=False, **settings)


def dark(axis: Any) -> bool:
    return sum(axis.get_facecolor()[:3]) < 1.5


def labels(axis: Any, ends: Mapping[str, tuple[float, str]], gap: float = 0.062) -> None:
    """Name lines at the right edge: {name: (y at the line's end, colour)}; names too close together move apart.

    To be called when the axis has its limits. `gap` is the least distance, as a part of the axis' height.
    """
    to_part = axis.transData + axis.transAxes.inverted()
    order = sorted(ends, key=lambda name: -ends[name][0])
    places = [float(to_part.transform((0, ends[name][0]))[1]) for name in order]
    for i in range(1, len(places)):
        places[i] = min(places[i], places[i - 1] - gap)
    places[-1] = max(places[-1], 0.0)
    for i in reversed(range(len(places) - 1)):
        places[i] = max(places[i], places[i + 1] + gap)
    for name, place in zip(order, places, strict=True):
        label(axis, 1, place, name, ends[name][1], xycoords="axes fraction")


def level(axis: Any, y: float, dashes: str, label: str | None = None) -> tuple[float, str]:
    """A horizontal line to compare with. Returns its height and colour, for `labels`."""
    color = axis.xaxis.label.get_color() if dark(axis) else DARK
    axis.axhline(y, color=color, linestyle=dashes, linewidth=1, label=label, zorder=1)
    return y, color


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write under a temporary name, then rename: the file is complete, or it is not there."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
