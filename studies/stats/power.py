"""How many seeds and test examples a claim needs to be settled, from the spread of a pilot.

The differences of S seeds on E examples are those of a two-way layout, d = δ + seed + example + rest, with variances
σ_s², σ_e² and σ_r². Their mean has the variance

    σ_s²/S + σ_e²/E + σ_r²/(SE),

and the half-width h of its interval at level α (:mod:`lrlora.studies.stats.crossed`) is given by

    h² = t(S − 1)² · MS_seed/(SE) + t(E − 1)² · max(0, MS_example − MS_rest)/(SE),

where t is the two-sided critical value at α. The mean squares are independent of the mean and of each other, and are
distributed as (Eσ_s² + σ_r²) χ²/(S − 1), (Sσ_e² + σ_r²) χ²/(E − 1) and σ_r² χ²/((S − 1)(E − 1)). An outcome holds if
the interval lies between two limits a and b, so that the power at a true difference δ is the mean over h of

    Φ((b − h − δ)/sd) − Φ((a + h − δ)/sd),    where positive.

As S grows, h goes to t(E − 1) · σ_e/√E: what the examples alone leave. No number of seeds makes it smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lrlora.studies.stats.crossed import Array, MeanSquares, counts_of, mean_difference, mean_squares
from lrlora.studies.stats.outcomes import Outcome, Question
from lrlora.studies.stats.paired import POWER, hidden_spread
from lrlora.studies.stats.uncertainty import quantile

UPPER = 0.80
"""One-sided confidence of the upper bounds of variances (Browne 1995, Statistics in Medicine 14, 1933-1940)."""

_DRAWS = 2048


@dataclass(frozen=True)
class Aim:
    """An outcome that should be found if the difference has a certain value.

    Attributes:
        outcome: The outcome.
        effect: The true difference, signed so that what is claimed is positive.
        above: The outcome holds if the interval lies above this,
        below: and below this.
        levels: The level of that interval, as a multiple of the claim's: 2 for statements from one-sided bounds.
    """

    outcome: Outcome
    effect: float
    above: float = -math.inf
    below: float = math.inf
    levels: int = 1


def aims_of(question: Question) -> tuple[Aim, ...]:
    """Returns what a claim should find: at its smallest effect of interest, or half its margin, and at zero.

    It has no aims if no smallest effect of interest is known.
    """
    if question.margin is not None:
        above = -question.margin if question.kind == "within" else -math.inf
        return tuple(Aim("supported", effect, above, question.margin) for effect in (question.margin / 2, 0.0))
    if question.smallest is None:
        return ()
    size = question.smallest
    return Aim("supported", size, above=0.0), Aim("no effect of that size", 0.0, -size, size, levels=2)


class Spread(Protocol):
    """How much differences vary, and what power follows from it."""

    @property
    def most(self) -> int:
        """The largest number of seeds for which the power is computed."""

    def power(self, aim: Aim, seeds: float, alpha: float) -> float:
        """Returns the probability that an aim is reached.

        Args:
            aim: The outcome and the true difference.
            seeds: Number of seeds, at least 2; may be infinite.
            alpha: The level at which the claim is tested.
        """


@dataclass(frozen=True)
class Layout:
    """Variance components of the differences of one seed on one example; all in the squared unit of the metric.

    Attributes:
        seed: σ_s², between seeds.
        example: σ_e², between examples; 0 if examples are not known.
        rest: σ_r², of a seed on an example; likewise.
        examples: E, the number of test examples; 1 if they are not known.
    """

    seed: float
    example: float = 0.0
    rest: float = 0.0
    examples: int = 1

    @property
    def most(self) -> int:
        """See :attr:`Spread.most`."""
        return 100_000

    @property
    def between_seeds(self) -> float:
        """Standard deviation of the mean difference of one seed on the same examples."""
        return math.sqrt(self.seed + self.rest / self.examples)

    @property
    def of_examples(self) -> float:
        """Standard error that the sampling of examples adds, with any number of seeds."""
        return math.sqrt(self.example / self.examples)

    def examples_leave(self, alpha: float) -> float:
        """Returns the half-width of the interval at level ``alpha`` with an unlimited number of seeds."""
        return quantile(alpha, self.examples - 1) * self.of_examples if self.examples > 1 else 0.0

    def power(self, aim: Aim, seeds: float, alpha: float) -> float:
        """See :meth:`Spread.power`."""
        half = self._half_widths(seeds, aim.levels * alpha)
        variance = (self.seed + self.rest / self.examples) / seeds + self.example / self.examples
        low, high = aim.above + half - aim.effect, aim.below - half - aim.effect
        if variance == 0:
            return float(np.mean((low < 0) & (high > 0)))
        deviation = math.sqrt(variance)
        return float(np.maximum(special.ndtr(high / deviation) - special.ndtr(low / deviation), 0.0).mean())

    def _half_widths(self, seeds: float, alpha: float) -> Array:
        """Half-widths of the intervals of studies, ``(draws,)``; evenly spread over their distribution."""
        of_seeds, of_examples, of_rest = _points()
        examples, alpha = self.examples, min(1.0, alpha)
        squares = np.zeros(_DRAWS)
        if math.isfinite(seeds):
            variance = (self.seed + self.rest / examples) / seeds
            squares += quantile(alpha, int(seeds) - 1) ** 2 * variance * _mean_squares(of_seeds, seeds - 1)
        if examples > 1 and (self.example or self.rest):
            between = (self.example + self.rest / seeds) * _mean_squares(of_examples, examples - 1)
            if math.isfinite(seeds):
                between -= self.rest / seeds * _mean_squares(of_rest, (seeds - 1) * (examples - 1))
            squares += quantile(alpha, examples - 1) ** 2 * np.maximum(between, 0.0) / examples
        return np.asarray(np.sqrt(squares))


@dataclass(frozen=True)
class Shares:
    """The spread of differences of yes and no, such as of diverged runs: which share of the pairs differs.

    Attributes:
        differing: The share of pairs of which one is yes and one no.
    """

    differing: float

    @property
    def most(self) -> int:
        """See :attr:`Spread.most`."""
        return 400

    def power(self, aim: Aim, seeds: float, alpha: float) -> float:
        """Returns the exact probability; see :meth:`Spread.power`."""
        if not math.isfinite(seeds):
            return float(aim.above < aim.effect < aim.below)
        n = int(seeds)
        differing = min(1.0, max(self.differing, abs(aim.effect)))
        shares = (differing + aim.effect) / 2, (differing - aim.effect) / 2, 1 - differing
        more, less = (grid.ravel() for grid in np.indices((n + 1, n + 1)))
        more, less = more[more + less <= n], less[more + less <= n]
        error = min(1.0, aim.levels * alpha) / 4
        count = np.arange(n + 1)
        # Clopper and Pearson's limits of a share, as of scipy's binomtest.
        low = np.where(count > 0, special.betaincinv(np.maximum(count, 1), n - count + 1, error), 0.0)
        high = np.where(count < n, special.betaincinv(count + 1, np.maximum(n - count, 1), 1 - error), 1.0)
        holds = (low[more] - high[less] > aim.above) & (high[more] - low[less] < aim.below)
        counts = np.stack([more, less, n - more - less])[:, holds]
        logarithm = special.gammaln(n + 1) - special.gammaln(counts + 1).sum(axis=0)
        logarithm += special.xlogy(counts, np.array(shares)[:, None]).sum(axis=0)
        return float(np.exp(logarithm).sum())


def spread_of(differences: Array, metric: str, size: float, confidence: float | None = None) -> Spread:
    """Estimates the spread from the differences of a pilot.

    Args:
        differences: ``(seeds, examples)``, of at least two seeds; ``(seeds, 1)`` if examples are not known.
        metric: What was measured.
        size: The smallest effect of interest or the margin. Differences that are all 0 are given the spread that
            rounding to its multiples would hide.
        confidence: Of one-sided upper bounds of the variances; None estimates them.
    """
    seeds, examples = differences.shape
    if metric == "diverged" and np.isin(differences, (-1.0, 0.0, 1.0)).all():
        counts = counts_of(differences[:, 0])
        differing = counts.more + counts.less
        if confidence is None or differing == seeds:
            return Shares(differing / seeds)
        return Shares(float(special.betaincinv(differing + 1, seeds - differing, confidence)))
    found = mean_difference(differences)
    assert found is not None
    assert found.std is not None
    bound = _bound(seeds - 1, confidence)
    squares = MeanSquares(found.std**2, 0.0, 0.0) if examples == 1 else mean_squares(differences)
    if squares.seed == squares.example == 0:
        return Layout(hidden_spread(found.mean or size) ** 2 * bound)
    if examples == 1:
        return Layout(squares.seed * bound)
    return Layout(
        seed=max(0.0, squares.seed * bound - squares.rest) / examples,
        example=max(0.0, squares.example * _bound(examples - 1, confidence) - squares.rest) / seeds,
        rest=squares.rest,
        examples=examples,
    )


def seeds_needed(spread: Spread, aim: Aim, alpha: float, power: float = POWER) -> int | None:
    """Returns the least number of seeds with which an aim is reached with probability ``power``.

    Returns:
        The number, at least 2; None if ``spread.most`` are too few.
    """
    return _least(lambda seeds: spread.power(aim, seeds, alpha) >= power, spread.most)


def examples_needed(layout: Layout, aim: Aim, alpha: float, power: float = POWER) -> int | None:
    """Returns the least number of test examples with which enough seeds reach an aim; None above 10 million."""

    def enough(examples: int) -> bool:
        return replace(layout, examples=examples).power(aim, math.inf, alpha) >= power

    return _least(enough, 10_000_000)


def _least(enough: Callable[[int], bool], most: int) -> int | None:
    """The least number from 2 to ``most`` that is enough; None if there is none."""
    too_few, found = 1, 2
    while not enough(found):
        if found >= most:
            return None
        too_few, found = found, min(2 * found, most)
    while found - too_few > 1:
        middle = (found + too_few) // 2
        too_few, found = (too_few, middle) if enough(middle) else (middle, found)
    return found


def _bound(df: int, confidence: float | None) -> float:
    """What an estimate of a variance is multiplied by for its one-sided upper confidence bound."""
    return 1.0 if confidence is None else df / float(2 * special.gammaincinv(df / 2, 1 - confidence))


def _mean_squares(points: Array, df: float) -> Array:
    """χ²/df at these probabilities."""
    return np.asarray(2 * special.gammaincinv(df / 2, points) / df)


@lru_cache(maxsize=1)
def _points() -> tuple[NDArray[np.float64], ...]:
    """Points evenly spread over the unit cube, by coordinate: multiples of the powers of the root of g⁴ = g + 1."""
    root = 1.2207440846057596
    return tuple(np.asarray((0.5 + np.arange(_DRAWS) * root**-power) % 1.0, np.float64) for power in (1, 2, 3))
