"""docs/laws.md is run as it stands: its figures are what the code gives."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "laws.md"


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    # A fence would be read as output of the line above it.
    text = "\n".join("" if line.startswith("```") else line for line in PAGE.read_text(encoding="utf-8").splitlines())
    found = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    assert len(found.examples) >= 10
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(found, out=report.append).failed == 0, "".join(report)
