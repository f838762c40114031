"""How far a Chebyshev series must go, and how its terms cancel."""

from __future__ import annotations

import torch
from torch import Tensor

from lrlora.engines.chebyshev import on_normal_sample

RESOLVED = 7 / 8
"""The share of its orders at which a series still shows its tail."""


class Tails:
    """Chebyshev coefficients of f, and of the features, beside their sizes where the entries lie.

    Args:
        groups: ``(orders, columns)`` each, f first. A group is judged norm-wise over its columns, as the gradient of θ
            is; of f also the derivative, for the gradients of A and B.
        strictness: By how much smaller than that of f the error of each group is to be.
        spread: Root mean square of t = z/ρ over the entries, which are taken as normal.
    """

    def __init__(self, groups: list[Tensor], strictness: list[float], spread: float) -> None:
        self.spread = spread
        sample = on_normal_sample(len(groups[0]), spread, groups[0].device)
        self.groups: list[tuple[Tensor, float, float, float]] = []
        for group, strict in zip(groups, strictness, strict=True):
            # Norms over the columns, root mean squares over the sample: of the value, the slope and the curvature.
            weighed = sample.weight[:, None].sqrt() * (sample.terms @ group)
            value, slope, curvature = torch.linalg.vector_norm(weighed, dim=(1, 2)).tolist()
            if value != 0:  # nothing to lose in a function that is zero
                self.groups.append((group * strict, value, slope, curvature * strict))

    def lowest_degree(self, tolerance: float) -> int | None:
        """The lowest degree whose tail, and whose derivative's tail, are below the tolerance; None if none is."""
        needed = 1
        for i, (group, value_size, slope_size, _) in enumerate(self.groups):
            if not group.isfinite().all():
                return None
            norms = torch.linalg.vector_norm(group, dim=1)
            # |T_k| ≤ 1, and |T_k'| ≤ k away from the ends of the interval, where hardly an entry lies.
            orders = torch.arange(len(norms), dtype=norms.dtype, device=norms.device)
            for terms, size in ((norms, value_size), (orders * norms, slope_size))[: 2 if i == 0 else 1]:
                # As a root of a sum of squares: neighbouring terms of a series do not line up.
                lost = terms.square().flip(0).cumsum(0).flip(0).sqrt()
                too_much = (lost > tolerance * size).nonzero()
                needed = max(needed, int(too_much[-1]) if len(too_much) else 1)
        # Of a series that takes nearly all of its orders too little is left to judge its tail by.
        return needed if needed <= RESOLVED * len(self.groups[0][0] if self.groups else [0]) or needed == 1 else None

    def magnification(self, degree: int) -> float:
        """How much larger than the sum its terms are: what rounding errors are magnified by."""
        return max(
            (
                float(torch.linalg.vector_norm(group[: degree + 1], dim=1).sum()) / size
                for group, size, *_ in self.groups
            ),
            default=1.0,
        )

    def bend(self) -> float:
        """Relative error of linear interpolation across [−1, 1] in one piece, were f as curved there as on average."""
        return max((curvature / 2 / size for _, size, _, curvature in self.groups), default=0.0)
