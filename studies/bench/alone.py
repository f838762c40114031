"""The process that trains one method alone: the first step of a new adapter, and peak memory of a trained one.

Prints ``first_ms``, ``peak_mib`` (the most that was resident during steps of the trained adapter, with interpreter and
libraries; on CUDA the most that PyTorch had allocated on the device) and ``peak_source``, how the platform was asked.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import time
from pathlib import Path

from lrlora.studies.bench.worker import read_order

WARM_UP, STEPS = 2, 3
MIB = 1 << 20


def main() -> None:
    """Trains as it was told and prints what was found."""
    order = read_order()
    from lrlora.studies.bench.trained import TrainedModel, Workload
    from lrlora.studies.execution.quiet import quiet
    from lrlora.studies.training.memory import PeakMemory

    with quiet():
        workload = Workload(*order["workload"])
        step = TrainedModel(workload, order["config"])
        started = time.perf_counter()
        step()
        first = time.perf_counter() - started
        step.load(Path(order["state"]))
        for _ in range(WARM_UP):
            step()
        _give_back()
        memory = PeakMemory(cuda=workload.device == "cuda")  # loading may need more than a step does, and is over
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
