"""The checks of a basis: what an engine, a config, a saved adapter and a study rely on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from lrlora.bases import BASES, Basis, Properties
from lrlora.testing.basis_checks import claims, contract, gradients, use
from lrlora.testing.basis_checks.arguments import evaluate, generic
from lrlora.testing.checks import Check, NotApplicableError, bind, checks_of, functions_of

CHECKS = {
    module.__name__.rpartition(".")[2]: functions_of(vars(module)) for module in (contract, gradients, claims, use)
}
"""The checks of a basis by subject, in the order in which their messages help most."""


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
    at = generic(7)
    try:
        for z in (at.z, at.z.view(3, 4)):
            evaluate(basis, generic(5)._replace(z=z))
    except Exception as error:
        raise NotApplicableError("asked once check_shape passes") from error
    if not isinstance(basis.properties(), Properties):
        raise NotApplicableError("asked once check_claims passes")
    return run()
