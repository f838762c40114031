"""What the tests of faults share."""

from __future__ import annotations

import sys
from pathlib import Path

# With --import-mode=importlib a test's neighbours are no modules by themselves, and workers import them by name.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "unit" / "execution")]

from untrained import known_content, store  # noqa: E402, F401  # fixtures of the tests in this folder
