"""The checks of engines: two sound ones pass, and each of a gallery of faults is found by the check for it alone."""

from __future__ import annotations

from typing import Any

import faulty_engines
import pytest
from gallery import Fault, assert_said

from lrlora.registry import UnknownNameError
from lrlora.testing import ConformanceError, check_engine, checks_of, engine_checks, parametrize_with_checks, run_checks

FAULTS = faulty_engines.FAULTS


@parametrize_with_checks([faulty_engines.Planless(), faulty_engines.Series()])
def test_a_sound_engine_conforms(check: Any) -> None:
    check()


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_fault_is_found_by_the_check_for_it_alone(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_checks, "EXAMPLES", 15)
    failed = {one.check: one.message for one in run_checks(fault.make()) if one.status == "failed"}
    assert list(failed) == [fault.check], failed
    assert_said(failed[fault.check], fault.words)


def test_every_check_finds_a_fault_of_the_gallery() -> None:
    assert {fault.check for fault in FAULTS} == {check.__name__ for check in engine_checks.CHECKS}


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
