"""Verdicts: what the runs say of each claim of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from lrlora.studies.spec.claims import Claim
from lrlora.studies.stats.comparisons import Decision, VariantComparison
from lrlora.studies.stats.equivalence import equivalence, inequivalence
from lrlora.studies.stats.paired import ALPHA, PairedDifference, holm, paired_difference, trend
from lrlora.studies.stats.runs import PLACE, Unit, unit_of, with_places


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim with the outcome of its test.

    Attributes:
        claim: As the study declares it.
        metric: The metric that was compared.
        unit: What the repetitions are.
        compared: The pairs of variants that went into it.
        found: The mean difference, or for a trend the mean slope, with its interval; None if nothing was recorded.
        p: Of the claim's own test; None without one.
        p_holm: After Holm's correction over all tests of the study.
        decision: The verdict.
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


def examine(claims: Sequence[Claim], runs: pd.DataFrame, reference: str | None, metric: str) -> list[ClaimVerdict]:
    """Test every claim. The verdicts come from :func:`decide`, after the correction over all tests of the study.

    Args:
        claims: As declared.
        runs: See :mod:`lrlora.studies.stats.runs`; with a column for the metric of every claim.
        reference: The partner of claims that name none.
        metric: Column of the study's metric.
    """
    runs = with_places(runs)
    return [_test(claim, runs, reference, claim.metric or metric) for claim in claims]


def decide(
    verdicts: Sequence[ClaimVerdict], comparisons: Sequence[VariantComparison]
) -> tuple[list[ClaimVerdict], list[VariantComparison]]:
    """Decide every claim; both are returned with Holm's correction over all tests of the study.

    A claim that is a difference of the study's metric is the same test as the comparison of those two, and counts once.
    """
    # A test is known by its index among the comparisons, or after them.
    tests = {index: one.difference.p for index, one in enumerate(comparisons)}
    indices = [_index(verdict, comparisons, len(comparisons) + i) for i, verdict in enumerate(verdicts)]
    tests |= {index: verdict.p for index, verdict in zip(indices, verdicts, strict=True) if index not in tests}
    family = {index: p for index, p in tests.items() if p is not None}
    adjusted = dict(zip(family, holm(list(family.values())), strict=True))
    decided = [_decided(replace(one, p_holm=adjusted.get(index))) for index, one in zip(indices, verdicts, strict=True)]
    return decided, [replace(one, p_holm=adjusted.get(index)) for index, one in enumerate(comparisons)]


def _index(verdict: ClaimVerdict, comparisons: Sequence[VariantComparison], own: int) -> int:
    """The comparison that is the claim's test, in either direction; ``own`` if there is none."""
    claim, p = verdict.claim, verdict.p
    if claim.kind != "difference" or claim.metric is not None or claim.relative or len(verdict.compared) != 1:
        return own
    for index, one in enumerate(comparisons):
        its = one.difference.p
        if {one.of, one.against} == set(verdict.compared[0]) and p is not None and its is not None:
            return index if math.isclose(p, its, rel_tol=1e-6) else own
    return own


def _test(claim: Claim, runs: pd.DataFrame, reference: str | None, metric: str) -> ClaimVerdict:
    stars = claim.pairs(runs["variant"].unique(), reference) if claim.kind != "contrast" else []
    compared = tuple((of, against) for _, of, against in stars)
    involved = {*claim.weights, *(name for pair in compared for name in pair)}
    unit = unit_of(runs[runs["variant"].isin(involved)])
    nothing = ClaimVerdict(claim, metric, unit, compared, None, None)
    if claim.relative and (zeros := sum(_zero_partners(runs, of, against, metric) for of, against in compared)):
        # Without these pairs the test would be one of the others only.
        return replace(nothing, note=f"{metric} of the partner is 0 in {zeros} pairs, to which nothing is relative")
    if claim.kind == "contrast":
        columns = [_by_repetition(_values(runs, name, metric), unit) for name in claim.weights]
    else:
        columns = [_quantity(claim, runs, of, against, metric, unit) for _, of, against in stars]
    # One row for every repetition that all columns have.
    series = pd.concat(columns, axis=1, join="inner") if columns else pd.DataFrame()
    if series.empty:
        return nothing
    if claim.kind == "trend":
        at = [_number(star, claim) for star, _, _ in stars]
        known = [number for number in at if number is not None]
        if len(known) != len(at) or len(set(known)) < 2:
            return nothing
        found = trend(known, series.to_numpy().tolist())
    else:
        weights = list(claim.weights.values()) or [1 / len(columns)] * len(columns)
        means = (series.to_numpy() @ weights).tolist()
        found = paired_difference(means, [0.0] * len(means))
        if claim.margin is not None:
            return replace(nothing, found=found, p=_p_about_margin(claim.kind, means, claim.margin))
    return replace(nothing, found=found, p=found.p if found is not None else None)


def _p_about_margin(kind: str, means: Sequence[float], margin: float) -> float | None:
    """The smaller p of two statements that exclude each other: less than the margin, and more."""
    if kind == "at_most":
        found = paired_difference(means, [margin] * len(means))
        return found.p if found is not None else None
    tests = equivalence(means, margin), inequivalence(means, margin)
    return min((p for p in tests if p is not None), default=None)


@dataclass(frozen=True)
class TrendPoint:
    """A point of a trend: at a number, the mean over repetitions with its interval."""

    at: float
    found: PairedDifference


def trend_points(verdict: ClaimVerdict, runs: pd.DataFrame, reference: str | None) -> list[TrendPoint]:
    """The quantity of a trend at each of its numbers, in the order of the variants; empty if one is no number."""
    claim, points, runs = verdict.claim, [], with_places(runs)
    for star, of, against in claim.pairs(runs["variant"].unique(), reference):
        values = _quantity(claim, runs, of, against, verdict.metric, verdict.unit).tolist()
        try:
            at = float(star)
        except ValueError:
            return []
        found = paired_difference(values, [0.0] * len(values))
        if found is not None and math.isfinite(at):
            points.append(TrendPoint(at, found))
    return points


def _quantity(claim: Claim, runs: pd.DataFrame, of: str, against: str, metric: str, unit: Unit) -> pd.Series:
    """The matched differences, or without a partner the metric itself, averaged within each repetition.

    Relative differences are divided by the size of the partner's metric.
    """
    values = _values(runs, of, metric)
    if against:
        partners = _values(runs, against, metric)
        values = (values - partners).dropna()
        if claim.relative:
            partners = partners[partners != 0]
            values = (values / partners.abs()).dropna()
    return _by_repetition(values, unit)


def _zero_partners(runs: pd.DataFrame, of: str, against: str, metric: str) -> int:
    """The number of matched pairs in which the partner's metric is 0."""
    here, there = _values(runs, of, metric), _values(runs, against, metric)
    return int((there[there.index.isin(here.index)] == 0).sum())


def _values(runs: pd.DataFrame, variant: str, metric: str) -> pd.Series:
    """The metric of a variant by task, backbone and seed."""
    found = runs[runs["variant"] == variant].dropna(subset=[metric])
    return found.groupby(list(PLACE), dropna=False, sort=False)[metric].mean()


def _by_repetition(values: pd.Series, unit: Unit) -> pd.Series:
    return values.groupby(level=unit, sort=False).mean()


def _number(star: str, claim: Claim) -> float | None:
    try:
        value = float(star)
    except ValueError:
        return None
    return math.log2(value) if claim.scale == "log2" and value > 0 else value


def _decided(verdict: ClaimVerdict) -> ClaimVerdict:
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
