"""The conformance of bases: what an engine, a config, a saved adapter and a study rely on, one small check each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from lrlora.bases import BASES, Basis, Properties
from lrlora.testing.bases import adapters, contract, engines, finiteness, gradients, properties, purity
from lrlora.testing.bases.inputs import evaluate, generic
from lrlora.testing.checks import Check, NotApplicableError, bind, checks_of, require, run_checks

CHECKS: dict[str, tuple[Callable[[Basis], None], ...]] = {
    "contract": (
        contract.check_shape,
        contract.check_dtype,
        contract.check_device,
        contract.check_elementwise,
        contract.check_own_parameters,
        contract.check_vmap,
        contract.check_bandwidth_matters,
        contract.check_uses_grid,
    ),
    "purity": (
        purity.check_arguments_unchanged,
        purity.check_randomness,
        purity.check_state,
        purity.check_default_dtype,
        purity.check_precision,
    ),
    "gradients": (
        gradients.check_gradient_in_z,
        gradients.check_gradient_in_bandwidth,
        gradients.check_gradient_in_grid,
        gradients.check_gradients_add_up,
        gradients.check_gradient_of_transfer,
        gradients.check_descent,
    ),
    "finiteness": (
        finiteness.check_finite_at_grid_points,
        finiteness.check_finite_on_the_grid,
        finiteness.check_finite_far_off,
        finiteness.check_finite_for_any_bandwidth,
        finiteness.check_finite_in_bfloat16,
    ),
    "claims": (
        properties.check_claims,
        properties.check_parity,
        properties.check_period,
        properties.check_support,
        properties.check_band_limit,
        properties.check_partition_of_unity,
        properties.check_smoothness,
        properties.check_polynomial,
    ),
    "engines": (
        engines.check_engine_direct,
        engines.check_engine_polynomial,
        engines.check_engine_factored,
        engines.check_engine_tabulated,
        engines.check_engine_auto,
    ),
    "adapters": (
        adapters.check_config_round_trip,
        adapters.check_identity_start,
        adapters.check_adapter_trains_and_merges,
        adapters.check_adapter_round_trip,
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


def _run_if_sound(basis: Basis, run: Callable[[], None]) -> None:
    """Run a check unless the basis fails in a way that would make every check fail: one line says it once."""
    for z in (generic(7).z, generic(7).z.view(3, 4)):
        try:
            evaluate(basis, z, *generic(5)[1:])
        except Exception as error:
            raise NotApplicableError("asked once check_shape passes") from error
    if not isinstance(basis.properties(), Properties):
        raise NotApplicableError("asked once check_claims passes")
    run()


__all__ = ["CHECKS", "check_basis"]
