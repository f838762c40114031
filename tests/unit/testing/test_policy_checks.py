"""The checks of policies: every built-in one passes, and each of a gallery of faults is found by the check for it."""

from __future__ import annotations

from typing import Any

import faulty_places
import faulty_policies
import pytest
from gallery import Fault, assert_found, only

import lrlora.testing as kit
from lrlora.policies import GRIDS, INPUT_SCALES, KINDS, RANKS
from lrlora.registry import UnknownNameError
from lrlora.testing import ConformanceError, NotApplicableError, check_policy, parametrize_with_checks, policy_checks

NEED_AN_ARGUMENT = {"parts": "parts:grid+amplitude", "roles": "roles:q+v", "indices": "indices:0+2"}
WITH_OPTIONS = ["small:0.5", "first_last:2", "linear_decay:2", "constant:0.25", "by_depth:2.0,0.5", "identity:0.1"]
SPECS = [
    (field, spec)
    for field, kind in KINDS.items()
    for spec in (
        *(NEED_AN_ARGUMENT.get(entry.name, entry.name) for entry in kind if entry.origin == "built-in"),
        *(spec for spec in WITH_OPTIONS if spec.partition(":")[0] in kind.names()),
    )
]
FAULTS = faulty_policies.FAULTS  # faulty_places adds to them


@pytest.mark.parametrize(("kind", "spec"), SPECS)
def test_every_policy_that_is_built_in_conforms(kind: str, spec: str) -> None:
    assert all(outcome.ok for outcome in check_policy(kind, spec))


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_faulty_policy_is_found_by_the_check_for_its_fault(fault: Fault) -> None:
    assert_found(fault)


def test_every_check_finds_a_fault_of_the_gallery() -> None:
    own = {check.__name__ for kind in policy_checks.KINDS.values() for check in kind.own}
    # check_survives_saving needs a registered policy: see below.
    shared = {"check_written_down", "check_repeatable", "check_disturbs_nothing"}
    assert {fault.check for fault in FAULTS} == shared | own


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_call_of_its_own_that_answers_a_misspelt_name_with_the_nearest(kind: str) -> None:
    name = KINDS[kind].names()[0]
    with pytest.raises(UnknownNameError, match=f"did you mean '{name}'"):
        getattr(kit, KINDS[kind].check)(name + "x")


def test_a_policy_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="a grid is a name or an instance of Grid"):
        kit.check_grid(RANKS.create("uniform"))


def test_a_failure_says_all_that_fails() -> None:
    with pytest.raises(ConformanceError, match=r"HalfTheRank\(\) fails \d of \d+ checks\n  check_ranks: rank\(r=1"):
        kit.check_rank_allocation(faulty_places.HalfTheRank())


@pytest.mark.usefixtures("forgetting")
def test_only_a_named_policy_is_saved_and_one_that_another_seed_changes_does_not_survive() -> None:
    saving = only(faulty_policies.DrawnScale(), "check_survives_saving")
    with pytest.raises(NotApplicableError, match="@register"):
        saving()
    INPUT_SCALES.register("drawn")(faulty_policies.DrawnScale)
    with pytest.raises(ConformanceError, match="off after its adapter was saved and loaded"):
        saving()


@parametrize_with_checks([GRIDS.create("learned"), RANKS.create("empirical")])
def test_the_decorator_of_pytest_takes_policies(check: Any) -> None:
    check()
