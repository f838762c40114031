"""The dense gradient product gyᵀx in bfloat16, and what it is made good with.

The product is a third of a layer's work, and in bfloat16 takes less than half the time where the processor has it. What
it loses, 3e-3 of the norm, would show in the gradients. So what a straight line makes of it is taken in full precision,
by thin products as LoRA's, and of the moments those of order 0 and 1: rounding then disturbs only how φ is bent.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

LARGEST_SQUARED_RANK = 5
"""Up to this rank the moment of order 2 is worth its r (r + 1) / 2 thin products."""

FEWEST_TOKENS = 128
"""With fewer, rounding x and gy takes what the product saves."""


@lru_cache
def has_fast_bfloat16(device_type: str) -> bool:
    """Whether products in bfloat16 are faster than in float32."""
    if device_type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return device_type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


class ThinProducts(NamedTuple):
    """What LoRA's backward pass computes, of x ``(T, in)`` and gy ``(T, out)``.

    Attributes:
        down: A xᵀ, ``(r, T)``.
        up: (scale · B)ᵀ gyᵀ, ``(r, T)``.
    """

    down: Tensor
    up: Tensor

    @classmethod
    def of(cls, x: Tensor, gy: Tensor, A: Tensor, scaled_B: Tensor) -> ThinProducts:
        """Rank first: with tokens first the matrix library is up to twice as slow."""
        return cls(A @ x.T, scaled_B.T @ gy.T)

    def corrected(
        self, moments: Tensor, correction: Tensor, x: Tensor, gy: Tensor, A: Tensor, scaled_B: Tensor
    ) -> Tensor:
        """Moments from a rounded product, less the part of their error that is known."""
        exact = [torch.dot(gy.sum(1), x.sum(1)), torch.dot(self.down.flatten(), self.up.flatten())]
        if correction.shape[1] > 2:
            # Of P_2 = 4t²: (Σ_p B_p A_p)² over pairs p ≤ q, of which those with p < q count twice.
            p, q = torch.triu_indices(len(A), len(A), device=A.device)
            up = (scaled_B.T[p] * scaled_B.T[q]) @ gy.T
            up *= torch.where(p == q, 1.0, 2.0)[:, None]
            exact.append(4 * torch.dot(((A[p] * A[q]) @ x.T).flatten(), up.flatten()))
        off = torch.stack(exact).double() - moments[: len(exact)]
        return moments + correction @ off
