"""The claims of a study as text: the published value, ours with its interval, and the verdict."""

from __future__ import annotations

from lrlora.studies.report.formatting import MISSING, Scale, probability
from lrlora.studies.report.table import Table, make_table, runs_by_claim
from lrlora.studies.spec.claims import Claim
from lrlora.studies.stats.summary import StudySummary
from lrlora.studies.stats.verdicts import ClaimVerdict


def claim_table(summary: StudySummary) -> Table | None:
    """Returns the study's claims, ours beside the published values, and the verdicts; None if it makes none."""
    rows = [
        {
            "Claim": verdict.claim.says,
            "Here [95 %]": found_here(verdict),
            "Margin": _margin(verdict),
            "p": probability(verdict.p),
            "Paper": published_value(verdict.claim),
            "Source": verdict.claim.source or MISSING,
            "Verdict": verdict.words,
        }
        for verdict in summary.verdicts
    ]
    if not rows:
        return None
    words, runs = {"Source", "Verdict"}, runs_by_claim(summary)
    return make_table("claims", "The claims of the study.", rows, words=words, wraps={"Claim", *words}, runs=runs)


def claim_scale(verdict: ClaimVerdict) -> Scale:
    """Returns the scale of a claim's values: per cent of the partner's for a relative claim."""
    return Scale(100.0, " %", " %", 2) if verdict.claim.relative else Scale.of(verdict.metric)


def found_here(verdict: ClaimVerdict) -> str:
    """Returns our value for a claim, with its interval and unit."""
    claim, found, scale = verdict.claim, verdict.found, claim_scale(verdict)
    if found is None:
        return MISSING
    per = "" if claim.kind != "trend" else " per doubling" if claim.scale == "log2" else " per unit"
    return scale.found(found) + scale.difference_unit + per


def published_value(claim: Claim) -> str:
    """Returns the published difference, or several; those of a relative claim in per cent."""
    if claim.paper is None:
        return MISSING
    factor, unit = (100.0, " %") if claim.relative else (1.0, "")
    values = claim.paper if isinstance(claim.paper, list) else [claim.paper]
    return ", ".join(f"{factor * value:+g}".replace("-", "−") for value in values) + unit


def _margin(verdict: ClaimVerdict) -> str:
    """The margin of a claim, or its smallest effect of interest."""
    claim, scale = verdict.claim, claim_scale(verdict)
    size = claim.margin or verdict.smallest
    if size is None:
        return MISSING
    sign = "at most +" if claim.kind == "at_most" else "±"
    return f"{sign}{scale.value(size)}{scale.difference_unit}"
