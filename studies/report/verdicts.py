"""Verdicts: what the records say of each claim of a study, beside what the paper says."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from lrlora.studies.report.comparisons import Comparison, Unit, unit_of
from lrlora.studies.report.designs import equivalence, inequivalence, trend
from lrlora.studies.report.measures import measure
from lrlora.studies.report.source import Record, label
from lrlora.studies.report.statistics import ALPHA, PairedDifference, holm, paired_difference
from lrlora.studies.spec.claims import Claim

Decision = Literal["reproduced", "contradicted", "not decided at this scale", "not tested"]


@dataclass(frozen=True)
class Verdict:
    """One claim, judged.

    Attributes:
        claim: As the study declares it.
        metric: The figure that was compared.
        unit: What the repetitions are.
        compared: The pairs of variants that went into it.
        found: The mean difference, or for a trend the mean slope, with its interval; None where nothing was recorded.
        p: Of the claim's own test; None where there is none.
        p_holm: After Holm's correction over all tests of the study.
        decision: What is left to say.
        note: Why a claim could not be tested, where that is more than a lack of records.
    """

    claim: Claim
    metric: str
    unit: Unit
    compared: tuple[tuple[str, str], ...]
    found: PairedDifference | None
    p: float | None
    p_holm: float | None = None
    decision: Decision = "not tested"
    note: str = ""


def examine(
    claims: Sequence[Claim], by_variant: Mapping[str, Sequence[Record]], reference: str | None, metric: str
) -> list[Verdict]:
    """Test every claim, without a decision yet: that takes the correction over all tests of the study.

    Args:
        claims: As declared.
        by_variant: The records of each variant.
        reference: Against which claims stand that name no partner.
        metric: The study's metric.
    """
    return [_test(claim, by_variant, reference, claim.metric or metric) for claim in claims]


def decide(verdicts: Sequence[Verdict], comparisons: Sequence[Comparison]) -> tuple[list[Verdict], list[Comparison]]:
    """Decide every claim; both come back with Holm's correction over all tests of the study.

    A claim that is a difference of the study's metric is the same test as the comparison of those two, and counts once.
    """
    # A test by its place among the comparisons, or after them.
    tests = {place: one.difference.p for place, one in enumerate(comparisons)}
    places = [_place(verdict, comparisons, len(comparisons) + i) for i, verdict in enumerate(verdicts)]
    tests |= {place: verdict.p for place, verdict in zip(places, verdicts, strict=True) if place not in tests}
    family = {place: p for place, p in tests.items() if p is not None}
    adjusted = dict(zip(family, holm(list(family.values())), strict=True))
    judged = [_decided(replace(one, p_holm=adjusted.get(place))) for place, one in zip(places, verdicts, strict=True)]
    return judged, [replace(one, p_holm=adjusted.get(place)) for place, one in enumerate(comparisons)]


def _place(verdict: Verdict, comparisons: Sequence[Comparison], own: int) -> int:
    """Where among the comparisons a claim's test is, in either direction; ``own`` if it is none of them."""
    claim, p = verdict.claim, verdict.p
    if claim.kind != "difference" or claim.metric is not None or claim.relative or len(verdict.compared) != 1:
        return own
    for place, one in enumerate(comparisons):
        its = one.difference.p
        if {one.of, one.against} == set(verdict.compared[0]) and p is not None and its is not None:
            return place if math.isclose(p, its, rel_tol=1e-6) else own
    return own


def _test(claim: Claim, by_variant: Mapping[str, Sequence[Record]], reference: str | None, metric: str) -> Verdict:
    if claim.kind == "contrast":
        return _test_contrast(claim, by_variant, metric)
    stars = claim.pairs(by_variant, reference)
    compared = tuple((of, against) for _, of, against in stars)
    unit = unit_of([record for pair in compared for name in pair for record in by_variant.get(name, ())])
    nothing = Verdict(claim, metric, unit, compared, None, None)
    if claim.relative and (zeros := sum(_zero_partners(by_variant[of], by_variant[to], metric) for of, to in compared)):
        # Without these pairs the test would be one of the others only.
        return replace(nothing, note=f"{metric} of the partner is 0 in {zeros} pairs, to which nothing is relative")
    series = _shared(
        [
            _differences(by_variant[of], by_variant[against], metric, unit, claim.relative)
            if against
            else _by_repetition(_values(by_variant[of], metric), unit)
            for _, of, against in stars
        ]
    )
    if not series:
        return nothing
    if claim.kind == "trend":
        places = [_number(star, claim) for star, _, _ in stars]
        known = [place for place in places if place is not None]
        if len(known) != len(places) or len(set(known)) < 2:
            return nothing
        found = trend(known, series)
        return replace(nothing, found=found, p=found.p if found is not None else None)
    means = [fmean(values) for values in series]
    found = paired_difference(means, [0.0] * len(means))
    if claim.margin is not None:
        return replace(nothing, found=found, p=_p_about_margin(claim.kind, means, claim.margin))
    return replace(nothing, found=found, p=found.p if found is not None else None)


def _p_about_margin(kind: str, means: Sequence[float], margin: float) -> float | None:
    """Of the better supported of two statements that exclude each other: less than the margin, and more."""
    if kind == "at_most":
        found = paired_difference(means, [margin] * len(means))
        return found.p if found is not None else None
    tests = equivalence(means, margin), inequivalence(means, margin)
    return min((p for p in tests if p is not None), default=None)


def _test_contrast(claim: Claim, by_variant: Mapping[str, Sequence[Record]], metric: str) -> Verdict:
    names = list(claim.weights)
    unit = unit_of([record for name in names for record in by_variant.get(name, ())])
    series = _shared([_by_repetition(_values(by_variant.get(name, ()), metric), unit) for name in names])
    sums = [sum(w * value for w, value in zip(claim.weights.values(), values, strict=True)) for values in series]
    found = paired_difference(sums, [0.0] * len(sums))
    return Verdict(claim, metric, unit, (), found, found.p if found is not None else None)


@dataclass(frozen=True)
class TrendPoint:
    """What a trend is made of: at a number, the mean over repetitions with its interval."""

    at: float
    found: PairedDifference


def trend_points(
    verdict: Verdict, by_variant: Mapping[str, Sequence[Record]], reference: str | None
) -> list[TrendPoint]:
    """The quantity of a trend at each of its numbers, in the order of the variants; empty where one is no number."""
    claim, points = verdict.claim, []
    for star, of, against in claim.pairs(by_variant, reference):
        if against:
            values = _differences(by_variant[of], by_variant[against], verdict.metric, verdict.unit, claim.relative)
        else:
            values = _by_repetition(_values(by_variant[of], verdict.metric), verdict.unit)
        try:
            at = float(star)
        except ValueError:
            return []
        found = paired_difference(list(values.values()), [0.0] * len(values))
        if found is not None and math.isfinite(at):
            points.append(TrendPoint(at, found))
    return points


def _shared(columns: Sequence[Mapping[str, float]]) -> list[list[float]]:
    """For every repetition that all columns have, their values there."""
    keys = [key for key in (columns[0] if columns else ()) if all(key in column for column in columns)]
    return [[column[key] for column in columns] for key in keys]


def _differences(
    records: Sequence[Record], others: Sequence[Record], metric: str, unit: Unit, relative: bool
) -> dict[str, float]:
    """The matched differences, averaged within each repetition; relative ones to the size of the partner's figure."""
    here, there = _values(records, metric), _values(others, metric)
    matched = {key: value - there[key] for key, value in here.items() if key in there}
    if relative:
        matched = {key: value / abs(there[key]) for key, value in matched.items() if there[key]}
    return _by_repetition(matched, unit)


def _zero_partners(records: Sequence[Record], others: Sequence[Record], metric: str) -> int:
    """The number of matched pairs in which the partner's figure is 0."""
    here, there = _values(records, metric), _values(others, metric)
    return sum(there.get(key) == 0 for key in here)


def _values(records: Sequence[Record], metric: str) -> dict[tuple[str, ...], float]:
    found = {tuple(label(r, field) for field in ("task", "backbone", "seed")): measure(r, metric) for r in records}
    return {key: value for key, value in found.items() if value is not None}


def _by_repetition(values: Mapping[tuple[str, ...], float], unit: Unit) -> dict[str, float]:
    within: dict[str, list[float]] = defaultdict(list)
    for key, value in values.items():
        within[key[0] if unit == "task" else key[2]].append(value)
    return {repetition: fmean(found) for repetition, found in within.items()}


def _number(star: str, claim: Claim) -> float | None:
    try:
        value = float(star)
    except ValueError:
        return None
    return math.log2(value) if claim.scale == "log2" and value > 0 else value


def _decided(verdict: Verdict) -> Verdict:
    found, claim = verdict.found, verdict.claim
    if found is None:
        return verdict
    decision: Decision = "not decided at this scale"
    if verdict.p_holm is None or verdict.p_holm >= ALPHA:
        return replace(verdict, decision=decision)
    if claim.margin is not None:
        reached = abs(found.mean) if claim.kind == "equivalence" else found.mean
        decision = "reproduced" if reached < claim.margin else "contradicted"
    elif found.excludes_zero:
        decision = "reproduced" if (found.mean > 0) == (claim.sign == "positive") else "contradicted"
    return replace(verdict, decision=decision)
