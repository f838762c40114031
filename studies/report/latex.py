"""``results.tex``: the report's tables for a paper, set with booktabs, each row with the runs that it comes from."""

from __future__ import annotations

import unicodedata

import pandas as pd

from lrlora.studies.report.claim_table import claim_table
from lrlora.studies.report.cost_tables import cost_table, measured_table
from lrlora.studies.report.result_tables import place_difference_table, place_table, result_table, test_table
from lrlora.studies.report.sentences import headline, paper_note, reproduce_command, resolution
from lrlora.studies.report.table import Table
from lrlora.studies.stats.summary import StudySummary

ESCAPES = str.maketrans(
    {character: f"\\{character}" for character in "{}$&#%_"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "`": r"\textasciigrave{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\char34{}"}
    # After the end of a row a bracket would be its optional argument.
    | {"[": "{[}", "]": "{]}"}
    | {
        sign: rf"\ensuremath{{{command}}}"
        for sign, command in {
            "\N{MINUS SIGN}": "-", "±": r"\pm", "×": r"\times", "÷": r"\div", "≤": r"\le", "≥": r"\ge", "‖": r"\|",
            "√": r"\surd", "·": r"\cdot", "²": "^2", "λ": r"\lambda", "ρ": r"\rho", "σ": r"\sigma", "φ": r"\varphi",
            "θ": r"\theta", "Δ": r"\Delta",
        }.items()
    }
    | {"–": "--", "—": "---", "…": r"\ldots{}", "’": "'", "\N{LEFT SINGLE QUOTATION MARK}": "`", "\xa0": "~"}
)  # fmt: skip


def results_latex(summary: StudySummary) -> str:
    """Returns the results, the claims and the tests as LaTeX tables; to be read with ``\\input`` after booktabs."""
    tables = (
        result_table(summary),
        claim_table(summary),
        place_table(summary),
        place_difference_table(summary),
        test_table(summary),
        cost_table(summary),
        measured_table(summary),
    )
    notes = [headline(summary), *resolution(summary), *filter(None, [paper_note(summary)])]
    comments = [
        f"Study {summary.name}, budget {summary.budget}.",
        r"Needs \usepackage{booktabs}. A comment above each row names the MLflow runs that it comes from.",
        f"Run again with: {reproduce_command(summary)}",
        *notes,
    ]
    parts = [f"% {_one_line(comment)}" for comment in comments]
    parts += [_table(table, summary.name) for table in tables if table is not None and table.rows]
    return "\n".join(parts) + "\n"


def latex_escaped(text: str) -> str:
    """Text that LaTeX sets as it stands, in ASCII: accents are dropped, and what has no ASCII form is named.

    >>> latex_escaped("r=4 & 50 % ± 0.1 [−1]")
    'r=4 \\\\& 50 \\\\% \\\\ensuremath{\\\\pm} 0.1 {[}\\\\ensuremath{-}1{]}'
    """
    return "".join(_ascii(character) for character in text.translate(ESCAPES))


def _ascii(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() else " "
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain.translate(ESCAPES) if plain.isprintable() and plain.strip() else f"(U+{ord(character):04X})"


def _table(table: Table, study: str) -> str:
    anchor = "".join(character if character.isascii() and character.isalnum() else "-" for character in study)
    headings = [latex_escaped(column.heading) for column in table.columns]
    lines = (
        pd.DataFrame([[latex_escaped(cell) for cell in row] for row in table.rows], columns=headings)
        .to_latex(
            index=False,
            column_format="".join("r" if column.numeric else "l" for column in table.columns),
            caption=latex_escaped(table.caption),
            label=f"tab:{anchor}-{table.key}",
        )
        .splitlines()
    )
    first = lines.index(r"\midrule") + 1
    for index in reversed(range(len(table.rows))):
        runs = table.runs[index] if index < len(table.runs) else ()
        lines.insert(first + index, f"% runs: {_one_line(', '.join(runs)) or 'none recorded'}")
    lines.insert(1, r"\centering")
    return "\n".join(["", *lines])


def _one_line(text: str) -> str:
    """Text for one line of a comment."""
    return " ".join(text.split())
