"""The conformance kit: what a basis or a policy of one's own must satisfy, as checks that anyone can run.

    >>> from lrlora.testing import check_basis
    >>> check_basis("gaussian")  # raises with one line per failure

In a test, with pytest:

    @parametrize_with_checks([MyBasis()])
    def test_my_basis_conforms(check):
        check()
"""

from lrlora.testing.bases import check_basis
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
    "check_basis",
    "checks_of",
    "parametrize_with_checks",
    "require",
    "run_checks",
]
