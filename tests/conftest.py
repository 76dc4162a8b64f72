"""What all tests share lies in this folder: here it can be imported by its name."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite(
    "agreement", "torch_calls", "more_torch_calls"
)  # a failure there shows the numbers, as in a test
