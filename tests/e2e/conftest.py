"""The module that runs commands in processes of their own lies beside the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# With --import-mode=importlib a test's neighbours are no modules by themselves.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("command")
