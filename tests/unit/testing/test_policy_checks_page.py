"""docs/conformance-policies.md lists every check, with what the check says of itself, and its first example works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lrlora.policies as policies
import lrlora.testing.strategies as strategies
from lrlora.policies import GRIDS
from lrlora.studies.methods import make_method
from lrlora.studies.testing import TaskByName
from lrlora.testing import checks_of

PAGE = (Path(__file__).parents[3] / "docs" / "conformance-policies.md").read_text(encoding="utf-8")
THINGS = {
    **{
        registry.kind: registry.create(registry.names()[0] if registry.kind != "sharing_scope" else "all")
        for registry in (
            policies.AMPLITUDES,
            policies.BANDWIDTHS,
            policies.GRIDS,
            policies.INPUT_SCALES,
            policies.LAYER_CHOICES,
            policies.PLACEMENTS,
            policies.POSITIVE_MAPS,
            policies.RANKS,
            policies.SCOPES,
            policies.SHARINGS,
        )
    },
    "method": make_method({"method": "frozen"}, "a test"),
    "task": TaskByName("sarcasm"),
}


def rows() -> set[tuple[str, str, str]]:
    found = re.findall(r"^\| ([\w ]+) \| [^|]+ \| `(check_\w+)` \| (.+) \|$", PAGE, flags=re.MULTILINE)
    return {(kind, check, about.replace("\\|", "|")) for kind, check, about in found}


def test_the_page_lists_every_check_of_every_kind_and_no_other() -> None:
    shared = {(check, about) for kind, check, about in rows() if kind == "every policy"}
    wanted = {("every policy", *row) for row in shared}
    for kind, thing in THINGS.items():
        of_kind = {(check.name, check.about) for check in checks_of(thing)}
        if kind not in ("method", "task"):
            assert shared <= of_kind
        wanted |= {(kind, *row) for row in of_kind - shared}
    assert rows() == wanted


def test_the_page_lists_every_strategy() -> None:
    listed = set(re.findall(r"^\| `(\w+)\(", PAGE, flags=re.MULTILINE))
    assert listed == {name for name in strategies.__all__ if name.islower()}


def test_the_first_example_of_the_page_runs() -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[0]
    kept = dict(GRIDS._entries)
    try:
        exec(compile(code, "docs/conformance-policies.md", "exec"), {"__name__": "page"})
    except Exception as error:
        pytest.fail(f"the example does not run: {error}")
    finally:
        GRIDS._entries = kept
