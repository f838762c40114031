"""What holds of the update as a whole: where it starts, how it leaves its start, how its stable rank moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from lrlora.analysis.linalg import singular_values, stable_rank
from lrlora.bases import Basis
from lrlora.testing.checks import ConformanceError
from lrlora.testing.laws.bounds import stable_rank_change_bound
from lrlora.testing.laws.draws import UNIT, drawn_pair, drawn_theta, drawn_transfer
from lrlora.transfer import TransferFunction

F64 = torch.float64


def law_residual_start(basis: Basis, seed: int = 0) -> None:
    """With the residual path and a = 0 the update is LoRA's, bit by bit, on any range."""
    _, bandwidth, grid = drawn_theta(seed, 6)
    f = TransferFunction(basis, torch.zeros(6, dtype=F64), bandwidth, grid)
    for bound in (0.0, 0.01, 3.0, 30.0):
        B, A = drawn_pair(seed, 8, 7, 2, 1.0)
        z = bound * (B @ A)
        off = (f(z) - z).abs()
        if not bool((off == 0).all()):
            raise ConformanceError(
                f"at a = 0 the update is not BA: an entry differs by {float(off.max()):.1e} at |BA| ≤ {bound:g} "
                "(a value of ψ that is not finite is not silenced by a = 0)"
            )


def law_small_amplitudes(basis: Basis, seed: int = 0) -> None:
    """‖ΔW − s_out z‖_F ≤ s_out ‖a‖ ‖Ψ‖_2, where Ψ has the centred ψ_i(z) as its columns: a → 0 leads back to LoRA.

    The difference is Ψ a, stacked; so it is linear in a, and the constant is a norm of the features on the range.
    """
    B, A = drawn_pair(seed, 9, 8, 2, 2.0)
    z = B @ A
    f = drawn_transfer(basis, seed, 6, residual=True, centered=True)
    design = f.features(z).flatten(0, 1)
    norm = float(torch.linalg.matrix_norm(design, 2))
    for size in (1.0, 1e-3, 1e-9):
        small = replace(f, amplitude=size * f.amplitude)
        off = float((small(z) - z).norm())
        apart = float((small(z) - z - size * (design @ f.amplitude).view(z.shape)).norm())
        # Subtracting z again leaves the rounding of the sum, in units of z and not of the small difference.
        allowed = size * norm * float(f.amplitude.norm()) * (1 + 1e-12) + 4 * UNIT * float(z.norm() + small(z).norm())
        # Sums of N terms, in units of the largest of them.
        rounding = 4 * UNIT * float(z.norm()) + 16 * UNIT * size * norm * float(f.amplitude.norm())
        if not apart <= rounding:
            raise ConformanceError(
                f"ΔW − z is off Ψ a by {apart:.1e} at ‖a‖ = {size * float(f.amplitude.norm()):.3e} (rounding: "
                f"{rounding:.1e}): the features differ from call to call"
            )
        if not off <= allowed:
            raise ConformanceError(
                f"‖ΔW − z‖ = {off:.3e} at ‖a‖ = {size * float(f.amplitude.norm()):.3e}, above ‖a‖ ‖Ψ‖ = {allowed:.3e}"
            )


def law_stable_rank(basis: Basis, seed: int = 0, measure: Callable[[Tensor], float] = stable_rank) -> None:
    """The stable rank of φ(BA) is free of scale, between 1 and the rank, and moves no faster than its bound.

    Args:
        basis: Any.
        seed: Of the draws.
        measure: What is called the stable rank; a measure of one's own is held to the same.
    """
    B, A = drawn_pair(seed, 14, 12, 2, 3.0)
    update = drawn_transfer(basis, seed, 5)(B @ A)
    sigma = singular_values(update)
    if sigma[0] == 0:
        return
    rank = int((sigma > 12 * UNIT * 14 * sigma[0]).sum())
    found = measure(update)
    # Sums of squares of float64: relative errors of about mn units.
    slack = update.numel() * 4 * UNIT
    if not 1 - slack <= found <= min(update.shape) * (1 + slack):
        raise ConformanceError(f"the stable rank is {found:.6g}, not between 1 and {min(update.shape)}")
    if not found <= rank * (1 + slack) + 1e-9:
        raise ConformanceError(f"the stable rank is {found:.6g}, above the rank {rank}")
    for scale in (-3.0, 1e-100, 1e100):
        scaled = measure(scale * update)
        if not abs(scaled - found) <= 4 * slack * found:
            raise ConformanceError(f"the stable rank is {found:.9g}, but {scaled:.9g} of {scale:g} times the update")
    noise = torch.randn(update.shape, dtype=F64, generator=torch.Generator().manual_seed(seed + 2))
    for share in (1e-6, 1e-2, 0.3):
        change = noise * (share * float(sigma[0]) / float(noise.norm()))
        moved = abs(math.sqrt(measure(update + change)) - math.sqrt(found))
        bound = stable_rank_change_bound(found, share)
        if not moved <= bound * (1 + 1e-9) + slack:
            raise ConformanceError(
                f"√(stable rank) moves by {moved:.3e} for a change of {share:g} σ_max, above its bound {bound:.3e}"
            )
