"""What intervals of a mean follow from: variances with their degrees of freedom, counts, or nothing but the value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, Self

from scipy import special, stats


class Uncertainty(Protocol):
    """How uncertain a mean is."""

    def interval(self, mean: float, alpha: float) -> tuple[float, float]:
        """Returns the two-sided interval of the mean at confidence 1 − ``alpha``."""

    @property
    def turned(self) -> Self:
        """The same for the mean with its sign turned."""


@dataclass(frozen=True)
class Variances:
    """A mean with one or several independent sources of variance, each known from few observations.

    The squares of the half-widths of the t intervals of all sources are added. With one source this is the t interval.
    With several the coverage is at least the nominal one, also at two degrees of freedom, where Satterthwaite's
    approximation falls short of it (docs/statistics.md).

    Attributes:
        parts: Of each source, the variance that it adds to that of the mean, and its degrees of freedom.
    """

    parts: tuple[tuple[float, int], ...]

    def interval(self, mean: float, alpha: float) -> tuple[float, float]:
        """See :meth:`Uncertainty.interval`."""
        half = self.half_width(alpha)
        return mean - half, mean + half

    def half_width(self, alpha: float) -> float:
        """Returns half the length of the interval."""
        return math.sqrt(sum(quantile(alpha, df) ** 2 * variance for variance, df in self.parts))

    @property
    def turned(self) -> Variances:
        """See :attr:`Uncertainty.turned`."""
        return self


@dataclass(frozen=True)
class Counts:
    """The mean of differences that are −1, 0 or 1, as those of yes and no are.

    The exact intervals of the shares of 1 and of −1 (Clopper and Pearson 1934, Biometrika 26, 404-413), at half the
    error each, bound their difference.

    Attributes:
        n: Number of differences.
        more: How many are 1.
        less: How many are −1.
    """

    n: int
    more: int
    less: int

    def interval(self, mean: float, alpha: float) -> tuple[float, float]:
        """See :meth:`Uncertainty.interval`."""
        (more_low, more_high), (less_low, less_high) = (
            stats.binomtest(count, self.n).proportion_ci(1 - alpha / 2) for count in (self.more, self.less)
        )
        return float(more_low - less_high), float(more_high - less_low)

    @property
    def p(self) -> float:
        """Two-sided p of the exact sign test, that 1 and −1 are equally likely (McNemar's exact test)."""
        return float(stats.binomtest(self.more, self.more + self.less).pvalue) if self.more + self.less else 1.0

    @property
    def turned(self) -> Counts:
        """See :attr:`Uncertainty.turned`."""
        return Counts(self.n, self.less, self.more)


@dataclass(frozen=True)
class Exact:
    """A quantity that follows from the settings alone, such as a number of parameters: it is compared, not tested."""

    def interval(self, mean: float, alpha: float) -> tuple[float, float]:
        """Returns the value itself twice."""
        return mean, mean

    @property
    def turned(self) -> Exact:
        """See :attr:`Uncertainty.turned`."""
        return self


def smallest_level(holds: Callable[[float], bool]) -> float:
    """Returns the smallest level at which a statement holds: its p.

    Args:
        holds: Whether it does at a level; if so, it does at every larger one.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


@lru_cache(maxsize=4096)
def quantile(alpha: float, df: int) -> float:
    """Returns the two-sided critical value of the t distribution at level ``alpha``."""
    return -float(special.stdtrit(df, alpha / 2))
