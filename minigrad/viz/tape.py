"""The recording to draw from: `with viz.record() as tape:`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from minigrad.engine import watch
from minigrad.recording import Recording

Tape = Recording


@contextlib.contextmanager
def record() -> Iterator[Tape]:
    with watch(Tape()) as tape:
        yield tape
