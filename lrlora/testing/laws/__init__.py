"""The laws of rank relaxation, as functions that anyone can call on a basis of his own.

A law is ``law_*(basis)``: it returns where it holds, raises ``ConformanceError`` with the numbers where it does not,
and ``NotApplicableError`` where it says nothing of this basis. docs/laws.md derives them.

    >>> from lrlora.bases import BASES
    >>> outcomes = run_laws(BASES.create("bspline"))
    >>> all(outcome.ok for outcome in outcomes)
    True

``Laws(basis)`` is the thing to hand to ``run_checks`` and ``parametrize_with_checks``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lrlora.bases import Basis
from lrlora.testing.checks import Check, Outcome, bind, checks_of, run_checks
from lrlora.testing.laws.bounds import (
    degree_rank_bound,
    exact_rank,
    lowest_degree_for_rank,
    monomial_rank_bound,
    stable_rank_change_bound,
)
from lrlora.testing.laws.full_rank import (
    FullRank,
    RankOutOfReachError,
    angle_range_for_full_rank,
    permutation_of_full_rank,
    reach_full_rank,
)
from lrlora.testing.laws.full_rank_laws import law_differences, law_disjoint_supports, law_full_rank
from lrlora.testing.laws.rank_laws import (
    law_chebyshev_tail,
    law_constant,
    law_degree,
    law_linear,
    law_smoothness,
)
from lrlora.testing.laws.symmetry_laws import law_parity, law_period, law_permutation, law_scaling, law_support
from lrlora.testing.laws.tails import (
    ChebyshevSeries,
    RankPrediction,
    algebraic_tail_bound,
    epsilon_rank,
    geometric_tail_bound,
    rank_at_precision,
)
from lrlora.testing.laws.tied_law import law_tied
from lrlora.testing.laws.update_laws import law_residual_start, law_small_amplitudes, law_stable_rank

LAWS: tuple[Callable[[Basis], None], ...] = (
    law_linear,
    law_degree,
    law_constant,
    law_chebyshev_tail,
    law_smoothness,
    law_stable_rank,
    law_tied,
    law_permutation,
    law_period,
    law_support,
    law_full_rank,
    law_disjoint_supports,
    law_differences,
    law_scaling,
    law_residual_start,
    law_small_amplitudes,
    law_parity,
)


@dataclass(frozen=True)
class Laws:
    """The laws of a basis, as a thing that has checks.

    Attributes:
        basis: Whose.
    """

    basis: Basis


def laws_of(basis: Basis) -> Iterator[Check]:
    """Every law as a check of a basis, in the order of docs/laws.md."""
    return bind(LAWS, basis)


@checks_of.register
def _(laws: Laws) -> Iterator[Check]:
    return laws_of(laws.basis)


def run_laws(
    basis: Basis,
    expected_failures: Mapping[str, str] | None = None,
    listener: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run every law on a basis and say how each ended; see :func:`lrlora.testing.run_checks`.

    Raises:
        ValueError: An expected failure names no law.
    """
    return run_checks(Laws(basis), expected_failures, listener)


__all__ = [
    "LAWS",
    "ChebyshevSeries",
    "FullRank",
    "Laws",
    "RankOutOfReachError",
    "RankPrediction",
    "algebraic_tail_bound",
    "angle_range_for_full_rank",
    "degree_rank_bound",
    "epsilon_rank",
    "exact_rank",
    "geometric_tail_bound",
    "law_chebyshev_tail",
    "law_constant",
    "law_degree",
    "law_differences",
    "law_disjoint_supports",
    "law_full_rank",
    "law_linear",
    "law_parity",
    "law_period",
    "law_permutation",
    "law_residual_start",
    "law_scaling",
    "law_small_amplitudes",
    "law_smoothness",
    "law_stable_rank",
    "law_support",
    "law_tied",
    "laws_of",
    "lowest_degree_for_rank",
    "monomial_rank_bound",
    "permutation_of_full_rank",
    "rank_at_precision",
    "reach_full_rank",
    "run_laws",
    "stable_rank_change_bound",
]
