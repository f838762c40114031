"""A study on a Ray cluster of several nodes, one of which is lost."""

from __future__ import annotations

import io
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakes
import pytest
import ray
from ray.cluster_utils import Cluster
from rich.console import Console

from lrlora.studies.record.store import open_client

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    paths = [str(Path(fakes.__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, paths))}}
    ray.init(address=found.address, runtime_env=environment, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    open_client(tmp_path / "store")
    return tmp_path / "store" / "mlflow.db"


def test_failures_are_outcomes_and_the_cell_of_a_lost_node_is_begun_again(
    cluster: Cluster, store: Path, tmp_path: Path
) -> None:
    out, notes = tmp_path / "out", tmp_path / "notes"
    lost = cluster.add_node(num_cpus=1)

    def lose() -> None:
        while not notes.exists() or len(list(notes.iterdir())) < 2:
            time.sleep(0.1)
        cluster.remove_node(lost, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    run_cell: Any = fakes.training(notes, {"r=3": "raise", "r=4": "exit"}, seconds=2)
    said = Console(file=io.StringIO())
    results = fakes.drive(fakes.study(4), out, store, run_cell, said, executor="ray", workers=None)
    thread.join()
    found = {record["variant"]: record for record in results.records}
    assert [found[f"r={r}"]["status"] for r in (1, 2, 3, 4)] == ["finished", "finished", "failed", "failed"]
    assert "ValueError: this cell does not work" in found["r=3"]["reason"]
    assert "the worker ended" in found["r=4"]["reason"]
    runs = fakes.runs(out)
    assert Counter(status for _, status, _ in runs) == {"FINISHED": 2, "FAILED": 2}
    assert all(steps == [1, 2, 3] for _, status, steps in runs if status == "FINISHED"), "no step is recorded twice"
    assert len(list(out.glob("artifacts/*/artifacts/adapter/adapter.txt"))) == 2
