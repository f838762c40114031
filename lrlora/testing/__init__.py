"""The conformance kit: what a basis, an engine or a policy must satisfy, as checks that anyone can run on their own.

    >>> from lrlora.testing import check_basis
    >>> outcomes = check_basis("gaussian")  # raises with one line per failure

In a test, with pytest:

    @parametrize_with_checks([MyBasis()])
    def test_my_basis_conforms(check):
        check()
"""

from lrlora.testing.checks import (
    Check,
    ConformanceError,
    NotApplicableError,
    Outcome,
    checks_of,
    parametrize_with_checks,
    require,
    run_checks,
)
from lrlora.testing.conformance import (
    check_amplitude_init,
    check_bandwidth_init,
    check_basis,
    check_engine,
    check_grid,
    check_input_scale,
    check_layer_choice,
    check_placement,
    check_policy,
    check_positive_map,
    check_rank_allocation,
    check_sharing,
    check_sharing_scope,
)

__all__ = [
    "Check", "ConformanceError", "NotApplicableError", "Outcome", "check_amplitude_init", "check_bandwidth_init",
    "check_basis", "check_engine", "check_grid", "check_input_scale", "check_layer_choice", "check_placement",
    "check_policy", "check_positive_map", "check_rank_allocation", "check_sharing", "check_sharing_scope", "checks_of",
    "parametrize_with_checks", "require", "run_checks",
]  # fmt: skip
