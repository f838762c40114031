"""The range of BA, which decides what stands for f: a bound on |z| and the root mean square of z = s_in · BA."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.engines.scratch import row_blocks, scratch

MIN_RANGE = 1e-3
"""Below this range of z every φ is nearly a straight line; a wider surrogate costs nothing and divides by no zero."""

MARGIN = 1.1
"""How far past the largest entry that was measured a range reaches, as the entries move between two measurements."""

REMEASURE = 32
"""Evaluations after which the largest entry is measured again in any case."""


@dataclass(frozen=True)
class Range:
    """Where the entries of z lie.

    Attributes:
        rho: |z| ≤ rho.
        rms: Root mean square of z.
    """

    rho: float
    rms: float

    @property
    def finite(self) -> bool:
        """Whether A and B are."""
        return math.isfinite(self.rho) and math.isfinite(self.rms)

    @property
    def spread(self) -> float:
        """The root mean square of t = z / rho; 1 where nothing better is known."""
        return min(max(self.rms / self.rho, 0.05), 1.0) if self.finite else 1.0


def range_of(A: Tensor, B: Tensor, input_scale: float, known: tuple[float, float] | None = None) -> Range:
    """Measured: takes a product BA, in blocks that are not kept. ``known`` is what :func:`bounds` has for it."""
    bound, rms = known or bounds([(A, B)])[0]
    peak = largest_entry(A, B) if math.isfinite(bound) and bound > 0 else bound
    # A few ulps of room: float32 rounding of a product in another order may pass the bound.
    return Range(max(input_scale * peak * (1 + 1e-4), MIN_RANGE), input_scale * rms)


@torch.no_grad()
def bounds(pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[float, float]]:
    """A bound on |BA| and the root mean square of its entries, for each pair, without forming BA.

    The bound is the largest row norm of B times the largest column norm of A (Cauchy-Schwarz). The mean square is
    tr(BᵀB AAᵀ) / mn.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    for i, (A, B) in enumerate(pairs):
        alike.setdefault((A.device, A.shape, B.shape), []).append(i)
    out: list[tuple[float, float]] = [(0.0, 0.0)] * len(pairs)
    for places in alike.values():
        a, b = (torch.stack([pairs[i][side] for i in places]) for side in (0, 1))
        bound = torch.linalg.vector_norm(b, dim=2).amax(1) * torch.linalg.vector_norm(a, dim=1).amax(1)
        # In float64, as the squares of the squares of small entries leave the range of float32.
        grams = (b.mT @ b).double() * (a @ a.mT).double()
        rms = (grams.sum((1, 2)).clamp_min(0) / (b.shape[1] * a.shape[2])).sqrt()
        for i, (largest, mean) in zip(places, torch.stack([bound.double(), rms], dim=1).tolist(), strict=True):
            out[i] = (largest, mean)
    return out


@torch.no_grad()
def largest_entry(A: Tensor, B: Tensor) -> float:
    """max |BA|, in blocks of rows."""
    peaks = []
    for rows in row_blocks(B.shape[0], A.shape[1]):
        block = B[rows]
        low, high = torch.mm(block, A, out=scratch((len(block), A.shape[1]), A, "entries")).aminmax()
        peaks.append(torch.maximum(-low, high))
    return float(torch.stack(peaks).amax())


class RangeKeeper:
    """The range of one layer as it trains: a bound from norms at every step, and now and then a measurement.

    The bound by norms is two to three times the largest entry, and the larger the rank the more so; a degree grows in
    proportion. The largest entry is measured where the norms have moved by a twentieth, or after a number of steps;
    between, it is taken to keep its proportion to the bound, with a margin. An entry past the range all the same is
    evaluated a little outside of the fit, where its error grows and is not unbounded.
    """

    def __init__(self) -> None:
        self._measured: tuple[float, float] | None = None
        self._proportion = 1.0
        self._since = 0

    def range(self, A: Tensor, B: Tensor, known: tuple[float, float], input_scale: float) -> Range:
        """The range at the present A and B, for which :func:`bounds` has ``known``."""
        bound, rms = known
        if not (math.isfinite(bound) and math.isfinite(rms)):
            return Range(math.inf, math.inf)
        self._since += 1
        if self._moved(bound, rms) or self._since > REMEASURE:
            self._measured, self._since = (bound, rms), 0
            self._proportion = min(1.0, MARGIN * largest_entry(A, B) / bound) if bound > 0 else 1.0
        return Range(max(input_scale * bound * self._proportion * (1 + 1e-4), MIN_RANGE), input_scale * rms)

    def _moved(self, bound: float, rms: float) -> bool:
        if self._measured is None:
            return True
        return any(abs(now - then) > 0.05 * then for now, then in zip((bound, rms), self._measured, strict=True))
