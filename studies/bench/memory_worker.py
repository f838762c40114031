"""The process that :mod:`lrlora.studies.bench.memory` starts: reads what to train as JSON, prints what it held."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import sys
from typing import Any

WARM_UP = 2


def main() -> None:
    """Train and report."""
    from lrlora.registry import load_plugin

    order: dict[str, Any] = json.load(sys.stdin)
    for plugin in order["plugins"]:
        load_plugin(plugin)

    import torch

    from lrlora.studies.bench.memory import MIB
    from lrlora.studies.bench.subjects import subject_from_dict
    from lrlora.studies.memory import PeakMemory
    from lrlora.studies.quiet import quiet

    torch.set_num_threads(order["threads"])
    with quiet():
        step = subject_from_dict(order["subject"]).step(order["config"])
        _give_back()
        rest = _resident()
        for _ in range(WARM_UP):  # kernels are compiled here, and the optimizer makes its state
            step()
        _give_back()
        # Loading can need more than training does (weights are converted), and so can a compiler: both are over.
        memory = PeakMemory(cuda=False)
        for _ in range(order["steps"]):
            step()
        peak = memory.read()
    print(json.dumps({"peak_mib": peak / MIB, "rest_mib": rest / MIB, "source": memory.source}))


def _give_back() -> None:
    """Return to the system what was freed: the C library keeps it, and it would pass for the method's need."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


def _resident() -> int:
    """Bytes that are resident now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
