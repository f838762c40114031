"""The report on a terminal: one table, the headline, and the caveats."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from lrlora.studies.report.comparison_report import comparison_notes, comparison_tables, names
from lrlora.studies.report.cost_tables import cost_table, layer_table
from lrlora.studies.report.result_tables import result_table
from lrlora.studies.report.sentences import caveats, headline, resolution
from lrlora.studies.report.study_comparison import StudyComparison
from lrlora.studies.report.table import Table
from lrlora.studies.stats.source import Results
from lrlora.studies.stats.summary import summarise


def print_summary(results: Results, console: Console) -> None:
    """Print the main table, the headline and the caveats.

    Args:
        results: The study's cells as they stand.
        console: Where to print.
    """
    summary = summarise(results)
    console.print(Text(summary.question, style="italic"))
    compared = summary.reference_variant is not None or bool(summary.comparisons)
    if summary.variants:
        tables = result_table(summary), cost_table(summary), layer_table(summary)
        console.print(_main_table(*tables, compared, wide=console.width >= _WIDE))
    console.print(Text(headline(summary), style="bold"))
    for verdict in summary.verdicts:
        console.print(Padding(Text(f"{verdict.decision}: {verdict.claim.says}"), (0, 0, 0, 1)))
    for note in (*caveats(summary), *resolution(summary)):
        console.print(Padding(Text(f"· {note}", style="dim"), (0, 0, 0, 1)))


def print_comparison(found: StudyComparison, console: Console) -> None:
    """Print the differences between two studies in design and results, and the caveats."""
    first, second = names(found)
    console.print(Text(f"{first} and {second}", style="bold"))
    for table in comparison_tables(found):
        console.print(whole_table(table))
    for note in comparison_notes(found):
        console.print(Padding(Text(f"· {note}", style="dim"), (0, 0, 0, 1)))


def whole_table(source: Table) -> RichTable:
    """A table as it is, with its caption."""
    table = RichTable(box=box.SIMPLE_HEAD, title=source.caption, title_justify="left", title_style="", pad_edge=False)
    for column in source.columns:
        table.add_column(Text(column.heading), justify="right" if column.numeric else "left", overflow="fold")
    for index, row in enumerate(source.rows):
        table.add_row(*(Text(cell) for cell in row), style="bold" if index in source.emphasised else None)
    return table


_WIDE = 110
"""Columns of a terminal that has room for everything."""


def _main_table(results: Table, cost: Table, layers: Table, compared: bool, wide: bool) -> RichTable:
    """The columns of three tables that fit one screen."""
    results_shown = [column.heading for column in results.columns[: (5 if wide else 4) if compared else 3]]
    ratio = next(column.heading for column in cost.columns if column.heading.startswith("Step ÷"))
    chosen = [
        *((results, heading) for heading in results_shown),
        *([(cost, "Transfer φ")] if wide else []),
        (cost, ratio),
        *([(layers, "Stable rank")] if wide else []),
        (layers, "Nonlinear, mean"),
    ]
    table = RichTable(box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for source, heading in chosen:
        # Headings may wrap, and so may the difference with its interval; other cells would break within a word.
        width = 14 if heading.startswith("Difference") else max(map(len, source.column(heading)))
        numeric = next(column.numeric for column in source.columns if column.heading == heading)
        table.add_column(Text(heading), justify="right" if numeric else "left", overflow="fold", min_width=width)
    for row, cells in enumerate(zip(*(source.column(heading) for source, heading in chosen), strict=True)):
        table.add_row(*map(Text, cells), style="bold" if row in results.emphasised else None)
    return table
