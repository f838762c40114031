"""A table of finished text, set alike on the page, in Markdown, in LaTeX and on a terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lrlora.studies.stats.source import Record
from lrlora.studies.stats.summary import StudySummary


@dataclass(frozen=True)
class Column:
    """A column: its heading, whether it holds numbers (aligned right) or words, and whether its cells may wrap."""

    heading: str
    numeric: bool = True
    wraps: bool = False


@dataclass(frozen=True)
class Table:
    """A table of finished text.

    Attributes:
        key: A name for anchors.
        caption: One sentence.
        columns: The columns; the first names the row.
        rows: The cells, as many in each row as there are columns.
        emphasised: Indices of the rows to set apart: the reference's.
        links: Link targets of cells, by row and column.
        anchors: Anchors of rows, by row.
        runs: The MLflow runs that a row comes from, by row; empty if the table does not say.
    """

    key: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    emphasised: Collection[int] = ()
    links: Mapping[tuple[int, int], str] = field(default_factory=dict)
    anchors: Mapping[int, str] = field(default_factory=dict)
    runs: Sequence[tuple[str, ...]] = ()

    def column(self, heading: str) -> list[str]:
        """Returns the cells under a heading."""
        index = [column.heading for column in self.columns].index(heading)
        return [row[index] for row in self.rows]


def make_table(
    key: str,
    caption: str,
    rows: Sequence[Mapping[str, str]],
    words: Collection[str] = (),
    wraps: Collection[str] = (),
    **details: Any,
) -> Table:
    """Returns a table from rows as mappings of headings to cells, all with the same headings.

    Args:
        key: A name for anchors.
        caption: One sentence.
        rows: The rows; of none there is a table without columns.
        words: Headings of columns that hold words, beside the first.
        wraps: Headings of columns whose cells may wrap.
        details: Further fields of :class:`Table`.
    """
    headings = list(rows[0]) if rows else []
    columns = tuple(
        Column(heading, numeric=index > 0 and heading not in words, wraps=heading in wraps)
        for index, heading in enumerate(headings)
    )
    return Table(key, caption, columns, tuple(tuple(row[heading] for heading in headings) for row in rows), **details)


def variant_table(
    summary: StudySummary, key: str, caption: str, rows: Sequence[Mapping[str, str]], **details: Any
) -> Table:
    """Returns a table with a row for each variant, with its runs; the reference's row is emphasised."""
    emphasised = [index for index, variant in enumerate(summary.variants) if variant.is_reference]
    runs = tuple(runs_by_variant(summary))
    return make_table(key, caption, rows, emphasised=emphasised, runs=runs, **details)


def run_id(record: Record) -> str:
    """Returns the MLflow run of a cell; empty if none is recorded."""
    return str(record.get("mlflow_run_id") or "")


def runs_of(summary: StudySummary, *variants: str) -> tuple[str, ...]:
    """Returns the runs of all cells of some variants, those that diverged included."""
    found = (run_id(record) for name in dict.fromkeys(variants) if name for record in summary.records_of(name))
    return tuple(run for run in found if run)


def runs_by_variant(summary: StudySummary) -> list[tuple[str, ...]]:
    """Returns the runs of each variant."""
    return [runs_of(summary, variant.name) for variant in summary.variants]


def runs_by_comparison(summary: StudySummary) -> list[tuple[str, ...]]:
    """Returns the runs of each comparison."""
    return [runs_of(summary, one.of, one.against) for one in summary.comparisons]


def runs_by_claim(summary: StudySummary) -> list[tuple[str, ...]]:
    """Returns the runs of each claim."""
    return [runs_of(summary, *verdict.variants) for verdict in summary.verdicts]
