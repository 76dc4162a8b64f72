"""The examples are programs in a folder, not a package: here they can be imported by their names."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

# A shell's background jobs ignore Ctrl-C, and so would the examples that these tests start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)
