"""The mean of a quantity that was observed with several seeds on the same test examples.

The mean over seeds on one test set says little about other test sets: with twenty seeds, 32 % of the intervals that
follow from seeds alone miss the difference on all examples, where 5 % should (docs/statistics.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lrlora.studies.stats.paired import ALPHA, POWER, PairedDifference, paired_difference
from lrlora.studies.stats.uncertainty import Counts, Variances, smallest_level

Array = NDArray[np.float64]


def mean_difference(differences: Array) -> PairedDifference | None:
    """Returns the mean of paired differences, with an interval that covers seeds and, if they are given, examples.

    With both, the differences are those of a two-way layout, d = δ + seed + example + rest, all random. The variance of
    the mean is that of the seed means, (MS_seed) / SE, plus what the examples add, (MS_example − MS_rest) / SE.

    Args:
        differences: ``(seeds, examples)``; ``(seeds, 1)`` if there are no examples. One seed on several examples is
            tested by McNemar's exact test, if the differences are those of right and wrong answers.

    Returns:
        The difference; None without one.
    """
    seeds, examples = differences.shape
    if seeds == 0 or examples == 0:
        return None
    means = differences.mean(axis=1)
    if examples == 1:
        return paired_difference(means.tolist(), [0.0] * seeds)
    parts = [] if seeds == 1 else [(float(means.var(ddof=1)) / seeds, seeds - 1)]
    if added := _variance_of_examples(differences):
        parts.append((added, examples - 1))
    if not any(variance for variance, _ in parts):
        without = paired_difference(means.tolist(), [0.0] * seeds)
        return None if without is None else replace(without, examples=examples)
    mean, std = float(means.mean()), float(means.std(ddof=1)) if seeds > 1 else None
    variances = Variances(tuple(parts))
    low, high = variances.interval(mean, ALPHA)
    if seeds == 1 and np.isin(differences, (-1.0, 0.0, 1.0)).all():
        p = counts_of(differences[0]).p
    else:
        p = smallest_level(lambda alpha: variances.half_width(alpha) < abs(mean))
    return PairedDifference(
        n=seeds,
        mean=mean,
        std=std,
        low=low,
        high=high,
        p=p,
        effect_size=mean / std if std else None,
        detectable=variances.half_width(ALPHA) + variances.half_width(2 * (1 - POWER)),
        uncertainty=variances,
        examples=examples,
    )


def counts_of(differences: Array) -> Counts:
    """Returns the counts of differences that are −1, 0 or 1, ``(n,)``."""
    return Counts(len(differences), int((differences > 0).sum()), int((differences < 0).sum()))


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of a two-way layout of seeds and examples.

    Attributes:
        seed: MS_seed, with S − 1 degrees of freedom; 0 for one seed.
        example: MS_example, with E − 1 degrees of freedom.
        rest: MS_rest, with (S − 1)(E − 1) degrees of freedom; 0 for one seed.
    """

    seed: float
    example: float
    rest: float


def mean_squares(differences: Array) -> MeanSquares:
    """Returns the mean squares of ``differences``, ``(seeds, examples)``; of at least two examples."""
    seeds, examples = differences.shape
    of_seeds = differences.mean(axis=1, keepdims=True)
    of_examples = differences.mean(axis=0, keepdims=True)
    whole = differences.mean()
    between = float(seeds * ((of_examples - whole) ** 2).sum() / (examples - 1))
    if seeds == 1:
        return MeanSquares(0.0, between, 0.0)
    rest = float(((differences - of_seeds - of_examples + whole) ** 2).sum() / ((seeds - 1) * (examples - 1)))
    return MeanSquares(float(examples * ((of_seeds - whole) ** 2).sum() / (seeds - 1)), between, rest)


def _variance_of_examples(differences: Array) -> float:
    """What the sampling of examples adds to the variance of the mean, beyond what the seed means show; 0 or more."""
    found = mean_squares(differences)
    return max(0.0, found.example - found.rest) / differences.size
