"""Variants compared with one another over matched runs: same task, backbone and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from lrlora.studies.stats.bootstrap import hierarchical_interval
from lrlora.studies.stats.paired import ALPHA, PairedDifference, paired_difference
from lrlora.studies.stats.runs import AXIS, PLACE, Unit, unit_of, with_places

Decision = Literal["reproduced", "contradicted", "not decided at this scale", "not tested"]
"""What the runs say of a published sign or of a claim."""


@dataclass(frozen=True)
class VariantComparison:
    """A variant against another.

    Attributes:
        of: The variant.
        against: What it is compared with.
        unit: What the pairs are.
        difference: Variant minus partner, in the metric's unit.
        p_holm: The paired t-test's p after Holm's correction over all tests of the study; None without a test.
        lost_pairs: Runs of either whose partner diverged, failed or is missing.
        by_task: With several tasks, the differences of the runs within each.
        across_tasks: From three tasks on, the interval of a bootstrap over tasks and over the runs within each.
    """

    of: str
    against: str
    unit: Unit
    difference: PairedDifference
    p_holm: float | None
    lost_pairs: int
    by_task: Mapping[str, Sequence[float]] = field(default_factory=dict)
    across_tasks: tuple[float, float] | None = None

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

    def verdict(self, published: float | None) -> Decision | None:
        """Whether this sign and a published difference's sign agree; None without a published difference."""
        if published is None or published == 0.0:
            return None
        if not self.decided:
            return "not decided at this scale"
        return "reproduced" if (published > 0) == (self.difference.mean > 0) else "contradicted"


def compare(runs: pd.DataFrame, family: Sequence[tuple[str, str]], metric: str) -> list[VariantComparison]:
    """Compare pairs of variants over matched runs. Their p values are not corrected yet.

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
    found = [_compare(runs, of, against, metric, unit) for of, against in family]
    return [comparison for comparison in found if comparison is not None]


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
    cells, partners = (
        part.dropna(subset=[metric]).groupby(keys, sort=False, dropna=False)[metric].mean().reset_index()
        for part in (here, there)
    )
    pairs = cells.merge(partners, on=keys, suffixes=("_of", "_against"))
    means = pairs.groupby(unit, sort=False, dropna=False)[[f"{metric}_of", f"{metric}_against"]].mean()
    found = paired_difference(*(means[name].tolist() for name in means))
    if found is None:
        return None
    differences = pairs[f"{metric}_of"] - pairs[f"{metric}_against"]
    tasks = {}
    if unit == "task":
        tasks = {str(task): one.tolist() for task, one in differences.groupby(pairs["task"], sort=False)}
    lost = len(pd.concat([here, there])[keys].drop_duplicates()) - len(pairs)
    return VariantComparison(of, against, unit, found, None, lost, tasks, hierarchical_interval(tasks))
