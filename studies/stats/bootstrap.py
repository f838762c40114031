"""Bootstrap intervals: of a mean, and of a mean over tasks and the seeds within each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
MINIMUM_PAIRS = 6
"""Below this, resampling has too few distinct samples for the tail quantiles of BCa to mean anything."""

RESAMPLES = 9999
SEED = 20240229  # fixed, so that reporting the same records twice gives the same bytes


def bootstrap_interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """BCa bootstrap interval of the mean at 95 %; None for fewer than six values or if they have no spread.

    Source: Efron 1987, Better bootstrap confidence intervals, as implemented by ``scipy.stats.bootstrap``.
    """
    array = np.asarray(differences, dtype=float)
    if len(array) < MINIMUM_PAIRS or np.all(array == array[0]):
        return None
    interval = stats.bootstrap(
        (array,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="BCa",
        random_state=np.random.default_rng(SEED),
    ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def hierarchical_interval(by_task: Mapping[str, Sequence[float]]) -> tuple[float, float] | None:
    """Percentile bootstrap interval at 95 % of the mean over tasks of the mean over seeds.

    Tasks are resampled, and within each its seeds: the interval says how a difference generalises to other tasks of
    the kind and to other seeds (Davison and Hinkley 1997, section 3.8).

    Returns:
        The interval; None for fewer than three tasks, or if no task has two seeds.
    """
    groups = [np.asarray(values, dtype=float) for values in by_task.values() if len(values) > 0]
    if len(groups) < 3 or max(len(group) for group in groups) < 2:
        return None
    random = np.random.default_rng(SEED)
    # For every task as many resampled means as there are resamples; then the tasks of each resample.
    means = np.stack([group[random.integers(len(group), size=(RESAMPLES, len(group)))].mean(1) for group in groups])
    sampled = random.integers(len(groups), size=(len(groups), RESAMPLES))
    totals = means[sampled, np.arange(RESAMPLES)].mean(0)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(totals, [tail, 100 - tail])
    return float(low), float(high)
