"""Peak memory of training with one method alone, in a process of its own: within one process the second inherits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lrlora.studies.bench.subjects import Subject
from lrlora.studies.errors import StudyError

WORKER = "lrlora.studies.bench.memory_worker"
MIB = 1 << 20


@dataclass(frozen=True)
class Peak:
    """What a process held.

    Attributes:
        peak_mib: The most that was resident during the counted steps, interpreter and libraries included.
        rest_mib: What was resident before the first step: libraries, model and adapter.
        source: How the platform was asked.
    """

    peak_mib: float
    rest_mib: float
    source: str


@dataclass(frozen=True)
class MemoryComparison:
    """Ours beside LoRA's."""

    ours: Peak
    lora: Peak

    @property
    def ratio(self) -> float:
        """Our peak over theirs."""
        return self.ours.peak_mib / self.lora.peak_mib

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"ratio": self.ratio, "ours": asdict(self.ours), "lora": asdict(self.lora)}


def measure_peak(
    subject: Subject, config: Mapping[str, Any], threads: int, steps: int = 3, plugins: Sequence[str] = ()
) -> Peak:
    """Train for a few steps in a fresh process, and say what it held.

    Args:
        subject: What is trained.
        config: The method, as studies write one.
        threads: That PyTorch is given.
        steps: Counted steps.
        plugins: Files or modules that register what ``config`` names.

    Raises:
        StudyError: The process failed; with the last thing it said.
    """
    order = {
        "subject": subject.to_dict(),
        "config": dict(config),
        "threads": threads,
        "steps": steps,
        "plugins": list(plugins),
    }
    # Not forked: a fork counts the pages of this process as its own.
    done = subprocess.run(
        [sys.executable, "-m", WORKER], input=json.dumps(order), capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise StudyError(f"memory of {subject.name} with {config['method']}: {said[-1]}")
    return Peak(**json.loads(done.stdout.splitlines()[-1]))
