"""The pages on conformance list every check, with what the check says of itself, and their first example works."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import lrlora.testing.strategies as strategies
from lrlora.policies import GRIDS, KINDS
from lrlora.studies.methods import make_method
from lrlora.studies.testing import TaskByName
from lrlora.testing import checks_of
from lrlora.testing.basis_checks import CHECKS as BASIS_CHECKS
from lrlora.testing.checks import first_line
from lrlora.testing.engine_checks import CHECKS as ENGINE_CHECKS

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "conformance.md").read_text(encoding="utf-8")
POLICIES = (DOCS / "conformance-policies.md").read_text(encoding="utf-8")
THINGS = {
    **{field: kind.create("all" if field == "sharing_scope" else kind.names()[0]) for field, kind in KINDS.items()},
    "method": make_method({"method": "frozen"}, "a test"),
    "task": TaskByName("sarcasm"),
}


def table(name: str) -> list[str]:
    """The rows between two marks of the page."""
    return PAGE.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- end of {name} -->")[0].splitlines()[2:]


def rows(checks: Iterable[Any], before: str = "") -> list[str]:
    abouts = {check.__name__: first_line(check).replace("``", "`").replace("|", "\\|") for check in checks}
    return [f"| {before}`{name}` | {about} |" for name, about in abouts.items()]


def test_the_page_lists_the_checks_of_bases_and_engines() -> None:
    assert table("basis checks") == [row for name, checks in BASIS_CHECKS.items() for row in rows(checks, f"{name} | ")]
    assert table("engine checks") == rows(ENGINE_CHECKS)
    assert f"of {len(table('basis checks'))} checks" in PAGE


def test_the_page_lists_every_check_of_every_kind_of_policy_and_no_other() -> None:
    found = re.findall(r"^\| ([\w ]+) \| [^|]+ \| `(check_\w+)` \| (.+) \|$", POLICIES, flags=re.MULTILINE)
    listed = {(kind, check, about.replace("\\|", "|")) for kind, check, about in found}
    shared = {(check, about) for kind, check, about in listed if kind == "every policy"}
    wanted = {("every policy", *row) for row in shared}
    for kind, thing in THINGS.items():
        of_kind = {(check.name, check.about) for check in checks_of(thing)}
        assert kind in ("method", "task") or shared <= of_kind
        wanted |= {(kind, *row) for row in of_kind - shared}
    assert listed == wanted


def test_the_page_lists_every_strategy() -> None:
    listed = set(re.findall(r"^\| `(\w+)\(", POLICIES, flags=re.MULTILINE))
    assert listed == {name for name in strategies.__all__ if name.islower()}


@pytest.mark.usefixtures("forgetting")
def test_the_first_example_of_the_page_runs() -> None:
    code = re.findall(r"```python\n(.*?)```", POLICIES, flags=re.DOTALL)[0]
    exec(compile(code, "docs/conformance-policies.md", "exec"), {"__name__": "page"})
    assert "log" in GRIDS
