"""The checks are written once, in modules beside the tests, and applied to models of every kind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# With --import-mode=importlib a test's neighbours are no modules by themselves.
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
pytest.register_assert_rewrite("subjects", *(path.stem for path in HERE.glob("check_*.py")))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of a hub: models are made here, and a folder is never taken for the name of a repository."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
