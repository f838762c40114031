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
        console.print(whole_table(_main_table(*tables, compared, wide=console.width >= _WIDE)))
    console.print(Text(headline(summary), style="bold"))
    for verdict in summary.verdicts:
        console.print(Padding(Text(f"{verdict.words}: {verdict.claim.says}"), (0, 0, 0, 1)))
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
    """Returns a table as it is, with its caption. Headings may wrap, and so may words and intervals, but no number."""
    title = {"title": source.caption or None, "title_justify": "left", "title_style": ""}
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, **title)  # type: ignore[arg-type]
    for column, cells in zip(source.columns, zip(*source.rows, strict=True), strict=True):
        longest = max(map(len, " ".join(cells).split() if "[" in column.heading else cells))
        justify, width = ("right", longest) if column.numeric else ("left", None)
        table.add_column(Text(column.heading), justify=justify, overflow="fold", min_width=width)  # type: ignore[arg-type]
    for index, row in enumerate(source.rows):
        table.add_row(*(Text(cell) for cell in row), style="bold" if index in source.emphasised else None)
    return table


_WIDE = 110
"""Columns of a terminal that has room for everything."""


def _main_table(results: Table, cost: Table, layers: Table, compared: bool, wide: bool) -> Table:
    """Returns the columns of three tables that fit one screen."""
    ratio = next(column.heading for column in cost.columns if column.heading.startswith("Step ÷"))
    shown = [*results.columns[: (5 if wide else 4) if compared else 3]]
    chosen = [(results, column.heading) for column in shown]
    chosen += [(cost, "Transfer φ"), (cost, ratio), (layers, "Stable rank")] if wide else [(cost, ratio)]
    chosen += [(layers, "Nonlinear, mean")]
    columns = tuple(next(c for c in table.columns if c.heading == heading) for table, heading in chosen)
    rows = tuple(zip(*(table.column(heading) for table, heading in chosen), strict=True))
    return Table("main", "", columns, rows, results.emphasised)
