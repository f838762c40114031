"""The claims of a study as text: the published value, ours with its interval, and the verdict."""

from __future__ import annotations

from dataclasses import replace

from lrlora.studies.report.formatting import MISSING, Scale, probability
from lrlora.studies.report.table import Table, make_table, runs_by_claim
from lrlora.studies.spec.claims import Claim
from lrlora.studies.stats.sequential import ClaimPath, Look
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


def look_table(summary: StudySummary) -> Table | None:
    """Returns the interval of each claim by the number of seeds, as far as it was followed; None if there is none."""
    after = sorted({look.seeds for path in summary.paths for look in path.looks})
    rows = []
    for path in summary.paths:
        row = {"Claim": path.claim.says, "State": state_of(path)}
        shown = {look.seeds: _interval(look) for look in path.looks}
        rows.append(row | {f"{seeds} seeds": shown.get(seeds, "") for seeds in after})
    if not rows:
        return None
    caption = "The looks at each claim: the difference with the interval at the level of the look."
    return make_table("looks", caption, rows, words={"State"}, wraps={"Claim", "State"})


def state_of(path: ClaimPath) -> str:
    """Returns whether a claim is settled, and after how many seeds."""
    seen = f"{path.looks[-1].seeds} seeds" if path.looks else "no look"
    return {
        "settled": f"settled after {seen}",
        "futile": f"given up after {seen}",
        "undecided": f"undecided after {seen}",
        "open": f"open after {seen}",
    }[path.state]


def _interval(look: Look) -> str:
    found, interval = look.verdict.found, look.interval
    if found is None:
        return MISSING
    scale = claim_scale(look.verdict)
    return scale.found(
        replace(found, low=None if interval is None else interval[0], high=None if interval is None else interval[1])
    )


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
