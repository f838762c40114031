"""Modules beside the tests can be imported by them."""

from __future__ import annotations

import sys
from pathlib import Path

# With --import-mode=importlib a test's neighbours are no modules by themselves.
sys.path.insert(0, str(Path(__file__).parent))
