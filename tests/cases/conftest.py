"""What users do with adapters, as reported of LoRA-like ones. PEFT's LoRA, on the same model, says what is right."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# With --import-mode=importlib a test's neighbours are no modules by themselves.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of a hub: models are made here, and a folder is never taken for the name of a repository."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
