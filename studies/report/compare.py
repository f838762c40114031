"""Two studies side by side: what differs in their designs, in what they found, and in what they say of their claims.

Variants are the same where their names are. Where two records share task, backbone, seed and split, their difference
is one of what was changed between the studies; the difference of differences asks whether a variant's lead over the
reference changed, on the seeds that both studies have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lrlora.studies.report.source import Record, Results, flatten, label, metric_value
from lrlora.studies.report.statistics import Estimate, PairedDifference, paired_difference
from lrlora.studies.report.summary import StudySummary, VariantSummary, summarise

NOT_DESIGN = frozenset({"name", "question", "tuning", "paper", "budgets", "shortcuts", "claims", "seconds_per_example"})
"""What a study declares beside its design: words, published figures, and budgets other than the one that was run."""

DECISIVE = frozenset({"reproduced", "contradicted"})


@dataclass(frozen=True)
class Setting:
    """A setting that differs; None where a study doesn't have it."""

    key: str
    first: Any
    second: Any


@dataclass(frozen=True)
class CommonVariant:
    """A variant that both studies have.

    Attributes:
        name: Its name.
        first: The metric in the first study, None without a finished cell.
        second: In the second.
        change: Second less first over matched cells; None where no cells match.
        lead_change: Second less first of the variant's difference to the reference, over matched cells of all four;
            None for the reference, and where no cells match.
    """

    name: str
    first: Estimate | None
    second: Estimate | None
    change: PairedDifference | None
    lead_change: PairedDifference | None


@dataclass(frozen=True)
class CommonClaim:
    """A claim with its decision in either study; None where a study doesn't make it."""

    says: str
    first: str | None
    second: str | None

    @property
    def opposed(self) -> bool:
        """Whether both decide, and not alike."""
        return self.first != self.second and {self.first, self.second} <= DECISIVE


@dataclass(frozen=True)
class StudyComparison:
    """Two studies, compared.

    Attributes:
        first: Summary of the first.
        second: Of the second.
        folders: Where they were run.
        settings: Where their designs differ.
        not_comparable: Why their figures can't be set against each other; empty where they can.
        variants: What both have.
        only_first: Variants of the first alone.
        only_second: Of the second alone.
        claims: Of either, first those of both.
    """

    first: StudySummary
    second: StudySummary
    folders: tuple[str, str]
    settings: tuple[Setting, ...]
    not_comparable: tuple[str, ...]
    variants: tuple[CommonVariant, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    claims: tuple[CommonClaim, ...]


def compare_studies(first: Results, second: Results) -> StudyComparison:
    """Set two studies against each other.

    Swapping them swaps every pair and turns every sign.
    """
    one, other = summarise(first), summarise(second)
    reasons = _not_comparable(one, other)
    theirs = {variant.name: variant for variant in other.variants}
    return StudyComparison(
        first=one,
        second=other,
        folders=(str(first.out), str(second.out)),
        settings=tuple(differing_settings(_declared(first.study), _declared(second.study))),
        not_comparable=reasons,
        variants=tuple(
            _common(variant, theirs[variant.name], one, other, bool(reasons))
            for variant in one.variants
            if variant.name in theirs
        ),
        only_first=tuple(variant.name for variant in one.variants if variant.name not in theirs),
        only_second=tuple(name for name in theirs if name not in {variant.name for variant in one.variants}),
        claims=tuple(_claims(one, other)),
    )


def differing_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Setting]:
    """Every setting that is not the same in both, by dotted key in alphabetical order."""
    here, there = flatten(first), flatten(second)
    differing = [key for key in sorted({*here, *there}) if here.get(key) != there.get(key)]
    return [Setting(key, here.get(key), there.get(key)) for key in differing]


def _declared(study: Any) -> dict[str, Any]:
    found = study.model_dump(mode="json") if hasattr(study, "model_dump") else {}
    return {key: value for key, value in found.items() if key not in NOT_DESIGN}


def _not_comparable(first: StudySummary, second: StudySummary) -> tuple[str, ...]:
    reasons = []
    if (first.metric, first.maximize) != (second.metric, second.maximize):
        reasons.append(f"they are judged by different metrics, {first.metric} and {second.metric}")
    for field in ("task", "backbone"):
        here, there = ({label(record, field) for record in one.records} for one in (first, second))
        if here and there and not here & there:
            reasons.append(f"they share no {field}: {', '.join(sorted(here))} against {', '.join(sorted(there))}")
    if first.records and second.records and first.split != second.split:
        reasons.append(f"one is judged on the {first.split}, the other on the {second.split}")
    return tuple(reasons)


def _common(
    variant: VariantSummary, other: VariantSummary, first: StudySummary, second: StudySummary, apart: bool
) -> CommonVariant:
    change = lead = None
    if not apart:
        here, there = _values(first, variant.name), _values(second, variant.name)
        change = _paired(here, there)
        reference = first.reference
        if reference == second.reference and reference is not None and variant.name != reference:
            lead = _paired(_minus(here, _values(first, reference)), _minus(there, _values(second, reference)))
    return CommonVariant(variant.name, variant.metric, other.metric, change, lead)


Place = tuple[str, str, str]


def _values(summary: StudySummary, variant: str) -> dict[Place, float]:
    """The metric by task, backbone and seed, averaged where a variant has several cells there."""
    found: dict[Place, list[float]] = {}
    for record in summary.records_of(variant):
        value = metric_value(record, summary.metric)
        if value is not None:
            found.setdefault(_place(record), []).append(value)
    return {place: sum(values) / len(values) for place, values in found.items()}


def _place(record: Record) -> Place:
    return label(record, "task"), label(record, "backbone"), label(record, "seed")


def _minus(values: Mapping[Place, float], others: Mapping[Place, float]) -> dict[Place, float]:
    return {place: value - others[place] for place, value in values.items() if place in others}


def _paired(first: Mapping[Place, float], second: Mapping[Place, float]) -> PairedDifference | None:
    """Second less first over shared seeds; with several tasks over shared tasks, cells averaged within each."""
    shared = sorted(place for place in first if place in second)
    key = 0 if len({place[0] for place in shared}) > 1 else 2
    units: dict[str, list[Place]] = {}
    for place in shared:
        units.setdefault(place[key], []).append(place)
    means = [
        [sum(values[place] for place in places) / len(places) for places in units.values()]
        for values in (second, first)
    ]
    return paired_difference(*means)


def _claims(first: StudySummary, second: StudySummary) -> list[CommonClaim]:
    here, there = ({verdict.claim.says: verdict.decision for verdict in one.verdicts} for one in (first, second))
    both = [says for says in here if says in there]
    rest = [says for says in (*here, *there) if says not in both]
    return [CommonClaim(says, here.get(says), there.get(says)) for says in (*both, *rest)]
