"""The memory of a cell is its own, whatever ran before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrlora.studies.execution.executor import Ended
from lrlora.studies.execution.local import LocalExecutor
from lrlora.studies.spec.cells import expand_cells
from lrlora.studies.spec.study import Study

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_cell_has_one_peak_memory_first_and_last_in_a_study(tmp_path: Path) -> None:
    study = Study.from_dict(
        {
            "name": "memory",
            "base": {},
            "baselines": {"frozen": {"method": "frozen"}, "full": {"method": "full"}},
            "seeds": [1],
            "training": {"steps": 4, "batch_size": 8, "max_length": 32, "train_examples": 64}
            | {"validation_examples": 32, "test_examples": 32},
        }
    )
    frozen, full = expand_cells(study)
    executor = LocalExecutor(tmp_path / "work", tmp_path / "logs")
    records = []
    try:
        for cell in (frozen, full, frozen):
            handle, found = executor.submit(cell), None
            while found is None:
                found = next((event for _, event in executor.events(1.0) if isinstance(event, Ended)), None)
            records.append(found.record)
            executor.release(handle)
    finally:
        executor.close()
    assert [record["reason"] for record in records] == [None] * 3
    first, between, last = (record["peak_memory_bytes"] for record in records)
    assert first == pytest.approx(last, rel=0.02)
    assert between > first
    assert records[0]["train_loss"] == records[2]["train_loss"]
