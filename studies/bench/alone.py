"""One method alone in a fresh process: its first step's time and its peak memory, which in one process others share."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrlora.studies.bench.worker import read_order, run_worker

WARM_UP, STEPS = 2, 3
MIB = 1 << 20


def measure_alone(
    name: str,
    workload: Sequence[Any],
    config: Mapping[str, Any],
    state: Path,
    threads: int,
    plugins: Sequence[str] = (),
) -> dict[str, Any]:
    """Trains in a fresh process, first a new adapter and then the trained one.

    Args:
        name: Of the method, for messages.
        workload: A :class:`lrlora.studies.bench.trained.Workload`.
        config: The method, as studies write one.
        state: The trained adapter, from :meth:`lrlora.studies.bench.trained.TrainedModel.save`.
        threads: PyTorch's.
        plugins: Files or modules that register what ``config`` names.

    Returns:
        ``first_ms``, the first step of the new adapter; ``peak_mib``, the most that was resident during steps of the
        trained one, interpreter and libraries included; ``peak_source``, how the platform was asked.

    Raises:
        StudyError: The process failed.
    """
    order = {"name": name, "workload": list(workload), "config": dict(config), "state": str(state)}
    return run_worker("alone", order, threads, plugins)


def main() -> None:
    """Trains and prints what was found."""
    order = read_order()
    from lrlora.studies.bench.trained import TrainedModel, Workload
    from lrlora.studies.memory import PeakMemory
    from lrlora.studies.quiet import quiet

    with quiet():
        step = TrainedModel(Workload(*order["workload"]), order["config"])
        started = time.perf_counter()
        step()
        first = time.perf_counter() - started
        step.load(Path(order["state"]))
        for _ in range(WARM_UP):
            step()
        _give_back()
        memory = PeakMemory(cuda=False)  # loading may need more than a step does, and is over
        for _ in range(STEPS):
            step()
        peak = memory.read()
    print(json.dumps({"first_ms": 1e3 * first, "peak_mib": peak / MIB, "peak_source": memory.source}))


def _give_back() -> None:
    """Returns freed memory to the system: the C library keeps it, and it would count as the method's."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main()
