"""LaTeX: whatever a study is called, what is written is well formed, and says which runs it comes from."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrlora.studies.report import result_tables
from lrlora.studies.report.claim_table import claim_table
from lrlora.studies.report.latex import latex_escaped, results_latex
from lrlora.studies.stats.summary import StudySummary, summarise

NAMES = ("100%_&#{}$^~\\", "a|b<c>[d]", "φ(ΔW) − é 漢", "\\input{x}", "lora")


def unescaped(text: str) -> str:
    """What is left of LaTeX once escapes and the commands that escaping uses are taken away."""
    mathematics = r"\\ensuremath\{[^{}]*\}|"
    return re.sub(mathematics + r"\\[&%$#_{}]|\\[a-z]+(\{\}|34\{\})?|\{\[\}|\{\]\}|~", "", text)


def columns_of(table: str) -> int:
    found = re.search(r"\\begin\{tabular\}\{([lr]+)\}", table)
    assert found is not None
    return len(found.group(1))


@given(st.text())
def test_no_text_can_end_a_cell_a_row_or_a_group(text: str) -> None:
    escaped = latex_escaped(text)
    assert escaped.isascii()
    assert escaped.isprintable()
    assert not re.search(r"(?<!\\)[&%$#_]", escaped)
    assert r"\\" not in escaped
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", escaped):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_letters_stay_as_they_are(text: str) -> None:
    letters = "".join(character for character in text if character.isalnum() or character in " .,;:+-=()/*!?@'")
    assert latex_escaped(letters) == letters


@pytest.fixture
def summary(synthetic: SimpleNamespace) -> StudySummary:
    records = [
        synthetic.record(name, seed, task=task, steps=20)
        for name in NAMES
        for seed in (1, 2)
        for task in ("a", "b_c", "d")
    ]
    return summarise(synthetic.results(records, study=synthetic.Study(paper=None)))


def test_every_row_has_as_many_cells_as_its_table_has_columns(summary: StudySummary) -> None:
    tables = results_latex(summary).split(r"\begin{table}")[1:]
    assert len(tables) >= 5
    for table in tables:
        rows = [line for line in table.splitlines() if line.endswith(r" \\")]
        assert len(rows) > 1
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == columns_of(table) - 1
            assert not re.search(r"[&%$#_^{}|<>\[\]]", unescaped(row).replace("&", "", columns_of(table) - 1))


def test_groups_and_environments_are_closed(summary: StudySummary) -> None:
    text = "\n".join(line for line in results_latex(summary).splitlines() if not line.startswith("%"))
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert re.findall(r"\\begin\{(\w+)\}", text).count("table") == re.findall(r"\\end\{(\w+)\}", text).count("table")
    assert (
        text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == text.count(r"\end{table}")
    )


def test_every_row_names_the_runs_it_comes_from(synthetic: SimpleNamespace) -> None:
    records = synthetic.along_ranks()
    summary = summarise(synthetic.results(records, study=synthetic.ranks_study()))
    lines = results_latex(summary).splitlines()
    rows = [i for i, line in enumerate(lines) if line.endswith(r" \\") and lines[i + 1] != r"\midrule"]
    assert all(lines[i - 1].startswith("% runs: ") for i in rows)
    claim = next(i for i in rows if lines[i].startswith("The gain shrinks as r grows"))
    assert set(lines[claim - 1].removeprefix("% runs: ").split(", ")) == {r["mlflow_run_id"] for r in records}
    first = next(i for i in rows if lines[i].startswith("method=lora,r=4 "))
    ours = [r["mlflow_run_id"] for r in records if r["variant"] == "method=lora,r=4"]
    assert lines[first - 1] == f"% runs: {', '.join(ours)}"


def test_results_claims_and_tests_are_there_with_the_papers_figures(synthetic: SimpleNamespace) -> None:
    summary = summarise(synthetic.results(study=synthetic.Study(claims=synthetic.ranks_study().claims)))
    text = results_latex(summary)
    for make in (result_tables.result_table, claim_table, result_tables.test_table):
        table = make(summary)
        assert table is not None
        assert latex_escaped(table.caption) in text
    assert r"61.1 \ensuremath{\pm} 0.2" in text
