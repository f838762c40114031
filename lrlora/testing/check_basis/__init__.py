"""The conformance of bases: what an engine, a config, a saved adapter and a study rely on, one small check each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from lrlora.bases import BASES, Basis, Properties
from lrlora.testing.check_basis import calculus, claims, contract, use
from lrlora.testing.checks import Check, NotApplicableError, bind, checks_of, require, run_checks

CHECKS: dict[str, tuple[Callable[[Basis], None], ...]] = {
    "contract": (
        contract.check_shape,
        contract.check_dtype,
        contract.check_device,
        contract.check_elementwise,
        contract.check_own_parameters,
        contract.check_bandwidth_matters,
        contract.check_uses_grid,
    ),
    "purity": (
        contract.check_arguments_unchanged,
        contract.check_randomness,
        contract.check_state,
        contract.check_default_dtype,
        contract.check_precision,
    ),
    "gradients": (
        calculus.check_gradient_in_z,
        calculus.check_gradient_in_bandwidth,
        calculus.check_gradient_in_grid,
        calculus.check_gradient_in_shape,
        calculus.check_gradients_add_up,
    ),
    "finiteness": (
        calculus.check_finite_on_the_grid,
        calculus.check_finite_far_off,
        calculus.check_finite_for_any_bandwidth,
    ),
    "claims": (
        claims.check_claims,
        claims.check_parity,
        claims.check_period,
        claims.check_support,
        claims.check_band_limit,
        claims.check_partition_of_unity,
        claims.check_smoothness,
        claims.check_polynomial,
    ),
    "use": (
        use.check_float32,
        use.check_engine_auto,
        use.check_config_round_trip,
        use.check_adapter_trains_and_merges,
    ),
}
"""The checks of a basis by subject, in the order in which their messages help most."""


def check_basis(
    basis: str | Basis,
    basis_kwargs: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> None:
    """Check that a basis does what everything here relies on; returns when it does.

    Args:
        basis: A name or spec such as ``"bspline:1"``, or an instance.
        basis_kwargs: Options, where a name is given.
        expected_failures: Names of checks that will fail, each with the reason. One that passes is a failure.

    Raises:
        ConformanceError: With one line per failed check.
        UnknownNameError: No basis or no check has this name.
    """
    made = BASES.create(basis, **dict(basis_kwargs or {}))
    require(run_checks(made, expected_failures), basis)


@checks_of.register
def _(basis: Basis) -> Iterator[Check]:
    for check in bind([check for group in CHECKS.values() for check in group], basis):
        is_first = check.name in ("check_shape", "check_claims")
        yield check if is_first else replace(check, run=partial(_run_if_sound, basis, check.run))


@checks_of.register
def _(basis: str) -> Iterator[Check]:
    return checks_of(BASES.create(basis))


def _run_if_sound(basis: Basis, run: Callable[[], str | None]) -> str | None:
    """Run a check unless the basis fails in a way that would make every check fail: one line says it once."""
    arguments = contract.generic(7)
    for z in (arguments.z, arguments.z.view(3, 4)):
        try:
            contract.evaluate(basis, z, *contract.generic(5)[1:])
        except Exception as error:
            raise NotApplicableError("asked once check_shape passes") from error
    if not isinstance(basis.properties(), Properties):
        raise NotApplicableError("asked once check_claims passes")
    return run()


__all__ = ["CHECKS", "check_basis"]
