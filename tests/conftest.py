"""What tests of several folders need."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from lrlora.bases import BASES
from lrlora.policies import KINDS


@pytest.fixture
def forgetting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers as a basis or a policy is gone after it: other tests go through all that there are."""
    for registry in (BASES, *KINDS.values()):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.fixture(scope="session")
def in_two_processes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, int], dict[str, Any]]:
    """Runs a worker script under torchrun, and returns what its first process wrote to ``found.json``."""

    def run(worker: Path, seconds: int) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp(worker.stem)
        launcher = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run"]
        started = subprocess.Popen(
            [*launcher, "--standalone", "--nproc-per-node", "2", str(worker), str(folder)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that the workers end with it
        )
        try:
            said, _ = started.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            pytest.fail(f"two processes did not end within {seconds} s: {started.communicate()[0][-4000:]}")
        assert started.returncode == 0, said[-4000:]
        found: dict[str, Any] = json.loads((folder / "found.json").read_text())
        return found

    return run


class HostReads(TorchDispatchMode):
    """Counts operations that make the host wait for a device."""

    OF_VALUES = ("_local_scalar_dense", "equal", "nonzero", "is_nonzero", "unique", "masked_select")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name.lstrip("_") in [known.lstrip("_") for known in self.OF_VALUES]:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def host_reads() -> HostReads:
    """What lists, in ``found``, the operations within its ``with`` block that read values on the host."""
    return HostReads()
