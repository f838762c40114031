"""The conformance kit: what a basis or a policy of one's own must satisfy, as checks that anyone can run.

    >>> from lrlora.testing import check_basis
    >>> check_basis("gaussian")  # raises with one line per failure

In a test, with pytest:

    @parametrize_with_checks([MyBasis()])
    def test_my_basis_conforms(check):
        check()
"""

from lrlora.testing.check_basis import check_basis
from lrlora.testing.check_engine import check_engine
from lrlora.testing.check_policy import (
    check_amplitude_init,
    check_bandwidth_init,
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

__all__ = [
    "Check",
    "ConformanceError",
    "NotApplicableError",
    "Outcome",
    "check_amplitude_init",
    "check_bandwidth_init",
    "check_basis",
    "check_engine",
    "check_grid",
    "check_input_scale",
    "check_layer_choice",
    "check_placement",
    "check_policy",
    "check_positive_map",
    "check_rank_allocation",
    "check_sharing",
    "check_sharing_scope",
    "checks_of",
    "parametrize_with_checks",
    "require",
    "run_checks",
]
