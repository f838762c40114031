"""Which degree a polynomial needs, judged by what the fit leaves over at the nodes, for many layers at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrlora.engines.chebyshev import chebyshev_nodes, constant
from lrlora.engines.columns import Columns
from lrlora.engines.newton import HIGHEST_DEGREE, functions_at
from lrlora.engines.ranges import Range
from lrlora.engines.surrogate import SAFETY
from lrlora.engines.weighted import NODES, level_of, nodes, weighted_bases

AT_THE_LARGEST = 0.006
"""The root of the share of entries that are near the largest."""
HIGHEST = 4
"""Terms of a series whose size shows whether the nodes resolve the function. If they do not, what a fit leaves over at
them says nothing of what it leaves over between."""


@dataclass(frozen=True)
class Fits:
    """Polynomials in t for L layers.

    Attributes:
        degree: Of each; 0 where none will do.
        error: Relative error of each, the largest of those that were judged.
        terms: ``(L, 28)``, the coefficients of P_1 … P_28 of f (see :mod:`.newton`), zero past the degree.
        line: Slope of the straight line that is nearest to f on the average.
        curved: The share of f' that no constant takes.
        bent: The largest share of what the gradient of θ sums that no straight line takes, and no parabola.
    """

    degree: list[int]
    error: list[float]
    terms: Tensor
    line: list[float]
    curved: list[float]
    bent: list[tuple[float, float]]


def lowest_degrees(
    columns: Columns, ranges: Sequence[Range], degrees: Sequence[int], tolerance: float, dtype: torch.dtype
) -> Fits:
    """The lowest of ``degrees`` at which all columns, and the slope of f, are fitted to the tolerance.

    Not where the terms of the polynomial are so much larger than their sum that rounding in ``dtype`` would show.
    """
    device = columns.values.device
    bases = weighted_bases(device)
    level = torch.tensor([level_of(where.spread) for where in ranges], device=device)
    weight = bases.weight[level]
    b = bases.analysis[level] @ columns.values  # (L, 31, columns), in the orthonormal functions
    whole = columns.values + columns.at_zero[:, None]

    def by_group(squares: Tensor) -> Tensor:
        return torch.stack([squares[..., group].sum(-1) for group in columns.groups], dim=-1)

    sizes = by_group((weight[:, :, None] * whole.square()).sum(1))
    beyond = by_group((weight[:, :, None] * columns.values.square()).sum(1) - b.square().sum(1)).clamp_min(0)
    left = by_group(b.square().flip(1).cumsum(1).flip(1)) + beyond[:, None]  # at each degree
    slopes = (b[:, :, :1] * bases.slopes[level]).flip(1).cumsum(1).flip(1)  # (L, 31, nodes), of what is left
    slopes_left = (weight[:, None] * slopes.square()).sum(2)
    strictness = torch.tensor(columns.strictness, dtype=torch.float64, device=device).square()
    of_groups = strictness * _ratio(left, sizes[:, None])
    error = torch.cat([of_groups, _ratio(slopes_left, slopes_left[:, :1])[..., None]], dim=2).amax(2).sqrt()

    candidates = torch.tensor(degrees, device=device)
    meets = error[:, candidates] <= SAFETY * tolerance
    degree = torch.where(meets.any(1), candidates[meets.int().argmax(1)], 0)
    kept = torch.arange(HIGHEST_DEGREE, device=device) < degree[:, None]
    terms = bases.terms[level] @ (b[:, :HIGHEST_DEGREE] * kept[..., None])
    # The terms beside the sum are what rounding errors are magnified by: at entries of three times the spread, and, as
    # these are few, a little at the largest ones.
    size_of_terms = by_group(terms.square()).sqrt()
    sum_of_terms = torch.maximum(
        (size_of_terms * bases.heights[level][..., None]).sum(1),
        AT_THE_LARGEST * (size_of_terms * bases.heights[0][:, None]).sum(1),
    )
    rounding = _ratio(sum_of_terms, sizes.sqrt()).amax(1) * (torch.finfo(dtype).eps / 2)
    series = chebyshev_nodes(NODES, device)[1] @ columns.values
    unresolved = _ratio(by_group(series[:, -HIGHEST:].square().sum(1)), by_group(series.square().sum(1))).amax(1)
    usable = (rounding <= tolerance) & (unresolved <= (2 * SAFETY * tolerance) ** 2) & error.isfinite().all(1)
    degree = torch.where(usable, degree, 0)

    taken = [by_group(part) for part in (orthonormal_parabolas(device)[level] @ whole).square().unbind(1)]
    straight, parabola = (
        _ratio((sizes - sum(taken[:count])).clamp_min(0), sizes)[:, 1:].amax(1).sqrt()
        if len(columns.groups) > 1
        else torch.zeros_like(sizes[:, 0])
        for count in (2, 3)
    )
    line = (weight * slopes[:, 0]).sum(1)
    curved = _ratio((slopes_left[:, 0] - line.square()).clamp_min(0), slopes_left[:, 0]).sqrt()

    at_degree = error.gather(1, degree[:, None])[:, 0]
    report = torch.stack([degree.double(), at_degree, line, curved, straight, parabola]).tolist()
    bent = list(zip(report[4], report[5], strict=True))
    return Fits([int(d) for d in report[0]], report[1], terms[:, :, 0], report[2], report[3], bent)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp_min(1e-300), 0.0)  # there is nothing to lose in what is zero


@constant
def to_nodes(level: int, degree: int, device: torch.device) -> Tensor:
    """From the moments of P_1 … P_d to the gradient at the nodes, ``(nodes, d)``: the fit, transposed."""
    bases = weighted_bases(device)
    return bases.analysis[level, :degree].T @ bases.terms[level, :degree, :degree].T


@constant
def orthonormal_parabolas(device: torch.device) -> Tensor:
    """For each level, from values at the nodes to the coefficients of 1, t and t² made orthonormal: ``(18, 3, 32)``."""
    x = torch.as_tensor(nodes(), device=device)
    found = []
    for weight in weighted_bases(device).weight:
        functions, _ = torch.linalg.qr(weight.sqrt()[:, None] * torch.stack([x**0, x, x**2], dim=1))
        found.append(functions.T * weight.sqrt())
    return torch.stack(found)


@constant
def moment_correction(level: int, orders: int, exact: int, device: torch.device) -> Tensor:
    """The sum of the first two or three P_k that is nearest to each of P_0 … P_(orders − 1): ``(orders, exact)``."""
    weight = weighted_bases(device).weight[level].sqrt()[:, None]
    functions = weight * torch.as_tensor(functions_at(nodes())[:, :orders], device=device)
    nearest: Tensor = torch.linalg.lstsq(functions[:, :exact], functions).solution
    return nearest.T
