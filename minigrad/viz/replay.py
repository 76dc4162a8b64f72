"""The training replay: one HTML file that shows how weights change in training: `viz.replay(runs, path)`.

The weights of several runs stand side by side, with a slider over the steps. A weight is kept as one byte, so the page
is small; what it shows differs from the recording by at most 1/510.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minigrad.debug.recording import Array
from minigrad.engine import Tensor
from minigrad.viz import layout
from minigrad.viz.notebook import Page
from minigrad.viz.words import plain


@dataclass
class Run:
    """What one training run looked like, at some of its steps. `add` one after the other."""

    name: str
    steps: list[int] = field(default_factory=list)
    weights: list[Array] = field(default_factory=list)  # (n_queries, n_keys) each
    accuracy: list[float] = field(default_factory=list)
    gradient: list[float] = field(default_factory=list)

    def add(self, step: int, weights: ArrayLike | Tensor, accuracy: float, gradient: float) -> None:
        """Keep a copy of what is seen at a step.

        Arguments:
            step: how many training steps came before; larger than in the last call.
            weights: (n_queries, n_keys), each from 0 to 1.
            accuracy: the share of right answers, from 0 to 1.
            gradient: the norm of the gradient that arrives at what makes the scores.

        Raises ValueError for weights of another shape or out of range, a step that is not later, numbers that are not
        finite.
        """
        w = np.array(weights.data if isinstance(weights, Tensor) else weights, dtype=np.float64)
        if w.ndim != 2 or w.size == 0 or (self.weights and w.shape != self.weights[0].shape):
            wanted = self.weights[0].shape if self.weights else "(n_queries, n_keys)"
            raise ValueError(f"{self.name}, step {step}: weights have shape {wanted}, not {w.shape}")
        if not (w.min() >= 0 and w.max() <= 1 + 1e-6):  # written so that nan is refused, too
            raise ValueError(f"{self.name}, step {step}: weights lie from 0 to 1, not {w.min():g} to {w.max():g}")
        if self.steps and step <= self.steps[-1]:
            raise ValueError(
                f"{self.name}: step {step} comes after step {self.steps[-1]}; each is added once, in order"
            )
        if not (math.isfinite(accuracy) and math.isfinite(gradient)):
            raise ValueError(f"{self.name}, step {step}: accuracy {accuracy} and gradient {gradient} must be finite")
        self.steps.append(int(step))
        self.weights.append(w)
        self.accuracy.append(float(accuracy))
        self.gradient.append(float(gradient))


def replay(
    runs: Sequence[Run],
    path: Any,
    *,
    queries: Sequence[Any] | None = None,
    keys: Sequence[Any] | None = None,
    title: str = "Which key does each query look at?",
    note: str = "",
) -> Path:
    """Write the training replay of some runs, and return its path; a notebook shows the page itself.

    Arguments:
        runs: a `viz.Run` each, all recorded at the same steps.
        path: a file ending in .html.
        queries, keys: what rows and columns are called: a list, or a string of one character each; else by number.
            If keys are left out they are the queries, where there are as many.
        title, note: the heading, and a sentence about what was trained.

    Raises ValueError for another file ending, no runs, runs of different steps or shapes, or names that are not as many
    as there are rows or columns; OSError where the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".html":
        raise ValueError(f"the replay is saved as .html, not {path.name!r}")
    return Page(layout.write(path, replay_html(recording_of(runs, queries, keys), title, note)))


def recording_of(runs: Sequence[Run], queries: Sequence[Any] | None, keys: Sequence[Any] | None) -> dict[str, Any]:
    """What the page holds, as JSON takes it."""
    if not runs or not runs[0].steps:
        raise ValueError("nothing to replay: pass runs, each with at least one step (run.add(...))")
    first = runs[0]
    for run in runs:
        if run.steps != first.steps or run.weights[0].shape != first.weights[0].shape:
            raise ValueError(
                f"{run.name} and {first.name} cannot stand side by side: {len(run.steps)} and {len(first.steps)} steps "
                f"of weights {[r.weights[0].shape for r in (run, first) if r.weights]}; add the same steps to each"
            )
    shape = first.weights[0].shape
    if keys is None and shape[0] == shape[1]:
        keys = queries
    names = {}
    for what, given, n in (("query", queries, shape[0]), ("key", keys, shape[1])):
        if given is not None and len(given) != n:
            raise ValueError(f"{len(given)} names for {n} {'queries' if what == 'query' else 'keys'}")
        names[what] = [plain(str(name)) for name in given] if given is not None else [str(i) for i in range(n)]
    return {
        "steps": first.steps,
        "queries": names["query"],
        "keys": names["key"],
        "runs": [
            {
                "name": plain(run.name),
                "frames": _frames(run.weights),
                "accuracy": [round(a, 4) for a in run.accuracy],
                "gradient": [float(f"{g:.3g}") for g in run.gradient],
            }
            for run in runs
        ],
    }


def _frames(weights: list[Array]) -> list[str]:
    """One byte a weight, in base64. A frame that is the same as the one before is ""."""
    frames: list[str] = []
    before = b""
    for w in weights:
        now = np.rint(np.minimum(w, 1) * 255).astype(np.uint8).tobytes()
        frames.append("" if now == before else base64.b64encode(now).decode())
        before = now
    return frames


def replay_html(recording: dict[str, Any], title: str, note: str) -> str:
    folder = resources.files("minigrad.viz").joinpath("replay_page")
    page, css, js = (
        folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "style.css", "script.js")
    )
    return layout.fill(
        page,
        {
            "css": css,
            "js": js,
            "title": escape(plain(title)),
            "note": escape(plain(note)),
            "data": layout.script_data(json.dumps(recording, ensure_ascii=False, separators=(",", ":"))),
        },
    )
