"""These tests are collected where Ray is installed: `nox -s ray`."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "execution"))  # the training that takes no time

collect_ignore = [] if find_spec("ray") else ["test_on_ray.py"]
