"""A database server, a tracking server and a Ray cluster of two nodes, which `nox -s services` installs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
BESIDE = [str(TESTS / "services"), str(TESTS / "unit" / "execution"), str(TESTS / "e2e")]
sys.path[:0] = BESIDE  # the servers; training that takes no time; commands in a process of their own

INSTALLED = all(map(find_spec, ("ray", "psycopg", "flask_wtf")))
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]

RAY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""What makes Ray listen on loopback only, if it is set before Ray is imported, and say nothing of its use."""
if INSTALLED:
    # A token of the tests' own: Ray takes, or writes, the user's.
    os.environ |= RAY | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}


@pytest.fixture
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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """PostgreSQL, with a password."""
    from servers import Postgres

    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def mlflow(store: Path) -> Iterator[Any]:
    """MLflow's server, with a password."""
    from servers import Mlflow

    server = Mlflow(store)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes of one CPU each, to which no driver is connected yet."""
    from ray.cluster_utils import Cluster

    # What its workers import: this tree, and the modules beside the tests.
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*BESIDE, before]))
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        found.add_node(num_cpus=1)
        yield found
    finally:
        os.environ["PYTHONPATH"] = before
        found.shutdown()
