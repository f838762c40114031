"""Sharded parameters: two processes on a CPU end where one does (peft #2344, trl #4550)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).with_name("fsdp_worker.py")
VARIANTS = ["lora", "default", "direct", "gaussian, learned grid"]


@pytest.fixture(scope="module")
def two_processes(in_two_processes: Callable[[Path, int], dict[str, Any]]) -> dict[str, Any]:
    """What the worker found, started once for all tests."""
    return in_two_processes(WORKER, 120)


@pytest.mark.parametrize(
    ("way", "variant"),
    [
        *((way, variant) for way in ("FSDP2", "FSDP1", "FSDP1 by PEFT's policy") for variant in VARIANTS),
        ("FSDP2", "shared in blocks"),
        ("FSDP1", "shared in blocks"),
        ("FSDP2, parts first", "shared"),
    ],
)
def test_two_processes_end_where_one_does(way: str, variant: str, two_processes: dict[str, Any]) -> None:
    found = two_processes[f"{way}, {variant}"]
    assert "error" not in found, found["error"]
    assert found["keys"] == []
    assert found["moved"] > 1e-3
    assert max(found["losses"], found["weights"], found["outputs"]) < 1e-5, found


@pytest.mark.parametrize("way", ["FSDP1", "FSDP1 by PEFT's policy"])
def test_a_theta_that_units_share_is_refused(way: str, two_processes: dict[str, Any]) -> None:
    said = two_processes[f"{way}, shared"]["error"].strip().splitlines()[-1]
    assert said.startswith("ValueError: 0.up.lrlora_"), said
    assert said.endswith("or shard these layers as one unit"), said
