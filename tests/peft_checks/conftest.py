"""The checks are written once, in modules beside the tests, and applied to models of every kind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# With --import-mode=importlib a test's neighbours are no modules by themselves.
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
pytest.register_assert_rewrite("subjects", *(path.stem for path in HERE.glob("check_*.py")))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a check that takes a ``subject`` those of the ``SAMPLE`` of its class, or else of its module."""
    sample = getattr(metafunc.cls, "SAMPLE", None) or getattr(metafunc.module, "SAMPLE", None)
    if sample is not None and "subject" in metafunc.fixturenames:
        subjects = sample.of(metafunc.function.__name__)
        metafunc.parametrize("subject", subjects, ids=[subject.name for subject in subjects])


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of a hub: models are made here, and a folder is never taken for the name of a repository."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
