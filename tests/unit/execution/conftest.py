"""What the tests of the driver share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# With --import-mode=importlib a test's neighbours are no modules by themselves, and workers import them by name.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without a run."""
    from lrlora.studies.execution.folder import make_store

    folder = tmp_path_factory.mktemp("store")
    make_store(folder)
    return folder / "mlflow.db"
