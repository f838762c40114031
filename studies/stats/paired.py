"""Paired statistics as pure functions of numbers: intervals, the paired t-test, its power, Holm's correction.

Two variants with the same seed have the same data order and the same split, so that the difference within a pair is
free of what both share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from lrlora.studies.stats.bootstrap import CONFIDENCE, bootstrap_interval
from lrlora.studies.stats.uncertainty import Uncertainty, Variances

ALPHA = 1 - CONFIDENCE
POWER = 0.80


@dataclass(frozen=True)
class Estimate:
    """A mean with its spread.

    Attributes:
        n: Number of values.
        mean: Their mean.
        std: Sample standard deviation (n - 1); None for a single value.
        low: Lower end of the 95 % t interval of the mean; None where no spread was observed.
        high: Upper end of that interval.
    """

    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PairedDifference:
    """Mean difference within pairs and what can be said about it. All in the unit of the values.

    Attributes:
        n: Number of pairs.
        mean: Mean difference.
        std: Sample standard deviation of the differences; None for one pair.
        low: Lower end of the 95 % interval of the mean; None for one pair, or if all differences are 0.
        high: Upper end of that interval.
        p: Two-sided p of the hypothesis that the mean is 0; None where there is no interval.
        effect_size: Cohen's d_z, the mean over the standard deviation of the differences; None without a spread.
        detectable: The difference that such a test would have found in 80 % of repetitions, given this spread.
        bootstrap_low: Lower end of the BCa bootstrap interval; None below six pairs.
        bootstrap_high: Upper end of that interval.
        uncertainty: What the intervals follow from; None where there is none.
        examples: Number of test examples, if the interval covers their sampling too; else None.
    """

    n: int
    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    effect_size: float | None = None
    detectable: float | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    uncertainty: Uncertainty | None = None
    examples: int | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and 0 lies outside it."""
        return self.low is not None and self.high is not None and not self.low <= 0.0 <= self.high

    def interval(self, alpha: float) -> tuple[float, float] | None:
        """Returns the two-sided interval of the mean at confidence 1 − ``alpha``; None where there is none."""
        return None if self.uncertainty is None else self.uncertainty.interval(self.mean, alpha)

    @property
    def turned(self) -> PairedDifference:
        """The same difference from the other side: every sign turned, every interval turned over."""

        def minus(value: float | None) -> float | None:
            return None if value is None else -value

        return replace(
            self,
            mean=-self.mean,
            low=minus(self.high),
            high=minus(self.low),
            effect_size=minus(self.effect_size),
            bootstrap_low=minus(self.bootstrap_high),
            bootstrap_high=minus(self.bootstrap_low),
            uncertainty=None if self.uncertainty is None else self.uncertainty.turned,
        )


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean, standard deviation and 95 % t interval; None of no values.

    >>> estimate([1.0])
    Estimate(n=1, mean=1.0, std=None, low=None, high=None)
    """
    if not values:
        return None
    array = np.asarray(values, dtype=float)
    mean, n = float(array.mean()), len(array)
    if n == 1:
        return Estimate(n, mean, None, None, None)
    std = _spread(array)
    if std == 0.0:
        return Estimate(n, mean, 0.0, None, None)
    half = float(stats.t.ppf(1 - ALPHA / 2, n - 1)) * std / math.sqrt(n)
    return Estimate(n, mean, std, mean - half, mean + half)


def paired_difference(values: Sequence[float], reference: Sequence[float]) -> PairedDifference | None:
    """Compare paired values with their reference values: ``values[i]`` belongs to ``reference[i]``.

    Differences that are all the same have no spread, and a t-test would give p = 0 however few they are. They are
    tested with the spread that rounding may have hidden, see :func:`hidden_spread`.

    Returns:
        The comparison, values minus reference; None of no pairs.

    Raises:
        ValueError: The two differ in length.
    """
    if len(values) != len(reference):
        raise ValueError(f"{len(values)} values cannot be paired with {len(reference)} reference values")
    if not values:
        return None
    differences = np.asarray(values, dtype=float) - np.asarray(reference, dtype=float)
    found = estimate(differences.tolist())
    assert found is not None
    if found.n == 1 or found.std is None:
        return PairedDifference(found.n, found.mean)
    # Rounding makes equal differences of unequal numbers differ in the last bits: that is no spread either.
    rounding = max(8 * np.finfo(float).eps * float(np.abs([values, reference]).max()), 1e-9 * abs(found.mean))
    if found.std <= rounding:
        return _without_spread(found.n, found.mean)
    t = found.mean / (found.std / math.sqrt(found.n))
    bootstrap = bootstrap_interval(differences.tolist())
    return PairedDifference(
        n=found.n,
        mean=found.mean,
        std=found.std,
        low=found.low,
        high=found.high,
        p=float(2 * stats.t.sf(abs(t), found.n - 1)),
        effect_size=found.mean / found.std,
        detectable=minimum_detectable_effect(found.std, found.n),
        bootstrap_low=None if bootstrap is None else bootstrap[0],
        bootstrap_high=None if bootstrap is None else bootstrap[1],
        uncertainty=Variances(((found.std**2 / found.n, found.n - 1),)),
    )


def hidden_spread(step: float) -> float:
    """The standard deviation that a difference of two values has if both are rounded to multiples of ``step``.

    The rounding error of each is uniform, with the variance step² / 12. Of two values that differ by d in every pair,
    both are multiples of a step of at most d, so that d gives the largest spread that rounding can have hidden. With it
    t is √(6n): three pairs are not significant at 5 %, and five have p = .005.
    """
    return abs(step) / math.sqrt(6)


def _without_spread(n: int, mean: float) -> PairedDifference:
    """Of ``n`` differences that all are ``mean``."""
    if abs(mean) <= np.finfo(float).tiny:
        return PairedDifference(n, mean, 0.0)
    error = hidden_spread(mean) / math.sqrt(n)
    variances = Variances(((error**2, n - 1),))
    low, high = variances.interval(mean, ALPHA)
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1))
    return PairedDifference(n, mean, 0.0, low, high, p, uncertainty=variances)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given (Holm 1979, Scand. J. Statist. 6, 65-70).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for position, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = running
    return adjusted


def minimum_detectable_effect(std: float, n: int) -> float | None:
    """The true mean difference that a two-sided paired t-test at 5 % finds with 80 % power.

    Args:
        std: Standard deviation of the paired differences.
        n: Number of pairs.

    Returns:
        The difference in the unit of ``std``; None below two pairs or without a spread.
    """
    if n < 2 or std <= 0.0:
        return None
    return _detectable_noncentrality(n) * std / math.sqrt(n)


@lru_cache(maxsize=256)
def _detectable_noncentrality(n: int) -> float:
    critical = float(stats.t.ppf(1 - ALPHA / 2, n - 1))
    # The power is a normal tail averaged over the sampling distribution of the standard deviation. scipy's
    # noncentral t says the same, but returns NaN at the few degrees of freedom that matter here.
    sampled_std = np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, n - 1) / (n - 1))

    def shortfall(noncentrality: float) -> float:
        tails = stats.norm.cdf(noncentrality - critical * sampled_std)
        tails += stats.norm.cdf(-noncentrality - critical * sampled_std)
        return float(tails.mean()) - POWER

    # The answer is below twice the critical value at every n; ten times leaves no doubt about the bracket.
    return float(optimize.brentq(shortfall, 1e-3, 10 * critical))


def _spread(array: np.ndarray) -> float:
    """Sample standard deviation, exactly 0 for values that are all the same."""
    return 0.0 if bool(np.all(array == array[0])) else float(array.std(ddof=1))
