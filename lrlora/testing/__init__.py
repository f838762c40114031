"""The conformance kit: what a basis or a policy of one's own must satisfy, as checks that anyone can run.

    >>> from lrlora.bases import BASES
    >>> from lrlora.testing import run_checks
    >>> all(outcome.ok for outcome in run_checks(BASES.create("gaussian")))  # doctest: +SKIP
    True

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

__all__ = [
    "Check",
    "ConformanceError",
    "NotApplicableError",
    "Outcome",
    "checks_of",
    "parametrize_with_checks",
    "require",
    "run_checks",
]
