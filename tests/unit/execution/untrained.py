"""Fixtures of the tests that train nothing: what the driver would read of data, weights and stores."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def known_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither data nor weights are needed where nothing is trained."""
    from lrlora.studies.spec.fingerprints import Fingerprints

    monkeypatch.setattr(Fingerprints, "data", lambda self, task, split: split)
    monkeypatch.setattr(Fingerprints, "weights", lambda self, backbone: "3")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without a run."""
    from lrlora.studies.record.store import open_client

    folder = tmp_path_factory.mktemp("store")
    open_client(folder)
    return folder / "mlflow.db"
