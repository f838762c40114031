"""What the tests of faults share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# With --import-mode=importlib a test's neighbours are no modules by themselves, and workers import them by name.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "unit" / "execution")]


@pytest.fixture(autouse=True)
def known_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither data nor weights are needed where nothing is trained."""
    from lrlora.studies.spec.fingerprints import Fingerprints

    monkeypatch.setattr(Fingerprints, "data", lambda self, task: {"train": "1", "test": "2"})
    monkeypatch.setattr(Fingerprints, "weights", lambda self, backbone: "3")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without a run."""
    from lrlora.studies.record.store import open_client

    folder = tmp_path_factory.mktemp("store")
    open_client(folder)
    return folder / "mlflow.db"
