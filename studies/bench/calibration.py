"""The constants that ``auto`` chooses by, measured where this runs, beside those it has.

They stay as they are whatever is found here: see :mod:`lrlora.engines.costs`. Another machine's proportions may differ,
and then ``auto`` is still right in what it computes, and takes a little longer than it could.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from lrlora.engines.costs import COSTS, TOKENS
from lrlora.engines.passes import Passes
from lrlora.engines.powers import monomial_count, power_linear
from lrlora.engines.rounding import has_fast_bfloat16

OUT, INSIDE = 1536, 576
DEGREES = (4, 24)
THIN_RANK = 8
FACTORED = ((2, 2), (4, 4))
"""Ranks and degrees of which the first has few monomials, and the second many."""


@dataclass(frozen=True)
class Constant:
    """One of them.

    Attributes:
        name: As in :class:`lrlora.engines.costs.Costs`.
        used: What ``auto`` computes with, in nanoseconds.
        measured: What it is here; None where it cannot be measured.
    """

    name: str
    used: float
    measured: float | None


def measure_costs(
    shape: tuple[int, int] = (OUT, INSIDE), tokens: int = TOKENS, repeats: int = 15
) -> Iterator[Constant]:
    """Measure the constants, one after the other.

    Args:
        shape: Of the weight.
        tokens: Of the step.
        repeats: Of each measurement, of which the median counts.
    """
    used = asdict(COSTS)
    for name, measured in _measure(*shape, tokens, repeats):
        yield Constant(name, used[name], measured)


class _PassesOfOne:
    """The passes of one degree on one block, which may be run again and again."""

    def __init__(self, degree: int, t: Tensor, base: Tensor, gradient: Tensor) -> None:
        self.passes, self.t, self.base, self.gradient = Passes(degree), t, base, gradient
        # A slope of 1: the gradient is multiplied by it every time, and is to stay what it is.
        self.c, self.slope = torch.zeros(degree + 1), torch.zeros(degree)
        self.c[1] = self.slope[0] = 1
        self.room = torch.empty_like(t)

    def forward(self) -> None:
        self.passes.evaluate_(self.room.copy_(self.t), self.base, self.c)

    def backward(self) -> None:
        self.passes.pull_back_(self.room.copy_(self.t), self.base, self.gradient, self.c, self.slope)


def _measure(out: int, inside: int, tokens: int, repeats: int) -> Iterator[tuple[str, float | None]]:
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    def nanoseconds(run: Callable[[], object]) -> float:
        run()
        run()
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return 1e9 * statistics.median(times)

    entries = out * inside
    x, gy, W = normal(tokens, inside), normal(tokens, out), normal(out, inside)
    product = nanoseconds(lambda: gy.T @ x) / (2 * tokens * entries)
    yield "product", product
    if has_fast_bfloat16("cpu"):
        low_x, low_gy = x.bfloat16(), gy.bfloat16()
        yield "rounded_product", nanoseconds(lambda: low_gy.T @ low_x) / (2 * tokens * entries)
    else:
        yield "rounded_product", None

    A, B = normal(THIN_RANK, inside), normal(out, THIN_RANK) / 10
    gradient, room = normal(out, inside), torch.empty(out, inside)
    forward, backward = [], []
    for degree in DEGREES:
        timed = _PassesOfOne(degree, (B @ A).clamp(-1, 1), W, gradient)
        forward.append(nanoseconds(timed.forward) / entries)
        backward.append(nanoseconds(timed.backward) / entries)
    span = DEGREES[1] - DEGREES[0]
    slopes = [(high - low) / span for low, high in (forward, backward)]
    for name, times, slope_ in zip(("forward", "backward"), (forward, backward), slopes, strict=True):
        yield name, max(times[0] - DEGREES[0] * slope_, 0.0)
    yield "per_degree", sum(slopes)
    yield (
        "thin",
        nanoseconds(lambda: (torch.mm(B, A, out=room), torch.mm(B, A, out=room), gradient @ A.T, B.T @ gradient))
        / entries,
    )

    spare, sizes = [], []
    for r, degree in FACTORED:
        a, b = normal(r, inside).requires_grad_(), (normal(out, r) / 10).requires_grad_()
        inputs, c = x.clone().requires_grad_(), normal(degree + 1).double().requires_grad_()

        def step(a: Tensor = a, b: Tensor = b, x: Tensor = inputs, c: Tensor = c) -> None:
            torch.autograd.grad(power_linear(x, W, None, a, b, c, 0.1), (x, a, b, c), gy)

        count = monomial_count(r, degree) + 1
        frozen = 4 * tokens * entries * product
        thin = 2 * tokens * (count + 6) * (4 * inside + 3 * out) * product
        spare.append(nanoseconds(step) - frozen - thin)
        sizes.append(count * (out + inside))
    per_monomial = (spare[1] - spare[0]) / (sizes[1] - sizes[0])
    yield "monomial", per_monomial
    yield "call", max(spare[0] - per_monomial * sizes[0], 0.0)
