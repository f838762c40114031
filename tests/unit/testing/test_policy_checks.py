"""The checks of policies: every built-in one passes, and each of a gallery of faults is found by the check for it."""

from __future__ import annotations

from typing import Any

import faulty_places
import faulty_policies
import pytest

import lrlora.testing.policies as kit
from lrlora.policies import (
    AMPLITUDES,
    BANDWIDTHS,
    GRIDS,
    INPUT_SCALES,
    LAYER_CHOICES,
    PLACEMENTS,
    POSITIVE_MAPS,
    RANKS,
    SCOPES,
    SHARINGS,
    AmplitudeInit,
    BandwidthInit,
    Grid,
    InputScale,
    LayerChoice,
    Placement,
    PositiveMap,
    RankAllocation,
    Scope,
    Sharing,
)
from lrlora.registry import Registry, UnknownNameError
from lrlora.testing import ConformanceError, parametrize_with_checks, run_checks

KINDS: dict[Registry[Any], Any] = {
    AMPLITUDES: kit.check_amplitude_init,
    BANDWIDTHS: kit.check_bandwidth_init,
    GRIDS: kit.check_grid,
    INPUT_SCALES: kit.check_input_scale,
    LAYER_CHOICES: kit.check_layer_choice,
    PLACEMENTS: kit.check_placement,
    POSITIVE_MAPS: kit.check_positive_map,
    RANKS: kit.check_rank_allocation,
    SCOPES: kit.check_sharing_scope,
    SHARINGS: kit.check_sharing,
}
ABSTRACT = [
    AmplitudeInit,
    BandwidthInit,
    Grid,
    InputScale,
    LayerChoice,
    Placement,
    PositiveMap,
    RankAllocation,
    Scope,
    Sharing,
]
NEED_AN_ARGUMENT = {"parts": "parts:grid+amplitude", "roles": "roles:q+v", "indices": "indices:0+2"}
WITH_OPTIONS = ["small:0.5", "first_last:2", "linear_decay:2", "constant:0.25", "by_depth:2.0,0.5", "identity:0.1"]
BUILT_IN = [
    (registry, NEED_AN_ARGUMENT.get(entry.name, entry.name))
    for registry in KINDS
    for entry in registry
    if entry.origin == "built-in"
]
VARIED = [(registry, spec) for registry in KINDS for spec in WITH_OPTIONS if spec.partition(":")[0] in registry.names()]


@pytest.mark.parametrize(
    ("registry", "spec"), BUILT_IN + VARIED, ids=lambda value: value if isinstance(value, str) else value.kind
)
def test_every_policy_that_is_built_in_conforms(registry: Registry[Any], spec: str) -> None:
    assert all(outcome.ok for outcome in KINDS[registry](spec))


FAULTY = faulty_policies.FAULTY


@pytest.mark.parametrize(("faulty", "check", "saying"), FAULTY, ids=[faulty.__name__ for faulty, _, _ in FAULTY])
def test_a_faulty_policy_is_found_by_the_check_for_its_fault(faulty: Any, check: str, saying: str) -> None:
    found = {outcome.check: outcome for outcome in run_checks(faulty())}
    assert found[check].status == "failed", found
    assert saying in found[check].message
    assert "\n" not in found[check].message


@pytest.mark.parametrize("kind", ABSTRACT, ids=lambda kind: kind.__name__)
def test_there_are_several_faults_of_every_kind(kind: type) -> None:
    assert sum(issubclass(faulty, kind) for faulty, _, _ in FAULTY) >= 2


@pytest.mark.parametrize("registry", KINDS, ids=lambda registry: registry.kind)
def test_a_misspelt_name_is_answered_with_the_nearest(registry: Registry[Any]) -> None:
    name = registry.names()[0]
    with pytest.raises(UnknownNameError, match=f"did you mean '{name}'"):
        KINDS[registry](name + "x")


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


@parametrize_with_checks([GRIDS.create("learned"), RANKS.create("empirical")])
def test_the_decorator_of_pytest_takes_policies(check: Any) -> None:
    check()
