"""The claims of several studies: the published value, ours with its interval, the verdict, and the command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrlora.studies.errors import StudyError
from lrlora.studies.record.results import Results
from lrlora.studies.report.claim_table import claim_scale, found_here, published_value
from lrlora.studies.report.formatting import MISSING, probability
from lrlora.studies.report.markdown import markdown_table
from lrlora.studies.report.sentences import reproduce_command
from lrlora.studies.report.table import make_table
from lrlora.studies.stats.summary import StudySummary, summarise
from lrlora.studies.stats.verdicts import ClaimVerdict

COLUMNS = ("Study", "On", "Claim", "Paper", "Here [95 %]", "Pairs", "p", "Verdict")


def tested_claims(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Returns the claims of studies that were run, as plain data.

    Raises:
        StudyError: A folder holds no study.
    """
    found = []
    for folder in folders:
        results = Results.load(folder)
        if not results.records:
            raise StudyError(f"{folder}: no cell has ended yet; go on with: lrlora study run")
        summary = summarise(results)
        where = ", ".join((*(task.label for task in results.study.tasks), *results.study.backbones))
        found += [_row(summary, where, verdict) for verdict in summary.verdicts]
    return found


def _row(summary: StudySummary, where: str, verdict: ClaimVerdict) -> dict[str, Any]:
    found, scale = verdict.found, claim_scale(verdict)
    factor = scale.factor
    return {
        "study": summary.name,
        "budget": summary.budget,
        "where": where,
        "cells": f"{len(summary.records)} of {summary.planned}",
        "claim": verdict.claim.says,
        "kind": verdict.claim.kind,
        "metric": verdict.metric,
        "paper": verdict.claim.paper,
        "published": published_value(verdict.claim),
        "source": verdict.claim.source,
        "here": found_here(verdict),
        "mean": None if found is None else found.mean * factor,
        "low": None if found is None or found.low is None else found.low * factor,
        "high": None if found is None or found.high is None else found.high * factor,
        "unit": scale.difference_unit.strip(),
        "pairs": 0 if found is None else found.n,
        "p": verdict.p,
        "margin": None if verdict.claim.margin is None else verdict.claim.margin * factor,
        "outcome": verdict.outcome,
        "verdict": verdict.words,
        "command": reproduce_command(summary),
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the claims as a Markdown table, with the commands below it."""
    table = make_table("claims", "", [dict(zip(COLUMNS, cells(row), strict=True)) for row in rows], words=COLUMNS)
    lines = [markdown_table(table), "", f"{tally(rows)}. Run again with:", ""]
    runs = dict.fromkeys((row["study"], row["where"], row["cells"], row["command"]) for row in rows)
    lines += [f"- {study} on {where} ({cells} cells): `{command}`" for study, where, cells, command in runs]
    return "\n".join(lines) + "\n"


def tally(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the number of claims by verdict."""
    counts = Counter(row["outcome"] for row in rows)
    found = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
    return f"{len(rows)} claims: {found}" if len(rows) != 1 else f"1 claim: {found}"


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Returns a claim as the text of :data:`COLUMNS`."""
    return (
        row["study"],
        row["where"],
        row["claim"],
        row["published"] + (f" ({row['source']})" if row["source"] else ""),
        row["here"],
        str(row["pairs"] or MISSING),
        probability(row["p"]),
        row["verdict"],
    )
