"""The checks of policies: every built-in one passes, and each of a gallery of faults is found by the check for it."""

from __future__ import annotations

from typing import Any

import faulty_places
import faulty_policies
import pytest

import lrlora.testing as kit
from lrlora.policies import GRIDS, INPUT_SCALES, RANKS
from lrlora.registry import UnknownNameError
from lrlora.testing import ConformanceError, check_policy, parametrize_with_checks, run_checks
from lrlora.testing.check_policy import KINDS, Kind

NEED_AN_ARGUMENT = {"parts": "parts:grid+amplitude", "roles": "roles:q+v", "indices": "indices:0+2"}
WITH_OPTIONS = ["small:0.5", "first_last:2", "linear_decay:2", "constant:0.25", "by_depth:2.0,0.5", "identity:0.1"]
SPECS = [
    (kind.registry.kind, spec)
    for kind in KINDS
    for spec in (
        *(NEED_AN_ARGUMENT.get(entry.name, entry.name) for entry in kind.registry if entry.origin == "built-in"),
        *(spec for spec in WITH_OPTIONS if spec.partition(":")[0] in kind.registry.names()),
    )
]


@pytest.mark.parametrize(("kind", "spec"), SPECS)
def test_every_policy_that_is_built_in_conforms(kind: str, spec: str) -> None:
    assert all(outcome.ok for outcome in check_policy(kind, spec))


FAULTY = faulty_policies.FAULTY


@pytest.mark.parametrize(("faulty", "check", "saying"), FAULTY, ids=[faulty.__name__ for faulty, _, _ in FAULTY])
def test_a_faulty_policy_is_found_by_the_check_for_its_fault(faulty: Any, check: str, saying: str) -> None:
    found = {outcome.check: outcome for outcome in run_checks(faulty())}
    assert found[check].status == "failed", found
    assert saying in found[check].message
    assert "\n" not in found[check].message


def test_every_check_finds_a_fault_of_the_gallery() -> None:
    shared = {"check_written_down", "check_repeatable", "check_disturbs_nothing"}
    # check_survives_saving needs a registered policy: see the last test but one.
    assert {check for _, check, _ in FAULTY} == shared | {check.__name__ for kind in KINDS for check in kind.own}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.registry.kind)
def test_a_misspelt_name_is_answered_with_the_nearest(kind: Kind) -> None:
    name = kind.registry.names()[0]
    with pytest.raises(UnknownNameError, match=f"did you mean '{name}'"):
        check_policy(kind.registry.kind, name + "x")


def test_a_policy_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="a grid is a name or an instance of Grid"):
        kit.check_grid(RANKS.create("uniform"))  # type: ignore[arg-type]


def test_a_failure_says_all_that_fails() -> None:
    faulty = faulty_places.HalfTheRank()
    with pytest.raises(ConformanceError, match=r"HalfTheRank\(\) fails \d of \d+ checks\n  check_ranks: rank\(r=1"):
        kit.check_rank_allocation(faulty)


def test_a_policy_without_a_name_is_told_what_saving_needs() -> None:
    faulty = faulty_policies.Backwards()
    outcomes = {outcome.check: outcome for outcome in run_checks(faulty)}
    assert outcomes["check_survives_saving"].status == "not applicable"
    assert "@register" in outcomes["check_survives_saving"].message


@pytest.mark.usefixtures("forgetting")
def test_a_policy_that_another_seed_changes_does_not_survive_saving() -> None:
    INPUT_SCALES.register("drawn")(faulty_policies.DrawnScale)
    failed = {one.check: one.message for one in run_checks(faulty_policies.DrawnScale()) if not one.ok}
    assert "off after its adapter was saved and loaded" in failed["check_survives_saving"]


@parametrize_with_checks([GRIDS.create("learned"), RANKS.create("empirical")])
def test_the_decorator_of_pytest_takes_policies(check: Any) -> None:
    check()
