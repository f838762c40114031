"""Learning rates that nobody means: the run ends, and its record says how."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_backbones import save_backbone
from tiny_studies import run, study, write_tasks


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], str]:
    folder = tmp_path_factory.mktemp("wild")
    return write_tasks(folder)["classes"], save_backbone("bert", folder / "bert")


@pytest.mark.parametrize("method", ["lrlora", "lora", "full"])
@pytest.mark.parametrize("rate", [1e3, 1e12, 1e35])
def test_a_wild_learning_rate_is_an_outcome(
    method: str, rate: float, place: tuple[dict[str, object], str], tmp_path: Path
) -> None:
    base = {"method": method} if method == "full" else {"method": method, "r": 2}
    record = run(study(*place, base=base, learning_rate=rate, steps=3), tmp_path / "files")
    assert record["status"] in ("finished", "diverged"), record["reason"]
    if record["status"] == "diverged":
        assert record["diverged_at"] in (1, 2, 3)
    json.dumps(record)
