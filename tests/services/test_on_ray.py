"""A study on a Ray cluster of two nodes, one of which is lost."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import fakes
import pytest
from ray.cluster_utils import Cluster
from rich.console import Console

from lrlora.studies.execution import driver

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1200), pytest.mark.usefixtures("known_content")]


def test_failures_are_outcomes_and_the_cell_of_a_lost_node_is_begun_again(
    cluster: Cluster, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "ATTEMPTS", 1)
    out, notes = tmp_path / "out", tmp_path / "notes"
    lost = cluster.list_all_nodes()[-1]

    def lose() -> None:
        while not notes.exists() or len(list(notes.iterdir())) < 2:
            time.sleep(0.1)
        cluster.remove_node(lost, allow_graceful=False)
        cluster.add_node(num_cpus=1)

    thread = threading.Thread(target=lose, daemon=True)
    thread.start()
    run_cell: Any = fakes.training(notes, {"r=3": "hang", "r=4": "raise", "r=5": "exit"}, seconds=2)
    said = Console(file=io.StringIO())
    on_cluster = {"executor": "ray", "address": cluster.address, "workers": None, "cell_timeout": 60}
    results = fakes.drive(fakes.study(5), out, store, run_cell, said, **on_cluster)
    thread.join()
    found = {record["variant"]: record for record in results.records}
    assert [found[f"r={r}"]["status"] for r in range(1, 6)] == ["finished"] * 2 + ["failed"] * 3
    assert found["r=3"]["reason"] == "it ran longer than the limit of 60 s (--cell-timeout)"
    assert "ValueError: this cell does not work" in found["r=4"]["reason"]
    assert "the worker ended" in found["r=5"]["reason"]
    begun = fakes.notes_of(notes)
    assert sorted(begun[found[f"r={r}"]["cell"]] for r in (1, 2)) == [1, 2], "one of the first two was on the lost node"
    runs = fakes.runs(out)
    assert Counter(status for _, status, _ in runs) == {"FINISHED": 2, "FAILED": 3}
    assert all(steps == [1, 2, 3] for _, status, steps in runs if status == "FINISHED"), "no step is recorded twice"
    assert len(list(out.glob("artifacts/*/artifacts/adapter/adapter.txt"))) == 2
