"""The report on a terminal: one table, what it says, and what to mind."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from lrlora.studies.report.compare import StudyComparison
from lrlora.studies.report.presentation import Table, cost_table, layer_table, result_table
from lrlora.studies.report.sentences import caveats, headline, resolution
from lrlora.studies.report.source import Results
from lrlora.studies.report.study_tables import comparison_notes, comparison_tables, names
from lrlora.studies.report.summary import summarise


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
    """Print what differs between two studies, what they found, and what to mind."""
    first, second = names(found)
    console.print(Text(f"{first} and {second}", style="bold"))
    for table in comparison_tables(found):
        console.print(_whole_table(table))
    for note in comparison_notes(found):
        console.print(Padding(Text(f"· {note}", style="dim"), (0, 0, 0, 1)))


def _whole_table(source: Table) -> RichTable:
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
    chosen = [
        *((results, index) for index in range((5 if wide else 4) if compared else 3)),
        *([(cost, 3)] if wide else []),
        (cost, 5),
        *([(layers, 2)] if wide else []),
        (layers, 3),
    ]
    table = RichTable(box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for source, index in chosen:
        column = source.columns[index]
        # Headings may wrap, and so may the difference with its interval; other cells would break within a word.
        cells = [len(row[index]) for row in source.rows]
        width = 14 if source is results and index == 3 else max(cells, default=0)
        table.add_column(
            Text(column.heading), justify="right" if column.numeric else "left", overflow="fold", min_width=width
        )
    for row in range(len(results.rows)):
        style = "bold" if row in results.emphasised else None
        table.add_row(*(Text(source.rows[row][index]) for source, index in chosen), style=style)
    return table
