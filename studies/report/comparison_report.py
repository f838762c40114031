"""The comparison of two studies as tables and notes, as a page, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from lrlora.studies.report.formatting import MISSING, Scale, listed
from lrlora.studies.report.page import Section, render_page
from lrlora.studies.report.study_comparison import StudyComparison
from lrlora.studies.report.table import Table, make_table, runs_of
from lrlora.studies.stats.paired import Estimate
from lrlora.studies.stats.summary import StudySummary

LONGEST_VALUE = 80


def comparison_tables(found: StudyComparison) -> list[Table]:
    """Settings, variants and claims, as far as there are any."""
    first, second = names(found)
    settings = [{"Setting": one.key, first: _shown(one.first), second: _shown(one.second)} for one in found.settings]
    claims = [
        {"Claim": one.says, first: one.first or "not claimed", second: one.second or "not claimed"}
        for one in found.claims
    ]
    opposed = [index for index, one in enumerate(found.claims) if one.opposed]
    words, wraps = {first, second}, {"Setting", "Claim", first, second}
    tables = [
        make_table("settings", "Settings that differ between the two designs.", settings, words=words, wraps=wraps),
        _variant_table(found, first, second),
        make_table(
            "claims", "The claims of either study with both verdicts.", claims, words, wraps, emphasised=opposed
        ),
    ]
    return [table for table in tables if table.rows]


def comparison_notes(found: StudyComparison) -> list[str]:
    """Caveats, most important first."""
    first, second = names(found)
    notes = []
    if found.not_comparable:
        reasons = listed(list(found.not_comparable))
        notes.append(f"Their results are not comparable, and no difference is computed: {reasons}.")
    if not found.settings:
        notes.append("The designs do not differ in any setting.")
    for name, only in ((first, found.only_first), (second, found.only_second)):
        if only:
            notes.append(f"Only in {name}: {listed(list(only))}.")
    if not found.variants:
        notes.append("No variant has the same name in both.")
    elif not found.not_comparable and not any(one.change for one in found.variants):
        notes.append("No finished cells share task, backbone and seed, so no difference is computed.")
    opposed = [one.says for one in found.claims if one.opposed]
    if opposed:
        notes.append(f"Opposite verdicts: {'; '.join(opposed)}.")
    for name, summary in ((first, found.first), (second, found.second)):
        if len(summary.records) < summary.planned:
            notes.append(f"{name} is partial: {len(summary.records)} of {summary.planned} cells are recorded.")
    return notes


def names(found: StudyComparison) -> tuple[str, str]:
    """Returns the names of the two: study and budget, or their folders if these are the same."""
    first, second = (f"{one.name} ({one.budget})" for one in (found.first, found.second))
    return (first, second) if first != second else found.folders


def comparison_page(found: StudyComparison) -> str:
    """Returns the comparison as one page."""
    first, second = names(found)
    headings = {"settings": "Design", "variants": "Results", "claims": "Verdicts"}
    shown = [Section(headings[table.key], [table]) for table in comparison_tables(found)]
    folders = list(zip(("first", "second"), found.folders, strict=True))
    questions = dict.fromkeys(one.question for one in (found.first, found.second) if one.question)
    return render_page(
        f"{first} and {second}: two studies compared",
        "Two studies compared",
        f"{first} and {second}",
        " ".join(questions),
        [*shown, Section("Definitions", [definitions(found) + folders])],
        comparison_notes(found),
    )


def definitions(found: StudyComparison) -> list[tuple[str, str]]:
    """Returns the definitions of the columns."""
    return [
        (
            "change",
            "second minus first over cells that share variant, task, backbone and seed (tasks, with several of them), "
            "with the 95 % interval of the paired t-test; not corrected for the number of variants",
        ),
        (
            "change of the lead",
            f"the same of each variant’s difference to {found.first.reference or 'the reference'}: what all variants "
            "gained in common from one study to the other cancels",
        ),
        ("verdict", "that of each study’s own report, whose claims are one family"),
    ]


def comparison_json(found: StudyComparison) -> str:
    """Returns the comparison as strict JSON, with the MLflow runs of either side."""
    document = {
        "studies": [_side(one, out) for one, out in zip((found.first, found.second), found.folders, strict=True)],
        "not_comparable": found.not_comparable,
        "settings": [asdict(one) for one in found.settings],
        "variants": [
            asdict(one) | {"runs": [runs_of(summary, one.name) for summary in (found.first, found.second)]}
            for one in found.variants
        ],
        "only_first": found.only_first,
        "only_second": found.only_second,
        "claims": [asdict(one) | {"opposed": one.opposed} for one in found.claims],
        "notes": comparison_notes(found),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _side(summary: StudySummary, out: str) -> dict[str, Any]:
    return {"name": summary.name, "budget": summary.budget, "metric": summary.metric, "folder": out}


def _variant_table(found: StudyComparison, first: str, second: str) -> Table:
    scale, other = (Scale.of(one.metric) for one in (found.first, found.second))
    headings = [f"{scale.heading(found.first.metric)}: {first}", f"{other.heading(found.second.metric)}: {second}"]
    lead = f"Change of the lead over {found.first.reference} [95 %]"
    rows = []
    for one in found.variants:
        values = _estimate(one.first, scale), _estimate(one.second, other)
        row = {"Variant": one.name, **dict(zip(headings, values, strict=True))}
        if any(other.change for other in found.variants):
            row |= {"Pairs": str(one.change.n) if one.change else MISSING, "Change [95 %]": scale.found(one.change)}
        if any(other.lead_change for other in found.variants):
            row[lead] = scale.found(one.lead_change)
        rows.append(row)
    caption = "The variants of both"
    if any(one.change for one in found.variants):
        caption += f", and the change from the first to the second, in {scale.unit_in_words}"
    reference = [index for index, one in enumerate(found.variants) if one.name == found.first.reference]
    return make_table("variants", f"{caption}.", rows, wraps={*headings, lead}, emphasised=reference)


def _estimate(found: Estimate | None, scale: Scale) -> str:
    return MISSING if found is None else scale.spread(found.mean, found.std)


def _shown(value: object) -> str:
    if value is None:
        return MISSING
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
