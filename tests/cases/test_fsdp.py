"""Sharded parameters: two processes on a CPU end where one does (peft #2344, trl #4550)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).with_name("fsdp_worker.py")
VARIANTS = ["lora", "default", "direct", "gaussian, learned grid"]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the worker found, started once for all tests."""
    folder = tmp_path_factory.mktemp("fsdp")
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    started = subprocess.Popen(
        [*command, str(WORKER), str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that the workers end with it
    )
    try:
        said, _ = started.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        pytest.fail(f"two processes did not end within two minutes: {started.communicate()[0][-4000:]}")
    assert started.returncode == 0, said[-4000:]
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("way", ["FSDP2", "FSDP1", "FSDP1 by PEFT's policy"])
def test_two_processes_end_where_one_does(way: str, variant: str, two_processes: dict[str, Any]) -> None:
    found = two_processes[f"{way}, {variant}"]
    assert "error" not in found, found["error"]
    assert found["keys"] == []
    assert found["moved"] > 1e-3
    assert max(found["losses"], found["weights"], found["outputs"]) < 1e-5, found
