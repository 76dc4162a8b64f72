from __future__ import annotations

from dataclasses import asdict

import pytest
from runs import CONFIG, Run


@pytest.fixture
def saved(tmp_path):
    """A checkpoint of a run after three steps."""
    return (
        Run()
        .train(3)
        .save(
            tmp_path / "run.npz", step=3, config=asdict(CONFIG), vocabulary="abcdefghij\n", notes={"loss": [2.5, 2.25]}
        )
    )
