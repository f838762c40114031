"""Two studies compared: differing settings, differences of results on shared seeds, and verdicts on their claims.

Variants are the same if their names are. Where two records share task, backbone, seed and split, their difference is
due to what was changed between the studies; the difference of differences tests whether a variant's lead over the
reference changed, on the seeds that both studies have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lrlora.studies.stats.paired import Estimate, PairedDifference, paired_difference
from lrlora.studies.stats.runs import PLACE, unit_of
from lrlora.studies.stats.source import Results, flatten, label
from lrlora.studies.stats.summary import StudySummary, VariantSummary, summarise

NOT_DESIGN = frozenset({"name", "question", "tuning", "paper", "budgets", "shortcuts", "claims", "seconds_per_example"})
"""Fields of a study that are no part of its design: words, published values, and budgets that were not run."""


@dataclass(frozen=True)
class DifferingSetting:
    """A setting that differs; None if a study does not have it."""

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
        change: Second minus first over matched cells; None if no cells match.
        lead_change: Second minus first of the variant's difference to the reference, over matched cells of all four;
            None for the reference, and if no cells match.
    """

    name: str
    first: Estimate | None
    second: Estimate | None
    change: PairedDifference | None
    lead_change: PairedDifference | None


@dataclass(frozen=True)
class CommonClaim:
    """A claim with its verdict in either study; None if a study does not make it."""

    says: str
    first: str | None
    second: str | None

    @property
    def opposed(self) -> bool:
        """Whether both are decided, and in opposite ways."""
        return {self.first, self.second} in ({"supported", "contradicted"}, {"supported", "no effect of that size"})


@dataclass(frozen=True)
class StudyComparison:
    """Two studies, compared.

    Attributes:
        first: Summary of the first.
        second: Of the second.
        folders: Where they were run.
        settings: The settings in which their designs differ.
        not_comparable: Reasons why their metrics cannot be subtracted; empty if they can.
        variants: Those of both.
        only_first: Variants of the first alone.
        only_second: Of the second alone.
        claims: Of either, first those of both.
    """

    first: StudySummary
    second: StudySummary
    folders: tuple[str, str]
    settings: tuple[DifferingSetting, ...]
    not_comparable: tuple[str, ...]
    variants: tuple[CommonVariant, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    claims: tuple[CommonClaim, ...]


def compare_studies(first: Results, second: Results) -> StudyComparison:
    """Compare two studies. Exchanging them exchanges every pair and every sign."""
    one, other = summarise(first), summarise(second)
    reasons = _not_comparable(one, other)
    here, there = ({variant.name: variant for variant in each.variants} for each in (one, other))
    return StudyComparison(
        first=one,
        second=other,
        folders=(str(first.out), str(second.out)),
        settings=tuple(differing_settings(_declared(first.study), _declared(second.study))),
        not_comparable=reasons,
        variants=tuple(_common(here[name], there[name], one, other, bool(reasons)) for name in here if name in there),
        only_first=tuple(name for name in here if name not in there),
        only_second=tuple(name for name in there if name not in here),
        claims=tuple(_claims(one, other)),
    )


def differing_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[DifferingSetting]:
    """Returns every setting that is not the same in both, by dotted key in alphabetical order."""
    here, there = flatten(first), flatten(second)
    differing = [key for key in sorted({*here, *there}) if here.get(key) != there.get(key)]
    return [DifferingSetting(key, here.get(key), there.get(key)) for key in differing]


def _declared(study: Any) -> dict[str, Any]:
    found = study.model_dump(mode="json") if hasattr(study, "model_dump") else {}
    return {key: value for key, value in found.items() if key not in NOT_DESIGN}


def _not_comparable(first: StudySummary, second: StudySummary) -> tuple[str, ...]:
    reasons = []
    if (first.metric, first.maximize) != (second.metric, second.maximize):
        reasons.append(f"they have different metrics, {first.metric} and {second.metric}")
    for field in ("task", "backbone"):
        here, there = ({label(record, field) for record in one.records} for one in (first, second))
        if here and there and not here & there:
            reasons.append(f"they share no {field}: {', '.join(sorted(here))} against {', '.join(sorted(there))}")
    if first.records and second.records and first.split != second.split:
        reasons.append(f"one is evaluated on the {first.split}, the other on the {second.split}")
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
            lead = _paired(here - _values(first, reference), there - _values(second, reference))
    return CommonVariant(variant.name, variant.metric, other.metric, change, lead)


def _values(summary: StudySummary, variant: str) -> pd.Series:
    """Returns the metric by task, backbone and seed, averaged over the cells there."""
    runs = summary.runs[summary.runs["variant"] == variant].dropna(subset=[summary.metric])
    return runs.groupby(list(PLACE))[summary.metric].mean()


def _paired(first: pd.Series, second: pd.Series) -> PairedDifference | None:
    """Second minus first over shared seeds; with several tasks over shared tasks, cells averaged within each."""
    pairs = pd.concat([second, first], axis=1, join="inner").dropna().sort_index()
    means = pairs.groupby(level=unit_of(pairs.index.to_frame())).mean()
    return paired_difference(*means.to_numpy().T.tolist()) if len(means) else None


def _claims(first: StudySummary, second: StudySummary) -> list[CommonClaim]:
    here, there = ({verdict.claim.says: verdict.outcome for verdict in one.verdicts} for one in (first, second))
    both = [says for says in here if says in there]
    rest = [says for says in (*here, *there) if says not in both]
    return [CommonClaim(says, here.get(says), there.get(says)) for says in (*both, *rest)]
