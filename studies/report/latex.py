"""``results.tex``: the report's tables for a paper, set with booktabs, each row with the runs that it comes from."""

from __future__ import annotations

import unicodedata

from lrlora.studies.report.measured_table import measured_table
from lrlora.studies.report.place_tables import place_difference_table, place_table
from lrlora.studies.report.presentation import Table, claim_table, cost_table, result_table, test_table
from lrlora.studies.report.sentences import headline, paper_note, reproduce_command, resolution
from lrlora.studies.report.summary import StudySummary
from lrlora.studies.report.traces import Traces, traces

SPECIALS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after a row's end a bracket would be the space below it
    "]": "{]}",
}
SIGNS = {
    "\N{MINUS SIGN}": r"\ensuremath{-}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "÷": r"\ensuremath{\div}",
    "≤": r"\ensuremath{\le}",
    "≥": r"\ensuremath{\ge}",
    "‖": r"\ensuremath{\|}",
    "√": r"\ensuremath{\surd}",
    "·": r"\ensuremath{\cdot}",
    "²": r"\ensuremath{^2}",
    "λ": r"\ensuremath{\lambda}",
    "ρ": r"\ensuremath{\rho}",
    "σ": r"\ensuremath{\sigma}",
    "φ": r"\ensuremath{\varphi}",
    "θ": r"\ensuremath{\theta}",
    "Δ": r"\ensuremath{\Delta}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "’": "'",
    "\N{LEFT SINGLE QUOTATION MARK}": "`",
    "\N{NO-BREAK SPACE}": "~",
}


def results_latex(summary: StudySummary) -> str:
    """The results, the claims and the tests as LaTeX tables; to be read with ``\\input`` after booktabs."""
    where = traces(summary)
    tables = [
        (result_table(summary), where.by_variant),
        (claim_table(summary), where.by_claim),
        (place_table(summary), where.by_variant),
        (place_difference_table(summary), where.by_comparison),
        (test_table(summary), where.by_comparison),
        (cost_table(summary), where.by_variant),
        (measured_table(summary), where.by_variant),
    ]
    notes = [headline(summary), *resolution(summary), *filter(None, [paper_note(summary)])]
    parts = [
        f"% Study {_comment(summary.name)}, budget {_comment(summary.budget)}.",
        r"% Needs \usepackage{booktabs}. A comment above each row names the MLflow runs that it comes from.",
        f"% Run again with: {_comment(reproduce_command(summary))}",
        *(f"% {_comment(note)}" for note in notes),
    ]
    parts += [_table(table, summary.name, runs) for table, runs in tables if table is not None and table.rows]
    return "\n".join(parts) + "\n"


def latex_escaped(text: str) -> str:
    """Text that LaTeX sets as it stands, in ASCII: accents are dropped, and what has no ASCII form is named.

    >>> latex_escaped("r=4 & 50 % ± 0.1 [−1]")
    'r=4 \\\\& 50 \\\\% \\\\ensuremath{\\\\pm} 0.1 {[}\\\\ensuremath{-}1{]}'
    """
    return "".join(_character(character) for character in " ".join(text.split(" ")))


def _character(character: str) -> str:
    if found := SPECIALS.get(character) or SIGNS.get(character):
        return found
    if character.isascii():
        return character if character.isprintable() else " "
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    if plain.isprintable() and plain.strip():
        return "".join(SPECIALS.get(letter, letter) for letter in plain)
    return f"(U+{ord(character):04X})"


def _table(table: Table, study: str, runs: Traces) -> str:
    layout = "".join("r" if column.numeric else "l" for column in table.columns)
    lines = [
        "",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_escaped(table.caption)}}}",
        rf"\label{{tab:{_anchor(study)}-{table.key}}}",
        rf"\begin{{tabular}}{{{layout}}}",
        r"\toprule",
        _row([column.heading for column in table.columns]),
        r"\midrule",
    ]
    for index, row in enumerate(table.rows):
        found = runs[index] if index < len(runs) else ()
        lines.append(f"% runs: {_comment(', '.join(found)) or 'none recorded'}")
        lines.append(_row(row))
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines)


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return " & ".join(latex_escaped(cell) for cell in cells) + r" \\"


def _anchor(name: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "-" for character in name)


def _comment(text: str) -> str:
    """Text for one line of a comment."""
    return " ".join(text.split())
