"""Which exercises there are. Each is a file in `exercises/`, to be copied and completed; its number is the order."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigrad import engine
from minigrad.optim import rules
from minigrad.tensors.operators import OPS

STUBS = Path(__file__).parent / "exercises"


@dataclass(frozen=True)
class Exercise:
    """One file to complete: "09_softmax.py" is the exercise "softmax"."""

    file: str
    name: str
    stub: str  # the file as it is copied
    about: str  # the first sentence of its docstring

    @property
    def pages(self) -> tuple[Callable[..., Any], ...]:
        """Where minigrad has done it; () for a bug to find."""
        if self.name in OPS:
            return (inspect.unwrap(OPS[self.name]),)
        return PAGES.get(self.name, ())


PAGES: dict[str, tuple[Callable[..., Any], ...]] = {  # of the exercises that are not an op of the same name
    "broadcasting": (engine.unbroadcast,),
    "attention_in_steps": (inspect.unwrap(OPS["attention"]),),
    "gru_step": (inspect.unwrap(OPS["gru"]),),
    "backward": (engine.backward, engine.newest_first),
    "adam": (rules.adam,),
}

MENDED = {  # of each bug: the lines as they are, and as they should be
    "bug_stands_still": (
        "        size = np.sqrt((h.numpy() ** 2).sum(-1, keepdims=True))\n        h = h.numpy() / size",
        "        size = mg.sqrt((h**2).sum(axis=-1, keepdims=True))\n        h = h / size",
    ),
    "bug_hardly_learns": (
        "first, second = rng.normal(size=(D, HIDDEN)),",
        "first, second = rng.normal(size=(D, HIDDEN)) / np.sqrt(D),",
    ),
    "bug_gradcheck_fails": (
        "keepdims=True), lambda grad_y: grad_y\n",
        "keepdims=True), lambda grad_y: grad_y - grad_y.mean(-1, keepdims=True)\n",
    ),
    "bug_nan": ("p * mg.log(p), 0.0)", "p * mg.log(mg.where(p > 0, p, 1.0)), 0.0)"),
    "bug_never_fits": ("error = model(x) - y", "error = model(x)[:, 0] - y"),
    "bug_too_good": ("np.triu(", "np.tril("),
}


def _exercise(path: Path) -> Exercise:
    stub = path.read_text(encoding="utf-8")
    about = (ast.get_docstring(ast.parse(stub)) or "").partition(".")[0]
    return Exercise(f"{path.stem}.py", path.stem.partition("_")[2], stub, about)


EXERCISES = {exercise.name: exercise for exercise in map(_exercise, sorted(STUBS.glob("*.txt")))}
