"""Benchmarks of the real model, as short as they can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrlora.studies.cli.main import run

pytestmark = pytest.mark.e2e
SHORT = ["--threads", "1", "--bases", "sinc", "--beside", "lora"]


def rows_of(arguments: list[str], folder: Path) -> list[dict[str, object]]:
    file = folder / "found.json"
    assert run(["bench", *arguments, "--json", str(file)]) == 0
    rows: list[dict[str, object]] = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return rows


def test_a_step_has_operations_first_step_and_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(["step", *SHORT, "--tokens", "2x8", "--steps", "2", "--trained", "1"], tmp_path)
    assert [row["name"] for row in rows] == ["lora", "sinc"]
    assert {"ratio", "operations", "first_ratio", "memory_ratio", "peak_mib"} <= rows[1].keys()
    assert rows[0]["first_ratio"] == rows[0]["memory_ratio"] == 1
    assert "peak memory, × LoRA" in capsys.readouterr().out


def test_grid_points_are_compared_with_each_other(tmp_path: Path) -> None:
    steps = ["--tokens", "2x8", "--steps", "1", "--trained", "1", "--threads", "1"]
    rows = rows_of(["grid-points", *steps, "--few", "4", "--many", "9"], tmp_path)
    assert [(row["name"], row["config"]["num_grid_points"]) for row in rows] == [  # type: ignore[index]
        ("N = 4", 4),
        ("N = 9", 9),
    ]


def test_a_cell_says_where_its_time_goes(tmp_path: Path) -> None:
    rows = rows_of(["cell", *SHORT, "--rounds", "1", "--steps", "1"], tmp_path)
    assert [row["name"] for row in rows] == ["lora", "sinc"]
    for row in rows:
        (phases,) = row["phases"]  # type: ignore[misc]
        assert list(phases) == ["start", "load", "train", "evaluate"]
        assert all(0 < seconds < row["seconds"] for seconds in phases.values())
