"""Verdicts: what the runs say of each claim of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lrlora.studies.spec.claims import Claim
from lrlora.studies.stats.crossed import counts_of, mean_difference
from lrlora.studies.stats.measures import PUBLISHED_UNITS, SMALLEST_EFFECTS, SMALLEST_RELATIVE
from lrlora.studies.stats.outcomes import Outcome, Question, in_words
from lrlora.studies.stats.paired import ALPHA, PairedDifference, hidden_spread, paired_difference
from lrlora.studies.stats.runs import PLACE, Unit, matched, metric_values, unit_of, with_places
from lrlora.studies.stats.uncertainty import Exact, Uncertainty, Variances


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim with the outcome of its test.

    Attributes:
        claim: As the study declares it.
        metric: The metric that was compared.
        unit: What the repetitions are.
        compared: The pairs of variants that went into it.
        found: The mean difference, or for a trend the mean slope, with its interval; None if nothing was recorded.
        level: The level that it was tested at: that of the family over the number of its claims.
        p: The level at which the outcome would just hold, times the number of claims; None without a test.
        outcome: The verdict.
        remarks: What holds besides, such as "smaller than published".
        smallest: Smallest effect of interest, in the unit of the metric; None if none is known.
        published: The published effect in the unit of the metric; None if it has another scale.
        note: Why a claim could not be tested, where that is more than a lack of records.
    """

    claim: Claim
    metric: str
    unit: Unit
    compared: tuple[tuple[str, str], ...]
    found: PairedDifference | None = None
    level: float = ALPHA
    p: float | None = None
    outcome: Outcome = "not tested"
    remarks: tuple[str, ...] = ()
    smallest: float | None = None
    published: float | None = None
    note: str = ""

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that went into it."""
        return tuple(dict.fromkeys([*self.claim.weights, *(name for pair in self.compared for name in pair if name)]))

    @property
    def settled(self) -> bool:
        """Whether the runs say anything of the claim."""
        return self.outcome not in ("undecided", "not tested")

    @property
    def words(self) -> str:
        """The outcome with its remarks."""
        return in_words(self.outcome, self.remarks)


def examine(
    claims: Sequence[Claim], runs: pd.DataFrame, reference: str | None, metric: str, alpha: float = ALPHA
) -> list[ClaimVerdict]:
    """Tests the claims of a study as one family: the probability to say anything false of any is at most ``alpha``.

    Args:
        claims: As declared.
        runs: See :mod:`lrlora.studies.stats.runs`; with a column for the metric of every claim.
        reference: The partner of claims that name none.
        metric: Column of the study's metric.
        alpha: Of the family. Each claim has an equal share of it (Bonferroni).
    """
    runs = with_places(runs)
    return [examine_one(claim, runs, reference, metric, alpha, len(claims)) for claim in claims]


def observe(
    claim: Claim, runs: pd.DataFrame, reference: str | None, metric: str, alpha: float, family: int
) -> tuple[ClaimVerdict, np.ndarray | None]:
    """Returns a claim before its test, and its differences, ``(repetitions, examples)``; None where there are none.

    Args:
        claim: As declared.
        runs: See :func:`lrlora.studies.stats.runs.with_places`.
        reference: The partner of a claim that names none.
        metric: The metric that is compared.
        alpha: Of the family.
        family: Number of claims of the study.
    """
    stars = claim.pairs(runs["variant"].unique(), reference) if claim.kind != "contrast" else []
    compared = tuple((of, against) for _, of, against in stars)
    unit = unit_of(runs[runs["variant"].isin(claim.variants(runs["variant"].unique(), reference))])
    untested = ClaimVerdict(claim, metric, unit, compared, level=alpha / family)
    if claim.relative and (zeros := sum(_zero_partners(runs, of, against, metric) for of, against in compared)):
        # Without these pairs the test would be one of the others only.
        note = f"{metric} of the partner is 0 in {zeros} pairs, to which nothing is relative"
        return replace(untested, note=note), None
    if claim.kind == "contrast":
        columns = [_by_repetition(_values(runs, name, metric, unit), unit) for name in claim.weights]
    else:
        columns = [_quantity(claim, runs, of, against, metric, unit) for _, of, against in stars]
    # One row for every repetition that all columns have.
    shared = _shared(columns)
    weights = _weights(claim, stars, len(columns)) if shared else None
    if weights is None:
        return untested, None
    differences = np.asarray(sum(weight * column for weight, column in zip(weights, shared, strict=True)))
    smallest = claim.smallest_effect or (SMALLEST_RELATIVE if claim.relative else SMALLEST_EFFECTS.get(metric))
    return replace(untested, smallest=smallest, published=_published(claim, metric, weights)), differences


def examine_one(
    claim: Claim, runs: pd.DataFrame, reference: str | None, metric: str, alpha: float, family: int
) -> ClaimVerdict:
    """Tests one claim of a family; see :func:`examine`.

    Args:
        claim: As declared.
        runs: With the columns of :data:`lrlora.studies.stats.runs.PLACE`.
        reference: The partner of claims that name none.
        metric: Column of the study's metric.
        alpha: Of the family.
        family: The number of its claims.
    """
    metric = claim.metric or metric
    return decide(*observe(claim, runs, reference, metric, alpha, family), alpha, family)


def decide(observed: ClaimVerdict, differences: np.ndarray | None, alpha: float, family: int) -> ClaimVerdict:
    """Tests a claim that was observed.

    Args:
        observed: From :func:`observe`,
        differences: and likewise.
        alpha: Of the family.
        family: The number of its claims.
    """
    found = None if differences is None else _difference(differences, observed.metric)
    if found is None:
        return observed
    verdict = replace(observed, found=found, outcome="undecided")
    tested = tested_by(verdict)
    if tested is None:
        return verdict
    question, mean, uncertainty = tested
    if found.n == 1 and not isinstance(uncertainty, Exact):
        return replace(verdict, note="one seed: the interval covers the test examples only")
    outcome, remarks = question.outcome(mean, uncertainty, alpha / family)
    p = None
    if not isinstance(uncertainty, Exact):
        p = min(1.0, family * question.p(mean, uncertainty, outcome))
    return replace(verdict, outcome=outcome, remarks=remarks, p=p)


def tested_by(verdict: ClaimVerdict) -> tuple[Question, float, Uncertainty] | None:
    """Returns what a verdict follows from: the question, and the mean with its uncertainty, turned to the claimed sign.

    None if nothing was recorded, or if all differences are 0 and nothing says how small a spread that is.
    """
    claim, found = verdict.claim, verdict.found
    if found is None:
        return None
    uncertainty = found.uncertainty
    if uncertainty is None and found.n > 1 and (size := claim.margin or verdict.smallest):
        # All differences are 0: their spread is taken as what rounding to multiples of the margin would have hidden.
        uncertainty = Variances(((hidden_spread(size) ** 2 / found.n, found.n - 1),))
    if uncertainty is None:
        return None
    turn = _turn(claim)
    return question_of(verdict), turn * found.mean, uncertainty if turn > 0 else uncertainty.turned


def _turn(claim: Claim) -> float:
    """What a difference is multiplied by, so that what is claimed is positive."""
    return -1.0 if claim.margin is None and claim.sign == "negative" else 1.0


def question_of(verdict: ClaimVerdict) -> Question:
    """Returns what is asked of the difference of a claim, turned so that what is claimed is positive."""
    claim = verdict.claim
    if claim.kind == "equivalence":
        return Question("within", claim.margin)
    if claim.kind == "at_most":
        return Question("below", claim.margin)
    published = None if verdict.published is None else _turn(claim) * verdict.published
    return Question("sign", smallest=verdict.smallest, published=published)


def _difference(differences: np.ndarray, metric: str) -> PairedDifference | None:
    """The mean of differences, ``(repetitions, examples)``, with what is known of its uncertainty."""
    found = mean_difference(differences)
    if found is None:
        return None
    if metric.startswith("parameters.") and np.ptp(differences) == 0:
        return replace(found, low=found.mean, high=found.mean, p=None, uncertainty=Exact())
    if metric == "diverged" and found.n > 1 and np.isin(differences, (-1.0, 0.0, 1.0)).all():
        counts = counts_of(differences[:, 0])
        low, high = counts.interval(found.mean, ALPHA)
        return replace(found, low=low, high=high, p=counts.p, uncertainty=counts)
    return found


def _weights(claim: Claim, stars: Sequence[tuple[str, str, str]], count: int) -> list[float] | None:
    """What the columns of a claim are multiplied by and summed; None for a trend without two different numbers.

    A trend is the least-squares slope along its numbers, a weighted sum of the values there.
    """
    if claim.kind != "trend":
        return list(claim.weights.values()) or [1 / count] * count
    at = [_number(star, claim) for star, _, _ in stars]
    known = np.array([number for number in at if number is not None])
    if len(known) != len(at) or len(set(known)) < 2:
        return None
    centred = known - known.mean()
    return list(map(float, centred / (centred @ centred)))


def _published(claim: Claim, metric: str, weights: Sequence[float]) -> float | None:
    """The published effect in the unit of the metric; None if its scale is another."""
    unit = 1.0 if claim.relative else PUBLISHED_UNITS.get(metric)
    if claim.paper is None or unit is None or claim.margin is not None:
        return None
    if not isinstance(claim.paper, list):
        return unit * claim.paper if claim.kind != "trend" else None
    if len(claim.paper) != len(weights):
        return None
    return unit * float(np.dot(weights, claim.paper))


@dataclass(frozen=True)
class TrendPoint:
    """A point of a trend: at a number, the mean over repetitions with its interval."""

    at: float
    found: PairedDifference


def trend_points(verdict: ClaimVerdict, runs: pd.DataFrame, reference: str | None) -> list[TrendPoint]:
    """The quantity of a trend at each of its numbers, in the order of the variants; empty if one is no number."""
    claim, points, runs = verdict.claim, [], with_places(runs)
    for star, of, against in claim.pairs(runs["variant"].unique(), reference):
        values = _quantity(claim, runs, of, against, verdict.metric, verdict.unit).mean(axis=1).tolist()
        try:
            at = float(star)
        except ValueError:
            return []
        found = paired_difference(values, [0.0] * len(values))
        if found is not None and math.isfinite(at):
            points.append(TrendPoint(at, found))
    return points


def _quantity(claim: Claim, runs: pd.DataFrame, of: str, against: str, metric: str, unit: Unit) -> pd.DataFrame:
    """The matched differences, or without a partner the metric itself, averaged within each repetition.

    Relative differences are divided by the size of the partner's metric.
    """
    values = _values(runs, of, metric, unit)
    if against:
        values, partners = matched(values, _values(runs, against, metric, unit))
        if claim.relative:
            values, partners = (part.mean(axis=1).to_frame(0) for part in (values, partners))
            values = ((values - partners) / partners[partners != 0].abs()).dropna()
        else:
            values = values - partners
    return _by_repetition(values, unit)


def _zero_partners(runs: pd.DataFrame, of: str, against: str, metric: str) -> int:
    """The number of matched pairs in which the partner's metric is 0."""
    _, there = matched(*(_values(runs, name, metric, "task") for name in (of, against)))
    return int((there == 0).to_numpy().sum())


def _values(runs: pd.DataFrame, variant: str, metric: str, unit: Unit) -> pd.DataFrame:
    """The metric of a variant by task, backbone and seed."""
    return metric_values(runs[runs["variant"] == variant], metric, PLACE, unit)


def _by_repetition(values: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    return values.groupby(level=unit, sort=False).mean()


def _shared(columns: Sequence[pd.DataFrame]) -> list[np.ndarray]:
    """The columns' values at the repetitions that all have; for every example only if all have the same."""
    if not columns:
        return []
    index = columns[0].index
    for column in columns[1:]:
        index = index.intersection(column.index, sort=False)
    found = [column.loc[index].to_numpy() for column in columns]
    if len({values.shape[1] for values in found}) > 1:
        found = [values.mean(axis=1, keepdims=True) for values in found]
    return found if len(index) else []


def _number(star: str, claim: Claim) -> float | None:
    try:
        value = float(star)
    except ValueError:
        return None
    return math.log2(value) if claim.scale == "log2" and value > 0 else value
