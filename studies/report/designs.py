"""Statistics beyond one paired comparison: equivalence, trends, seeds within tasks, and ranks over tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lrlora.studies.report.statistics import (
    ALPHA,
    BOOTSTRAP_RESAMPLES,
    BOOTSTRAP_SEED,
    CONFIDENCE,
    PairedDifference,
    paired_difference,
)

MINIMUM_TASKS = 5
"""Below this, average ranks over tasks tell nothing: the critical difference is as large as the scale."""


def equivalence(differences: Sequence[float], margin: float) -> float | None:
    """p of two one-sided paired t-tests: small where the true mean difference lies within ± the margin.

    Schuirmann 1987, J. Pharmacokin. Biopharm. 15, 657-680. None for fewer than two differences, or where they have no
    spread.

    Raises:
        ValueError: The margin is not positive.
    """
    found = _inside_margin(differences, margin)
    return None if found is None else float(stats.t.sf(*found))


def inequivalence(differences: Sequence[float], margin: float) -> float | None:
    """p of the opposite: small where the true mean difference lies beyond the margin, on either side.

    Below .05 where the 95 % interval of the t-test lies wholly beyond it. Raises and returns as :func:`equivalence`.
    """
    found = _inside_margin(differences, margin)
    return None if found is None else min(1.0, 2 * float(stats.t.cdf(*found)))


def _inside_margin(differences: Sequence[float], margin: float) -> tuple[float, int] | None:
    """How far the mean lies inside the nearer margin, in standard errors, and the degrees of freedom of these."""
    if not margin > 0:
        raise ValueError(f"a margin is positive, not {margin!r}")
    found = paired_difference(differences, [0.0] * len(differences))
    if found is None or found.p is None or found.std is None:
        return None
    return (margin - abs(found.mean)) / (found.std / math.sqrt(found.n)), found.n - 1


def trend(at: Sequence[float], series: Sequence[Sequence[float]]) -> PairedDifference | None:
    """Whether a quantity grows along ``at``: the mean of the slopes of several repetitions, with its interval and p.

    Each repetition gives a least-squares slope of its own, and these are tested against zero, as one number per
    repetition: what repetitions have in common, a seed's good draw for example, does not count as evidence.

    Args:
        at: Where the quantity was observed, at least two different places.
        series: For each repetition the values there.

    Returns:
        The slope per unit of ``at``; None without repetitions.

    Raises:
        ValueError: There are fewer than two places, or a repetition misses one.
    """
    x = np.asarray(at, dtype=float)
    if len(x) < 2 or float(np.ptp(x)) == 0.0:
        raise ValueError(f"a trend needs two places at least, not {list(at)}")
    if any(len(values) != len(x) for values in series):
        raise ValueError(f"every repetition has a value at each of the {len(x)} places")
    centred = x - x.mean()
    slopes = [float(centred @ np.asarray(values, dtype=float) / (centred @ centred)) for values in series]
    return paired_difference(slopes, [0.0] * len(slopes))


def hierarchical_interval(by_task: Mapping[str, Sequence[float]]) -> tuple[float, float] | None:
    """Percentile bootstrap interval at 95 % of the mean over tasks of the mean over seeds.

    Tasks are drawn with replacement, and within each its seeds: the interval says how a difference carries over to
    other tasks of the kind and to other seeds (Davison and Hinkley 1997, section 3.8). None below three tasks, or
    where no task has two seeds.
    """
    groups = [np.asarray(values, dtype=float) for values in by_task.values() if len(values) > 0]
    if len(groups) < 3 or max(len(group) for group in groups) < 2:
        return None
    random = np.random.default_rng(BOOTSTRAP_SEED)
    # For every task as many resampled means as there are resamples; then which task is drawn into which place.
    means = np.stack(
        [group[random.integers(len(group), size=(BOOTSTRAP_RESAMPLES, len(group)))].mean(1) for group in groups]
    )
    drawn = random.integers(len(groups), size=(len(groups), BOOTSTRAP_RESAMPLES))
    totals = means[drawn, np.arange(BOOTSTRAP_RESAMPLES)].mean(0)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(totals, [tail, 100 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class RankComparison:
    """Average ranks over tasks.

    Attributes:
        ranks: Of each variant; 1 is best.
        tasks: How many tasks.
        p: Of Friedman's test that all are alike.
        critical_difference: Of two average ranks, at 5 %, by Nemenyi's test.
        cliques: Groups of variants that are not told apart, best first; each lies within one critical difference.
    """

    ranks: Mapping[str, float]
    tasks: int
    p: float
    critical_difference: float
    cliques: tuple[tuple[str, ...], ...]


def compare_ranks(scores: Mapping[str, Sequence[float]], maximize: bool) -> RankComparison | None:
    """Ranks of variants over tasks (Demšar 2006, JMLR 7, 1-30).

    Args:
        scores: For each variant its score on every task, in the same order.
        maximize: Whether more is better.

    Returns:
        The comparison; None below five tasks or three variants.
    """
    names = list(scores)
    table = np.asarray([list(scores[name]) for name in names], dtype=float).T
    if table.ndim != 2 or table.shape[0] < MINIMUM_TASKS or table.shape[1] < 3:
        return None
    tasks, count = table.shape
    average = stats.rankdata(-table if maximize else table, axis=1).mean(0)
    p = 1.0 if np.ptp(table, axis=1).max() == 0 else float(stats.friedmanchisquare(*table.T).pvalue)
    studentised = float(stats.studentized_range.ppf(1 - ALPHA, count, np.inf))
    difference = studentised / math.sqrt(2) * math.sqrt(count * (count + 1) / (6 * tasks))
    order = np.argsort(average, kind="stable")
    ranks = {names[i]: float(average[i]) for i in order}
    return RankComparison(ranks, tasks, p, difference, _cliques(ranks, difference))


def _cliques(ranks: Mapping[str, float], difference: float) -> tuple[tuple[str, ...], ...]:
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    found: list[tuple[str, ...]] = []
    for start, (_, best) in enumerate(ordered):
        group = tuple(name for name, rank in ordered[start:] if rank - best <= difference)
        if len(group) > 1 and not (found and set(group) <= set(found[-1])):
            found.append(group)
    return tuple(found)
