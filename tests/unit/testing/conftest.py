"""The galleries of faults lie beside the tests, and draw on each other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# With --import-mode=importlib a test's neighbours are no modules by themselves.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("gallery", *(path.stem for path in Path(__file__).parent.glob("faulty_*.py")))
