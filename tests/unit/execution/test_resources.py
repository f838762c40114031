"""How many cells run at a time, and on what."""

from __future__ import annotations

from typing import Any

import pytest

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.resources import Execution, choose_resources, cores
from lrlora.studies.spec.study import Study


def choose(gpus: int = 0, cells: int = 100, study: dict[str, Any] | None = None, **asked: Any) -> tuple[int, list[str]]:
    declared = Study.from_dict({"name": "tiny"} | (study or {}))
    found = choose_resources(Execution(**asked), declared, cells, lambda: gpus)
    assert found.threads == asked.get("threads_per_cell", 1), "which never follows from the number of workers"
    return found.workers, list(found.gpus)


@pytest.fixture(autouse=True)
def _all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_worker_for_each_core_and_none_without_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose() == (cores(), [])
    monkeypatch.setattr("lrlora.studies.execution.resources.cores", lambda: 8)
    assert choose() == (8, [])
    assert choose(cells=3) == (3, [])
    assert choose(cells=0) == (1, [])
    assert choose(threads_per_cell=4) == (2, [])
    assert choose(threads_per_cell=16) == (1, [])
    assert choose(workers=5, threads_per_cell=4) == (5, [])
    assert choose(study={"metric": {"name": "step_seconds", "direction": "minimize"}}) == (1, [])


def test_gpus_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(gpus=4) == (4, ["0", "1", "2", "3"])
    assert choose(gpus=4, gpus_per_cell=2) == (2, ["0,1", "2,3"])
    assert choose(gpus=4, cells=1) == (1, ["0"])
    assert choose(gpus=4, gpus_per_cell=0, workers=2) == (2, ["", ""])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 7")
    assert choose(gpus=2) == (2, ["5", "7"])
    with pytest.raises(StudyError, match="needs 3 GPUs, and 2 are visible"):
        choose(gpus=2, workers=3)


@pytest.mark.parametrize("asked", [{"workers": 0}, {"threads_per_cell": 0}, {"cell_timeout": 0.0}, {"executor": "k8s"}])
def test_what_cannot_be_is_refused_in_one_line(asked: dict[str, Any]) -> None:
    with pytest.raises(StudyError) as caught:
        Execution(**asked)
    assert "\n" not in str(caught.value)
