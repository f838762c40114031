"""The checks of engines: two sound ones pass, and each of a gallery of faults is found by the check for it alone."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import faulty_engines
import pytest

from lrlora.registry import UnknownNameError
from lrlora.testing import ConformanceError, check_engine, checks_of, parametrize_with_checks, run_checks
from lrlora.testing.check_engine import CHECKS

FAULTY = faulty_engines.FAULTY


@parametrize_with_checks([faulty_engines.Planless(), faulty_engines.Series()])
def test_a_sound_engine_conforms(check: Any) -> None:
    check()


@pytest.mark.parametrize(("faulty", "check", "saying"), FAULTY, ids=[faulty.__name__ for faulty, _, _ in FAULTY])
def test_a_fault_is_found_by_the_check_for_it_alone_in_one_line(
    faulty: Any, check: str, saying: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("lrlora.testing.check_engine"), "EXAMPLES", 15)
    failed = {one.check: one.message for one in run_checks(faulty()) if one.status == "failed"}
    assert list(failed) == [check], failed
    assert saying in failed[check]
    assert "\n" not in failed[check]
    assert len(failed[check]) < 400


def test_every_check_finds_a_fault_of_the_gallery() -> None:
    assert {check for _, check, _ in FAULTY} == {check.__name__ for check in CHECKS}


def test_what_was_measured_is_in_the_outcome() -> None:
    outcomes = {one.check: one.message for one in check_engine(faulty_engines.Planless())}
    assert outcomes["check_values"].startswith("the largest relative error is 0.0e+00 over")
    assert outcomes["check_gradients"] == "gradients are within 0.0e+00 of those of the definition, relative"
    assert outcomes["check_stale_plan"] == "makes no plan"


def test_an_engine_is_named_or_made() -> None:
    with pytest.raises(UnknownNameError, match="direct"):
        check_engine("dirct")
    with pytest.raises(ConformanceError, match=r"IgnoresTheBias\(\) fails 1 of 11 checks\n  check_linear: linear is"):
        check_engine(faulty_engines.IgnoresTheBias())
    with pytest.raises(TypeError, match="an instance"):
        checks_of(faulty_engines.Series)


def test_the_page_lists_the_checks_that_there_are() -> None:
    page = (Path(__file__).parents[3] / "docs" / "conformance.md").read_text(encoding="utf-8")
    rows = [
        f"| `{check.__name__}` | {(check.__doc__ or '').partition(chr(10))[0].replace('``', '`')} |" for check in CHECKS
    ]
    found = page.partition("<!-- engine checks -->\n")[2].partition("\n<!-- end of engine checks -->")[0]
    assert found.splitlines() == ["| check | what it protects |", "| --- | --- |", *rows]
