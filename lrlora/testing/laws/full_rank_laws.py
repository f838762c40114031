"""Whether full rank can be reached, as laws: what a property of a basis makes of a few special matrices."""

from __future__ import annotations

import torch

from lrlora.analysis.linalg import singular_values
from lrlora.bases import Basis
from lrlora.testing.checks import ConformanceError, NotApplicableError
from lrlora.testing.laws.draws import drawn_transfer, rounding_of_matrix
from lrlora.testing.laws.full_rank import (
    RankOutOfReachError,
    difference_factors,
    permutation_of_full_rank,
    reach_full_rank,
)
from lrlora.testing.laws.tails import rank_at_precision


def law_full_rank(basis: Basis, seed: int = 0) -> None:
    """Where full rank was constructed, the range is one on which the Chebyshev tail leaves room for it.

    The bound from above and the construction from below must not pass each other. A basis that does not follow a sine
    and a cosine with 64 functions is not at fault; the law then says nothing.
    """
    del seed  # nothing is drawn
    reasons = []
    for n, r in ((8, 1), (16, 2), (27, 3)):
        try:
            found = reach_full_rank(basis, n, r, num_functions=64)
            sigma = singular_values(found.update)
            size = float(found.update.abs().max())
            # The precision at which a singular value as small as the smallest still counts.
            predicted = rank_at_precision(found.transfer, r, found.reach, float(sigma[-1]) / (2 * n * size))
        except ValueError as reason:
            reasons.append(str(reason))
            continue
        if predicted.rank < n:
            raise ConformanceError(
                f"φ(BA) has rank {n} with σ_min = {float(sigma[-1]):.2g} at r = {r}, |BA| ≤ {found.reach:.3g}, where φ "
                f"is followed by degree {predicted.degree}, which gives rank {predicted.rank} at most"
            )
    if len(reasons) == 3:
        raise NotApplicableError(reasons[0])


def law_disjoint_supports(basis: Basis, seed: int = 0) -> None:
    """One function of compact support and steps as wide as the support make a multiple of the identity, exactly."""
    del seed
    if basis.properties().support is None:
        raise NotApplicableError("the basis does not say that it has a support")
    n = 12
    try:
        update = permutation_of_full_rank(basis, n).update
    except RankOutOfReachError as reason:
        raise NotApplicableError(str(reason)) from reason
    off = float((update - torch.diag(update.diagonal())).abs().max())
    if off != 0:
        raise ConformanceError(
            f"an entry off the diagonal is {off:.1e} with steps as wide as the support; it must be 0"
        )


def law_differences(basis: Basis, seed: int = 0) -> None:
    """On z_ij = x_i − y_j a polynomial of degree d gives rank d + 1, far below the C(d + 2, 2) of other matrices."""
    if not basis.properties().polynomial:
        raise NotApplicableError("the basis does not say that its functions are polynomials")
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.empty(2, 14, dtype=torch.float64).uniform_(-1.5, 1.5, generator=generator)
    B, A = difference_factors(x, y)
    for degree in (1, 3, 6):
        f = drawn_transfer(basis, seed, degree)
        past = float(singular_values(f(B @ A))[degree + 1])
        allowed = rounding_of_matrix(f, B @ A)
        if not past <= allowed:
            raise ConformanceError(
                f"σ_{degree + 2} of φ(x_i − y_j) is {past:.2e} for {degree} functions, where rank {degree + 1} is the "
                f"most and rounding makes {allowed:.1e}"
            )
