"""Which cells of a variant belong to which cells of the reference, and what the pairs say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from lrlora.studies.report.designs import hierarchical_interval
from lrlora.studies.report.source import Record, label, metric_value
from lrlora.studies.report.statistics import ALPHA, PairedDifference, paired_difference

Unit = Literal["seed", "task"]
"""What is repeated: seeds within one task, or, with several tasks, the tasks (seeds are averaged within each)."""

Verdict = Literal["reproduced", "contradicted", "not decided at this scale"]


@dataclass(frozen=True)
class Comparison:
    """A variant against another.

    Attributes:
        of: The variant.
        against: What it is compared with.
        unit: What the pairs are.
        difference: Variant minus partner, in the metric's unit.
        p_holm: The paired t-test's p after Holm's correction over all tests of the study; None without a test.
        lost_pairs: Cells of either whose partner diverged, failed or is missing.
        by_task: With several tasks, the differences of the cells within each.
        across_tasks: From three tasks on, the interval of a bootstrap over tasks and over the cells within each.
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
    def turned(self) -> Comparison:
        """The same test, told of the partner."""
        return replace(
            self,
            of=self.against,
            against=self.of,
            difference=self.difference.turned,
            by_task={task: [-value for value in found] for task, found in self.by_task.items()},
            across_tasks=None if self.across_tasks is None else (-self.across_tasks[1], -self.across_tasks[0]),
        )

    def verdict(self, published: float | None) -> Verdict | None:
        """Whether this sign and a published difference's sign agree; None without a published difference."""
        if published is None or published == 0.0:
            return None
        if not self.decided:
            return "not decided at this scale"
        return "reproduced" if (published > 0) == (self.difference.mean > 0) else "contradicted"


def unit_of(records: Sequence[Record]) -> Unit:
    """What the repetitions of this study are."""
    return "task" if len({label(record, "task") for record in records}) > 1 else "seed"


def unit_means(records: Sequence[Record], metric: str, unit: Unit) -> dict[str, float]:
    """The metric per repetition, averaged over the cells within it, in the order of the records."""
    values: dict[str, list[float]] = defaultdict(list)
    for record in records:
        value = metric_value(record, metric)
        if value is not None:
            values[label(record, unit)].append(value)
    return {key: sum(found) / len(found) for key, found in values.items()}


def compare(
    by_variant: Mapping[str, Sequence[Record]], family: Sequence[tuple[str, str]], metric: str
) -> list[Comparison]:
    """Compare pairs of variants over matched cells. Their p values are not corrected yet.

    Cells match when task, backbone and seed agree, and every axis that varies within the partner itself. Matched
    differences are averaged within a repetition (a seed; with several tasks, a task) before the test.

    Args:
        by_variant: The records of each variant.
        family: Each variant with the one it is compared with.
        metric: Key of the compared metric.

    Returns:
        One comparison per pair that has at least one matched pair of cells.
    """
    unit = unit_of([record for records in by_variant.values() for record in records])
    found = [_compare(by_variant, of, against, metric, unit) for of, against in family]
    return [comparison for comparison in found if comparison is not None]


def by_row(comparisons: Sequence[Comparison], reference: str | None) -> dict[str, Comparison]:
    """The comparison that stands in each variant's row: its first.

    Where one variant is compared with many, its later comparisons stand in its partners' rows, told of them.
    """
    rows = {comparison.of: comparison for comparison in reversed(comparisons)}
    for comparison in comparisons:
        if rows[comparison.of] is not comparison and comparison.against != reference:
            rows.setdefault(comparison.against, comparison.turned)
    return rows


def _compare(
    by_variant: Mapping[str, Sequence[Record]], of: str, against: str, metric: str, unit: Unit
) -> Comparison | None:
    records, partners = by_variant.get(of, ()), by_variant.get(against, ())
    axes = _axes_within(partners)
    cells, partner_cells = _cells(records, axes, metric), _cells(partners, axes, metric)
    matched = [key for key in cells if key in partner_cells]
    within: dict[str, list[tuple[float, float]]] = defaultdict(list)
    by_task: dict[str, list[float]] = defaultdict(list)
    for key in matched:
        within[key[0] if unit == "task" else key[2]].append((cells[key], partner_cells[key]))
        by_task[key[0]].append(cells[key] - partner_cells[key])
    found = paired_difference(
        [sum(pair[0] for pair in pairs) / len(pairs) for pairs in within.values()],
        [sum(pair[1] for pair in pairs) / len(pairs) for pairs in within.values()],
    )
    if found is None:
        return None
    planned = {_key(record, axes) for record in (*records, *partners)}
    tasks = dict(by_task) if unit == "task" else {}
    lost = len(planned) - len(matched)
    return Comparison(of, against, unit, found, None, lost, tasks, hierarchical_interval(tasks))


def _axes_within(records: Sequence[Record]) -> tuple[str, ...]:
    """The axes that take several values within one variant: they tell its cells apart, and not it from others."""
    values: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for axis, value in (record.get("axes") or {}).items():
            values[axis].add(repr(value))
    return tuple(sorted(axis for axis, found in values.items() if len(found) > 1))


def _key(record: Record, axes: Sequence[str]) -> tuple[str, ...]:
    place = tuple(label(record, field) for field in ("task", "backbone", "seed"))
    return place + tuple(repr((record.get("axes") or {}).get(axis)) for axis in axes)


def _cells(records: Sequence[Record], axes: Sequence[str], metric: str) -> dict[tuple[str, ...], float]:
    """The metric by matching key, averaged where a variant has several cells with one key."""
    values: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for record in records:
        value = metric_value(record, metric)
        if value is not None:
            values[_key(record, axes)].append(value)
    return {key: sum(found) / len(found) for key, found in values.items()}
