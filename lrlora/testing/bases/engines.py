"""Every engine agrees with the definition in float64: in the value, and in every gradient.

An engine may refuse a function with :class:`~lrlora.engines.EngineError`; ``auto``, ``tabulated`` and ``direct`` never
do. Errors are norm-wise and relative, over several incoming gradients side by side, since the gradient of a parameter
is a sum that may cancel to next to nothing for one of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lrlora.bases import Basis
from lrlora.engines import ENGINES, EngineError
from lrlora.testing.bases.inputs import uniform_grid
from lrlora.testing.checks import ConformanceError, NotApplicableError
from lrlora.transfer import TransferFunction

OUT, INSIDE, TOKENS, RANK = 24, 20, 32, 2
INCOMING = 4
NAMES = (
    "the layer's output",
    "the gradient of x",
    *(f"the gradient of {name}" for name in ("A", "B", "a", "ω", "z_i")),
)
THETA = 3
"""How many of these belong to θ, at the end."""
CASES = ((0.031, 8), (0.97, 50), (2.93, 8))
"""The largest |s_in · BA|, and N: where φ is nearly straight, where it bends, and nearly to the ends of the grid."""
KINKED = 0.1
"""What gradients may be off where ψ' jumps: an entry of BA next to a kink takes the slope of either side, in float32
and in any table, and on a layer as small as this one a single entry shows (0.034 was measured with ``"bspline:1"``)."""


def check_engine_direct(basis: Basis) -> None:
    """Engine ``direct`` in float32 is within 1e-3 of itself in float64."""
    _check_engine(basis, "direct", 1e-3, 1e-3)


def check_engine_polynomial(basis: Basis) -> None:
    """Engine ``polynomial``, asked for 1e-5, is within 1e-4 of the definition, or refuses."""
    _check_engine(basis, "polynomial", 1e-5, 1e-4, may_refuse=True)


def check_engine_factored(basis: Basis) -> None:
    """Engine ``factored``, asked for 1e-5, is within 1e-4 of the definition, or refuses."""
    _check_engine(basis, "factored", 1e-5, 1e-4, may_refuse=True)


def check_engine_tabulated(basis: Basis) -> None:
    """Engine ``tabulated``, asked for 1e-5, is within 1e-4 of the definition, and never refuses."""
    _check_engine(basis, "tabulated", 1e-5, 1e-4)


def check_engine_auto(basis: Basis) -> None:
    """Engine ``auto``, at its default of 2e-3, is within that of the definition, and never refuses."""
    _check_engine(basis, "auto", 2e-3, 2e-3)


def _check_engine(basis: Basis, engine: str, tolerance: float, promise: float, may_refuse: bool = False) -> None:
    refusals: list[EngineError] = []
    smoothness = basis.properties().smoothness
    kinked = smoothness is not None and smoothness < 1
    for largest, n in CASES:
        leaves, incoming = _layer(largest, n)
        exact_leaves, exact_incoming = [one.double() for one in leaves], [g.double() for g in incoming]
        expected = _run(basis, "direct", tolerance, exact_leaves, exact_incoming)
        # Centring takes one gradient of θ from another, and leaves nothing but rounding where φ is straight between two
        # kinks: less than a thousandth of what it was taken from counts as that.
        uncentered = _run(basis, "direct", tolerance, exact_leaves, exact_incoming, centered=False)
        floors = [0.0] * (len(NAMES) - THETA) + [1e-3 * float(one.norm()) for one in uncentered[-THETA:]]
        where = f"at max |s_in · BA| = {largest:g}, N = {n}"
        if not all(bool(one.float().square().sum().isfinite()) for one in expected):
            raise ConformanceError(f"the definition leaves float32 {where}")
        try:
            found = _run(basis, engine, tolerance, leaves, incoming)
        except EngineError as error:
            if not may_refuse:
                raise ConformanceError(f"engine {engine!r} refuses {where}: {error}") from error
            refusals.append(error)
            continue
        for name, one, exact, floor in zip(NAMES, found, expected, floors, strict=True):
            size = max(float(exact.norm()), floor)
            error_made = float((one.double() - exact).norm())
            is_gradient = name != NAMES[0]
            allowed = max(promise, KINKED) if kinked and is_gradient else promise
            if not error_made <= allowed * size:
                hint = "; if ψ has kinks, claim smoothness=0" if is_gradient and smoothness is None else ""
                off = f"{error_made / size:.1e} off, relative" if size else f"{error_made:.1e}, and should be zero"
                raise ConformanceError(
                    f"engine {engine!r}: {name} is {off}, where {allowed:g} is promised, {where}{hint}"
                )
    if len(refusals) == len(CASES):
        raise NotApplicableError(f"engine {engine!r} refuses: {refusals[0]}")


def _layer(largest: float, n: int) -> tuple[list[Tensor], list[Tensor]]:
    """x, A, B, a, ω and the grid of a trained layer in float32; and incoming gradients."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float32)

    x, A, B = normal(TOKENS, INSIDE), normal(RANK, INSIDE), normal(OUT, RANK)
    B = B * (largest / (B @ A).abs().max())
    leaves = [x, A, B, 0.3 * normal(n) / n**0.5, (0.1 * normal(n)).exp(), uniform_grid(n).float()]
    return leaves, [normal(TOKENS, OUT) for _ in range(INCOMING)]


def _run(
    basis: Basis, engine: str, tolerance: float, leaves: list[Tensor], incoming: list[Tensor], centered: bool = True
) -> list[Tensor]:
    """x ΔWᵀ without a weight beside it, which would hide an error; and the gradients under all incoming ones."""
    leaves = [one.detach().clone().requires_grad_() for one in leaves]
    x, A, B, amplitude, bandwidth, grid = leaves
    transfer = TransferFunction(basis, amplitude, bandwidth, grid, output_scale=0.5, centered=centered)
    y = ENGINES.create(engine, tolerance=tolerance).linear(x, None, None, A, B, transfer)
    each = [
        torch.autograd.grad(y, leaves, g, retain_graph=True, allow_unused=True, materialize_grads=True)
        for g in incoming
    ]
    return [y.detach(), *(torch.stack(same) for same in zip(*each, strict=True))]
