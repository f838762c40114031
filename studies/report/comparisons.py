"""Which cells of a variant belong to which cells of the reference, and what the pairs say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lrlora.studies.report.source import Record, label, metric_value
from lrlora.studies.report.statistics import ALPHA, PairedDifference, holm, paired_difference

Unit = Literal["seed", "task"]
"""What is repeated: seeds within one task, or, with several tasks, the tasks (seeds are averaged within each)."""

Verdict = Literal["reproduced", "contradicted", "not decided at this scale"]


@dataclass(frozen=True)
class Comparison:
    """A variant against the reference.

    Attributes:
        unit: What the pairs are.
        difference: Variant minus reference, in the metric's unit.
        p_holm: The paired t-test's p after Holm's correction over all variants of the study; None without a test.
        lost_pairs: Cells of the variant or the reference whose partner diverged, failed or is missing.
    """

    unit: Unit
    difference: PairedDifference
    p_holm: float | None
    lost_pairs: int

    @property
    def decided(self) -> bool:
        """Whether the interval excludes 0 and the test survives the correction."""
        return self.difference.excludes_zero and self.p_holm is not None and self.p_holm < ALPHA

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


def compare(by_variant: Mapping[str, Sequence[Record]], reference: str, metric: str) -> dict[str, Comparison]:
    """Compare every variant with the reference, over matched cells, as one family of tests.

    Cells match when task, backbone and seed agree, and every axis that varies within the reference itself. Matched
    differences are averaged within a repetition (a seed; with several tasks, a task) before the test.

    Args:
        by_variant: The records of each variant.
        reference: Name of the reference, a key of ``by_variant``.
        metric: Key of the compared metric.

    Returns:
        One comparison per variant that has at least one matched pair; the reference is not among them.
    """
    unit = unit_of([record for records in by_variant.values() for record in records])
    axes = _axes_within(by_variant[reference])
    reference_cells = _cells(by_variant[reference], axes, metric)
    planned_keys = {_key(record, axes) for record in by_variant[reference]}
    differences: dict[str, PairedDifference] = {}
    lost: dict[str, int] = {}
    for variant, records in by_variant.items():
        if variant == reference:
            continue
        cells = _cells(records, axes, metric)
        matched = [key for key in cells if key in reference_cells]
        within: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for key in matched:
            within[key[0] if unit == "task" else key[2]].append((cells[key], reference_cells[key]))
        found = paired_difference(
            [sum(pair[0] for pair in pairs) / len(pairs) for pairs in within.values()],
            [sum(pair[1] for pair in pairs) / len(pairs) for pairs in within.values()],
        )
        if found is not None:
            differences[variant] = found
            lost[variant] = len(planned_keys | {_key(record, axes) for record in records}) - len(matched)
    tested = {name: found.p for name, found in differences.items() if found.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {
        name: Comparison(unit, difference, adjusted.get(name), lost[name]) for name, difference in differences.items()
    }


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
