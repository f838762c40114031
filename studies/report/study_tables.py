"""Two studies side by side, as tables: for the terminal and for one page that needs nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from lrlora.studies.report.compare import StudyComparison
from lrlora.studies.report.formatting import MISSING, Scale, listed
from lrlora.studies.report.presentation import Column, Table
from lrlora.studies.report.statistics import Estimate, PairedDifference
from lrlora.studies.report.summary import StudySummary
from lrlora.studies.report.templates import page_environment

LONGEST_VALUE = 80


def comparison_tables(found: StudyComparison) -> list[Table]:
    """Settings, variants and claims, as far as there are any."""
    first, second = names(found)
    tables = [
        Table(
            "settings",
            "Settings that differ between the two designs.",
            (Column("Setting", False, wraps=True), Column(first, False, wraps=True), Column(second, False, wraps=True)),
            tuple((one.key, _shown(one.first), _shown(one.second)) for one in found.settings),
        ),
        _variant_table(found, first, second),
        Table(
            "claims",
            "The claims of either study with both verdicts.",
            (Column("Claim", False, wraps=True), Column(first, False, wraps=True), Column(second, False, wraps=True)),
            tuple((one.says, one.first or "not claimed", one.second or "not claimed") for one in found.claims),
            frozenset(index for index, one in enumerate(found.claims) if one.opposed),
        ),
    ]
    return [table for table in tables if table.rows]


def comparison_notes(found: StudyComparison) -> list[str]:
    """What to mind, most important first."""
    first, second = names(found)
    notes = []
    if found.not_comparable:
        reasons = listed(list(found.not_comparable))
        notes.append(f"Their figures stand side by side but are not comparable, and no difference is taken: {reasons}.")
    if not found.settings:
        notes.append("The designs do not differ in any setting.")
    for name, only in ((first, found.only_first), (second, found.only_second)):
        if only:
            notes.append(f"Only in {name}: {listed(list(only))}.")
    if not found.variants:
        notes.append("No variant has the same name in both.")
    elif not found.not_comparable and not any(one.change for one in found.variants):
        notes.append("No finished cells share task, backbone and seed, so no difference is taken.")
    opposed = [one.says for one in found.claims if one.opposed]
    if opposed:
        notes.append(f"Decided in opposite ways: {'; '.join(opposed)}.")
    for name, summary in ((first, found.first), (second, found.second)):
        if len(summary.records) < summary.planned:
            notes.append(f"{name} is partial: {len(summary.records)} of {summary.planned} cells are recorded.")
    return notes


def names(found: StudyComparison) -> tuple[str, str]:
    """How the two are called: by study and budget, and where these are the same by their folders."""
    first, second = (f"{one.name} ({one.budget})" for one in (found.first, found.second))
    return (first, second) if first != second else found.folders


def comparison_page(found: StudyComparison) -> str:
    """The comparison as one page: no script, no network, light and dark."""
    first, second = names(found)
    tables = comparison_tables(found)
    return (
        page_environment()
        .get_template("comparison.html")
        .render(
            first=first,
            second=second,
            questions=list(dict.fromkeys(one.question for one in (found.first, found.second) if one.question)),
            folders=found.folders,
            notes=comparison_notes(found),
            tables=tables,
            definitions=definitions(found),
        )
    )


def definitions(found: StudyComparison) -> list[tuple[str, str]]:
    """How to read the columns."""
    return [
        (
            "change",
            "second less first over cells that share variant, task, backbone and seed (tasks, with several of them), "
            "with the 95 % interval of the paired t-test; not corrected for the number of variants",
        ),
        (
            "change of the lead",
            f"the same of each variant’s difference to {found.first.reference or 'the reference'}: what all variants "
            "gained alike from one study to the other cancels",
        ),
        ("verdict", "as each study’s own report gives it, after Holm’s correction within that study"),
    ]


def comparison_json(found: StudyComparison) -> str:
    """The comparison as strict JSON, with the MLflow runs of either side."""
    document = {
        "studies": [_side(one, out) for one, out in zip((found.first, found.second), found.folders, strict=True)],
        "not_comparable": found.not_comparable,
        "settings": [asdict(one) for one in found.settings],
        "variants": [
            asdict(one) | {"runs": [_runs(summary, one.name) for summary in (found.first, found.second)]}
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


def _runs(summary: StudySummary, variant: str) -> list[str]:
    return [str(run) for record in summary.records_of(variant) if (run := record.get("mlflow_run_id"))]


def _variant_table(found: StudyComparison, first: str, second: str) -> Table:
    scales = [Scale.of(one.metric) for one in (found.first, found.second)]
    metrics = [one.metric + Scale.of(one.metric).unit.replace(" ", ", ") for one in (found.first, found.second)]
    changed = any(one.change for one in found.variants)
    led = any(one.lead_change for one in found.variants)
    columns = [
        Column("Variant", False),
        Column(f"{metrics[0]}: {first}", wraps=True),
        Column(f"{metrics[1]}: {second}", wraps=True),
    ]
    columns += [Column("Pairs"), Column("Change [95 %]")] if changed else []
    columns += [Column(f"Change of the lead over {found.first.reference} [95 %]", wraps=True)] if led else []
    rows = []
    for one in found.variants:
        row = [one.name, _estimate(one.first, scales[0]), _estimate(one.second, scales[1])]
        if changed:
            row += [str(one.change.n) if one.change else MISSING, _difference(one.change, scales[0])]
        if led:
            row.append(_difference(one.lead_change, scales[0]))
        rows.append(tuple(row))
    caption = "The variants that both have"
    if changed:
        caption += f", and the change from the first to the second, in {scales[0].unit_in_words}"
    reference = frozenset(index for index, one in enumerate(found.variants) if one.name == found.first.reference)
    return Table("variants", caption + ".", tuple(columns), tuple(rows), reference)


def _estimate(found: Estimate | None, scale: Scale) -> str:
    return MISSING if found is None else scale.spread(found.mean, found.std)


def _difference(found: PairedDifference | None, scale: Scale) -> str:
    return MISSING if found is None else scale.difference(found.mean, found.low, found.high)


def _shown(value: object) -> str:
    if value is None:
        return MISSING
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
