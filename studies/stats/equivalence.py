"""Tests about a margin: whether a difference is smaller than it, or larger."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats

from lrlora.studies.stats.paired import hidden_spread, paired_difference


def equivalence(differences: Sequence[float], margin: float) -> float | None:
    """p of two one-sided paired t-tests: small if the true mean difference lies within ± the margin.

    Source: Schuirmann 1987, J. Pharmacokin. Biopharm. 15, 657-680.

    Args:
        differences: Paired differences.
        margin: In the unit of the differences.

    Returns:
        The p value; None for fewer than two differences. If all are the same, their spread is taken as what rounding to
        multiples of the difference, or of the margin if that is larger, would have hidden.

    Raises:
        ValueError: The margin is not positive.
    """
    found = _inside_margin(differences, margin)
    return None if found is None else float(stats.t.sf(*found))


def inequivalence(differences: Sequence[float], margin: float) -> float | None:
    """p of the opposite: small if the true mean difference lies beyond the margin, on either side.

    It is below .05 if the 95 % interval of the t-test lies wholly beyond the margin. Returns and raises as
    :func:`equivalence`.
    """
    found = _inside_margin(differences, margin)
    return None if found is None else min(1.0, 2 * float(stats.t.cdf(*found)))


def _inside_margin(differences: Sequence[float], margin: float) -> tuple[float, int] | None:
    """The distance of the mean to the nearer margin in SE, positive inside, and their degrees of freedom."""
    if not margin > 0:
        raise ValueError(f"a margin is positive, not {margin!r}")
    found = paired_difference(differences, [0.0] * len(differences))
    if found is None or found.std is None:
        return None
    std = found.std or hidden_spread(max(abs(found.mean), margin))
    return (margin - abs(found.mean)) / (std / math.sqrt(found.n)), found.n - 1
