"""``summary.md``: the report without its plots, for a terminal, a pull request or a notebook."""

from __future__ import annotations

from lrlora.studies.report.cell_tables import cell_table, divergence_table
from lrlora.studies.report.design import design_facts
from lrlora.studies.report.measured_table import measured_table
from lrlora.studies.report.place_tables import place_difference_table, place_table
from lrlora.studies.report.presentation import (
    Table,
    claim_table,
    cost_table,
    layer_table,
    result_table,
    test_table,
)
from lrlora.studies.report.provenance import provenance_facts
from lrlora.studies.report.sentences import caveats, definitions, headline, paper_note, reproduce_command, resolution
from lrlora.studies.report.summary import StudySummary
from lrlora.studies.report.tuning_table import tuning_table


def summary_markdown(summary: StudySummary) -> str:
    """The report as GitHub-flavoured Markdown."""
    parts = [f"# Study `{summary.name}`", _escaped(summary.question), f"**{_escaped(headline(summary))}**"]
    notes = caveats(summary)
    if notes:
        parts.append(_bullets(notes))
    parts += [
        "## Design",
        _bullets([f"**{term}**: {_escaped(text)}" for term, text in design_facts(summary)], escape=False),
    ]
    tuned = tuning_table(summary)
    parts += [_table(tuned)] if tuned is not None else []
    claims = claim_table(summary)
    parts += ["## Verdicts", _table(claims)] if claims is not None else []
    parts += ["## Results", _table(result_table(summary))]
    parts += [_escaped(note) for note in (*resolution(summary), paper_note(summary)) if note]
    further = place_table(summary), place_difference_table(summary), test_table(summary)
    parts += [_table(table) for table in further if table]
    parts += ["## Cost", _table(cost_table(summary))]
    measured = measured_table(summary)
    parts += ["## What else was measured", _table(measured)] if measured is not None else []
    parts += ["## Layers", _table(layer_table(summary))]
    divergence = divergence_table(summary)
    parts += ["## Divergence", _table(divergence)] if divergence is not None else []
    parts += [
        "## Definitions",
        _bullets([f"**{term}**: {_escaped(text)}" for term, text in definitions(summary)], escape=False),
    ]
    parts += ["## Cells", _table(cell_table(summary))]
    parts += ["## Provenance", _bullets([f"{term}: {text}" for term, text in provenance_facts(summary)])]
    parts.append(f"Run again with `{reproduce_command(summary)}`.")
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    if not table.rows:
        return f"{_escaped(table.caption)} None."
    lines = [
        _row([column.heading for column in table.columns]),
        _row(["---:" if column.numeric else "---" for column in table.columns], escape=False),
    ]
    lines += [_row(list(row)) for row in table.rows]
    return _escaped(table.caption) + "\n\n" + "\n".join(lines)


def _row(cells: list[str], *, escape: bool = True) -> str:
    return "| " + " | ".join(_escaped(cell) if escape else cell for cell in cells) + " |"


def _bullets(lines: list[str], *, escape: bool = True) -> str:
    return "\n".join(f"- {_escaped(line) if escape else line}" for line in lines)


def _escaped(text: str) -> str:
    """Text that Markdown reads literally: names may hold ``|``, ``_`` or ``<``."""
    for character in "\\`*_|<":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
