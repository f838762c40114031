"""The checks of bases: what conforms passes, and each of a gallery of faults is found by the check for it."""

from __future__ import annotations

import inspect
import re
from typing import Any

import faulty_bases
import faulty_claims
import faulty_numbers
import pytest
from gallery import Fault, assert_found, assert_said, only

from lrlora.bases import BASES, Basis, ShiftedBasis, register
from lrlora.bases.sinc import Sinc
from lrlora.registry import UnknownNameError
from lrlora.testing import ConformanceError, NotApplicableError, check_basis, checks_of, parametrize_with_checks
from lrlora.testing.basis_checks import CHECKS

FAULTS = faulty_bases.FAULTS  # the other two modules add to them


def is_complete(name: str) -> bool:
    """Whether a basis can be made without options, unlike sums and products."""
    options = inspect.signature(BASES.get(name)).parameters.values()
    return all(option.default is not option.empty for option in options)


BUILT_IN = [entry.name for entry in BASES if entry.origin == "built-in" and is_complete(entry.name)]


@parametrize_with_checks([*BUILT_IN, "bspline:1"])  # compositions: tests/property/test_compositions.py
def test_what_is_built_in_conforms(check: Any) -> None:
    check()


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_fault_is_found_by_the_check_for_it_in_one_line_that_says_where(fault: Fault) -> None:
    assert_found(fault)


@pytest.mark.usefixtures("forgetting")
@pytest.mark.parametrize("kind", faulty_claims.OPTIONS, ids=lambda kind: kind.__name__)
def test_options_that_do_not_come_back_are_found(kind: type[Basis]) -> None:
    register(kind.__name__)(kind)
    with pytest.raises(ConformanceError) as caught:
        only(kind(), "check_config_round_trip")()
    assert_said(str(caught.value), faulty_claims.OPTIONS[kind])


def test_every_check_finds_a_fault_of_the_gallery() -> None:
    every = {check.__name__ for group in CHECKS.values() for check in group}
    elsewhere = {"check_config_round_trip"}  # the test above
    assert sorted(every - {fault.check for fault in FAULTS} - elsewhere) == []


def test_one_error_lists_every_failure() -> None:
    with pytest.raises(ConformanceError) as caught:
        check_basis(faulty_numbers.WrongGradient())
    header, *failures = str(caught.value).splitlines()
    assert re.fullmatch(r"WrongGradient\(\) fails \d+ of \d+ checks", header)
    named = {failure.strip().partition(":")[0] for failure in failures}
    assert {"check_gradient_in_z", "check_gradient_in_bandwidth", "check_gradients_add_up"} <= named
    assert not named & {check.__name__ for check in CHECKS["contract"]}


def test_every_process_gives_a_test_the_same_name() -> None:
    """Processes that share the tests compare their names: an address in memory would differ."""
    marked = parametrize_with_checks([faulty_claims.NoName()])
    assert marked.args[1][0].id == "NoName()-check_shape"


def test_expected_failures_are_announced_by_name_and_must_come() -> None:
    class Unnamed(ShiftedBasis):
        def kernel(self, u: Any) -> Any:
            return (1 - u**2) * (-(u**2) / 2).exp()

    with pytest.raises(ConformanceError, match="Unnamed has no registered name"):
        check_basis(Unnamed())
    check_basis(Unnamed(), expected_failures={"check_config_round_trip": "it is for this test alone"})
    with pytest.raises(ConformanceError, match="check_shape: there is no reason"):
        check_basis(
            Unnamed(), expected_failures={"check_config_round_trip": "see above", "check_shape": "there is no reason"}
        )
    with pytest.raises(UnknownNameError, match="check_shape"):
        check_basis("sinc", expected_failures={"check_shap": "a slip of the pen"})


def test_a_basis_is_named_given_with_options_or_made() -> None:
    check_basis("bspline", {"degree": 2})
    for thing in ("bspline:2", BASES.create("bspline", degree=2)):
        assert only(thing, "check_support")() is None
    with pytest.raises(UnknownNameError, match="sinc"):
        check_basis("sinq")
    with pytest.raises(TypeError, match="an instance"):
        checks_of(Sinc)


def test_what_is_not_claimed_and_not_possible_is_said_and_not_passed() -> None:
    with pytest.raises(NotApplicableError, match="claims no period"):
        only("gaussian", "check_period")()
    with pytest.raises(NotApplicableError, match="no grid points"):
        only("fourier", "check_gradient_in_grid")()
