"""Several tasks, several backbones: what holds at each of them, beside what holds on average."""

from __future__ import annotations

from dataclasses import dataclass

from lrlora.studies.report.comparisons import compare
from lrlora.studies.report.formatting import MISSING, Scale
from lrlora.studies.report.presentation import Column, Table, reference_rows
from lrlora.studies.report.source import places
from lrlora.studies.report.statistics import PairedDifference
from lrlora.studies.report.summary import StudySummary


@dataclass(frozen=True)
class PlaceDifference:
    """A paired difference over seeds at one task and backbone."""

    of: str
    against: str
    place: str
    difference: PairedDifference


def place_table(summary: StudySummary) -> Table | None:
    """The metric per task and backbone, over seeds; None for a single one."""
    found = list(dict.fromkeys(place for variant in summary.variants for place in variant.by_place))
    if len(found) < 2:
        return None
    scale = Scale.of(summary.metric)
    rows = tuple(
        (
            variant.name,
            *(scale.spread(one.mean, one.std) if (one := variant.by_place.get(place)) else MISSING for place in found),
        )
        for variant in summary.variants
    )
    columns = (Column("Variant", False), *(Column(place) for place in found))
    caption = f"{summary.metric.capitalize()}{scale.unit.replace(' ', ', ')} by {_what(summary)}, over seeds."
    return Table("places", caption, columns, rows, reference_rows(summary))


def place_difference_table(summary: StudySummary) -> Table | None:
    """The compared pairs at each task and backbone; None for a single one, or without comparisons."""
    found = place_differences(summary)
    headings = list(dict.fromkeys(one.place for one in found))
    if len(headings) < 2:
        return None
    scale = Scale.of(summary.metric)
    by_pair: dict[tuple[str, str], dict[str, PairedDifference]] = {(c.of, c.against): {} for c in summary.comparisons}
    for one in found:
        by_pair[one.of, one.against][one.place] = one.difference
    rows = tuple(
        (
            of if summary.partner else f"{of} to {against}",
            *(
                scale.difference(d.mean, d.low, d.high) if (d := differences.get(place)) else MISSING
                for place in headings
            ),
        )
        for (of, against), differences in by_pair.items()
    )
    columns = (Column("Variant", False), *(Column(place) for place in headings))
    to = f" to {summary.partner}" if summary.partner else ""
    caption = (
        f"Paired difference{to} by {_what(summary)}, in {scale.unit_in_words}, with its 95 % interval over seeds. "
        "Not tested one by one: with so many of them some intervals exclude 0 by chance."
    )
    return Table("place-differences", caption, columns, rows)


def place_differences(summary: StudySummary) -> list[PlaceDifference]:
    """The study's comparisons over the seeds of each task and backbone; empty where there is only one."""
    by_place = places(summary.records)
    if len(by_place) < 2:
        return []
    family = [(one.of, one.against) for one in summary.comparisons]
    found = []
    for place, records in by_place.items():
        names = dict.fromkeys(str(record["variant"]) for record in records)
        by_variant = {name: [record for record in records if record["variant"] == name] for name in names}
        compared = compare(by_variant, family, summary.metric)
        found += [PlaceDifference(one.of, one.against, place, one.difference) for one in compared]
    return found


def _what(summary: StudySummary) -> str:
    fields = ("task", "backbone")
    return " and ".join(field for field in fields if len({str(r.get(field)) for r in summary.records}) > 1)
