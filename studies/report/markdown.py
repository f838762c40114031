"""``summary.md``: the report without its figures, for a terminal, a pull request or a notebook."""

from __future__ import annotations

from lrlora.studies.report.contents import sections
from lrlora.studies.report.page import Figures, Folded, Part
from lrlora.studies.report.sentences import caveats, headline, reproduce_command
from lrlora.studies.report.table import Table
from lrlora.studies.stats.summary import StudySummary


def summary_markdown(summary: StudySummary) -> str:
    """Returns the report as GitHub-flavoured Markdown."""
    parts = [f"# Study `{summary.name}`", _escaped(summary.question), f"**{_escaped(headline(summary))}**"]
    parts.append("\n".join(f"- {_escaped(note)}" for note in caveats(summary)))
    for section in sections(summary):
        parts += [f"## {section.heading}", *(_part(part) for part in section.parts)]
    parts.append(f"Run again with `{reproduce_command(summary)}`.")
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(table: Table) -> str:
    """Returns a table without its caption."""
    lines = [[column.heading for column in table.columns], *table.rows]
    rows = [f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines]
    rows.insert(1, f"| {' | '.join('---:' if column.numeric else '---' for column in table.columns)} |")
    return "\n".join(rows)


def _part(part: Part) -> str:
    if isinstance(part, list):
        return "\n".join(f"- **{term}**: {_escaped(text)}" for term, text in part)
    if isinstance(part, str):
        return _escaped(part)
    if isinstance(part, Figures):
        return ""
    table = part.table if isinstance(part, Folded) else part
    return f"{_escaped(table.caption)}\n\n{markdown_table(table)}" if table.rows else f"{_escaped(table.caption)} None."


def _escaped(text: str) -> str:
    """Text that Markdown reads literally: names may hold ``|``, ``_`` or ``<``."""
    for character in "\\`*_|<":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
