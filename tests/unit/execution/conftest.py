"""What the tests of the driver share."""

from __future__ import annotations

import sys
from pathlib import Path

# With --import-mode=importlib a test's neighbours are no modules by themselves, and workers import them by name.
sys.path.insert(0, str(Path(__file__).parent))

from untrained import known_content, store  # noqa: F401  # fixtures of the tests in this folder
