"""Variants compared with one another over matched runs: same task, backbone and seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from lrlora.studies.stats.bootstrap import hierarchical_interval
from lrlora.studies.stats.crossed import mean_difference
from lrlora.studies.stats.measures import PUBLISHED_UNITS, SMALLEST_EFFECTS
from lrlora.studies.stats.outcomes import Question, in_words
from lrlora.studies.stats.paired import ALPHA, PairedDifference, holm
from lrlora.studies.stats.runs import AXIS, PLACE, Unit, matched, metric_values, unit_of, with_places


@dataclass(frozen=True)
class VariantComparison:
    """A variant against another.

    Attributes:
        of: The variant.
        against: What it is compared with.
        unit: What the pairs are.
        difference: Variant minus partner, in the metric's unit.
        p_holm: p after Holm's correction over the comparisons of the study; None without a test.
        lost_pairs: Runs of either whose partner diverged, failed or is missing.
        by_task: With several tasks, the differences of the runs within each.
        across_tasks: From three tasks on, the interval of a bootstrap over tasks and over the runs within each.
        level: That of the family over the number of its comparisons.
    """

    of: str
    against: str
    unit: Unit
    difference: PairedDifference
    p_holm: float | None
    lost_pairs: int
    by_task: Mapping[str, Sequence[float]] = field(default_factory=dict)
    across_tasks: tuple[float, float] | None = None
    level: float = ALPHA

    @property
    def decided(self) -> bool:
        """Whether the interval excludes 0 and the test survives the correction."""
        return self.difference.excludes_zero and self.p_holm is not None and self.p_holm < ALPHA

    @property
    def turned(self) -> VariantComparison:
        """The same test with variant and partner exchanged."""
        return replace(
            self,
            of=self.against,
            against=self.of,
            difference=self.difference.turned,
            by_task={task: [-value for value in found] for task, found in self.by_task.items()},
            across_tasks=None if self.across_tasks is None else (-self.across_tasks[1], -self.across_tasks[0]),
        )

    def verdict(self, published: float | None, metric: str) -> str | None:
        """What this difference says of a published one; None without one.

        Args:
            published: The published difference, in the paper's unit.
            metric: The compared metric, which says how that is converted; if it is not, only the sign counts.
        """
        found = self.difference
        if not published:
            return None
        if found.uncertainty is None or found.n < 2:
            return "undecided"
        unit, turn = PUBLISHED_UNITS.get(metric), math.copysign(1.0, published)
        size = None if unit is None else unit * abs(published)
        question = Question("sign", smallest=SMALLEST_EFFECTS.get(metric), published=size)
        uncertainty = found.uncertainty if turn > 0 else found.uncertainty.turned
        return in_words(*question.outcome(turn * found.mean, uncertainty, self.level))


def compare(runs: pd.DataFrame, family: Sequence[tuple[str, str]], metric: str) -> list[VariantComparison]:
    """Compare pairs of variants over matched runs, as one family.

    Runs match if task, backbone and seed agree, and every axis that varies within the partner itself. Matched
    differences are averaged within a repetition (a seed; with several tasks, a task) before the test.

    Args:
        runs: See :mod:`lrlora.studies.stats.runs`.
        family: Each variant with the one it is compared with.
        metric: Column of the compared metric.

    Returns:
        One comparison per pair that has at least one matched pair of runs.
    """
    runs = with_places(runs)
    unit = unit_of(runs)
    compared = [_compare(runs, of, against, metric, unit) for of, against in family]
    found = [comparison for comparison in compared if comparison is not None]
    tested = [one.difference.p for one in found if one.difference.p is not None]
    adjusted = iter(holm(tested))
    level = ALPHA / max(1, len(found))
    return [replace(one, p_holm=None if one.difference.p is None else next(adjusted), level=level) for one in found]


def by_row(comparisons: Sequence[VariantComparison], reference: str | None) -> dict[str, VariantComparison]:
    """The comparison that stands in each variant's row: its first.

    If one variant is compared with many, its later comparisons stand in its partners' rows, turned.
    """
    rows = {comparison.of: comparison for comparison in reversed(comparisons)}
    for comparison in comparisons:
        if rows[comparison.of] is not comparison and comparison.against != reference:
            rows.setdefault(comparison.against, comparison.turned)
    return rows


def _compare(runs: pd.DataFrame, of: str, against: str, metric: str, unit: Unit) -> VariantComparison | None:
    here, there = (runs[runs["variant"] == name] for name in (of, against))
    axes = [name for name in runs if str(name).startswith(AXIS) and there[name].nunique(dropna=False) > 1]
    keys = [*PLACE, *axes]
    cells, partners = matched(*(metric_values(part, metric, keys, unit) for part in (here, there)))
    differences = cells - partners
    found = mean_difference(differences.groupby(level=unit, sort=False, dropna=False).mean().to_numpy())
    if found is None:
        return None
    tasks = {}
    if unit == "task":
        whole = differences.mean(axis=1)
        tasks = {str(task): one.tolist() for task, one in whole.groupby(level="task", sort=False)}
    lost = len(pd.concat([here, there])[keys].drop_duplicates()) - len(differences)
    return VariantComparison(of, against, unit, found, None, lost, tasks, hierarchical_interval(tasks))
