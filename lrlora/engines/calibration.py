"""The constants of the cost model, measured on a device: for :data:`lrlora.engines.select.COSTS`.

The constants that come with the package are fixed, so that a run can be repeated. Measure others only for a device
whose proportions differ, keep them in a file, and name the file in ``LRLORA_COSTS``; a study records them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from lrlora.engines import passes
from lrlora.engines.select import TOKENS, Costs

OUT, IN, COUNT = 768, 1024, 32
ROUNDS = 15


def calibrate(device: torch.device | str = "cpu") -> Costs:
    """Returns the constants of a device, in nanoseconds; takes some seconds, during which nothing else should run.

    Args:
        device: Where to measure, in float32 and with the present number of threads.
    """
    device = torch.device(device)
    g = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g).to(device)

    x, gradient, weight = normal(TOKENS, IN), normal(TOKENS, OUT), normal(OUT, IN)
    A, B = normal(8, IN) / 8, normal(OUT, 8) / 8
    a, entries = normal(COUNT, IN), normal(OUT, IN)

    def entrywise(p: passes.Series | passes.Table) -> float:
        return _nanoseconds(lambda: _both_passes(B, A, p, entries), device) / (OUT * IN)

    low, high = (entrywise(passes.Series(normal(degree + 1))) for degree in (4, 12))
    per_degree = max(0.0, (high - low) / 8)
    thin_there, thin_back = _nanoseconds(lambda: a @ x.mT, device), _nanoseconds(lambda: (a @ x.mT).mT @ a, device)
    index = torch.arange(COUNT, device=device)
    return Costs(
        product=_nanoseconds(lambda: gradient.mT @ x, device) / (2 * TOKENS * OUT * IN),
        thin_product=max(thin_there, thin_back - thin_there) / (2 * TOKENS * COUNT * IN),
        entry=max(0.0, low - 4 * per_degree)
        + _nanoseconds(lambda: (B.mT @ entries, entries @ A.mT), device) / (OUT * IN),
        entry_and_degree=per_degree,
        table_entry=entrywise(passes.Table(normal(259))),
        # Made twice and pulled back once: each a gather and a product.
        monomial=3 * _nanoseconds(lambda: a.index_select(0, index).mul_(a), device) / (COUNT * IN),
        call=_nanoseconds(lambda: weight[:1, :1] + 1, device) * 60,
    )


def _both_passes(B: torch.Tensor, A: torch.Tensor, p: passes.Series | passes.Table, entries: torch.Tensor) -> None:
    passes.values(B, A, p)
    passes.pull_back(B, A, p, entries.clone())


def _nanoseconds(run: Callable[[], object], device: torch.device) -> float:
    def synchronize() -> None:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    times = []
    for _ in range(ROUNDS):
        synchronize()
        start = time.perf_counter_ns()
        run()
        synchronize()
        times.append(time.perf_counter_ns() - start)
    return float(statistics.median(times[2:]))
