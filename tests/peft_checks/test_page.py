"""docs/peft.md says of every feature which test shows it: those tests are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "peft.md"
HEADER = "| feature | | test |"


def rows_with_tests() -> list[list[str]]:
    """Rows of the tables that have a column for the test; others say above themselves where theirs are."""
    found, inside = [], False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        inside = line == HEADER or (inside and line.startswith("|"))
        if inside and line != HEADER and not line.startswith("| ---"):
            found.append(line.split("|")[1:-1])
    return found


def defined() -> set[str]:
    names = set()
    for path in (*HERE.glob("*.py"), *HERE.with_name("cases").glob("*.py")):
        names.add(path.name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
    return names


@pytest.mark.parametrize("row", rows_with_tests(), ids=lambda row: row[0].strip())
def test_every_row_names_tests_that_are_there(row: list[str]) -> None:
    assert len(row) == 3
    named = re.findall(r"`(\w+(?:\.py)?)`", row[2])
    assert named
    assert set(named) <= defined()
