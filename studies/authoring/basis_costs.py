"""What a basis costs beside sinc and LoRA: with as many parameters, and with as many operations.

``matrix`` is timed on its own, forward and backward, interleaved with sinc's; then training steps of one adapted layer,
interleaved with LoRA's and sinc's of the same rank. All in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from lrlora.bases import BASES, Basis
from lrlora.studies.authoring.operations import matched_grid_points, operations_per_entry, plain_theta
from lrlora.studies.bench.compared import REFERENCE as LORA
from lrlora.studies.bench.compared import compared_methods, lrlora_config
from lrlora.studies.bench.layers import layer_steps
from lrlora.studies.bench.timing import Ratio, interleave, ratios_to

REFERENCE = "sinc"
ENTRIES = 4096
"""Entries of z in one timed call of ``matrix``."""
WARM_UP = 2

Matched = Literal["parameters", "operations"]


@dataclass(frozen=True)
class Cost:
    """What one basis costs at one number of functions.

    Attributes:
        basis: Its spec.
        matched: What it has in common with the reference.
        grid_points: N.
        parameters: Scalars of θ in a layer, a and ω.
        operations: Of ``matrix`` per entry of z.
        matrix: Forward and backward of ``matrix`` beside sinc's.
        step: A training step of the layer beside LoRA's.
        step_to_reference: The same beside sinc's.
    """

    basis: str
    matched: Matched
    grid_points: int
    parameters: int
    operations: float
    matrix: Ratio
    step: Ratio
    step_to_reference: Ratio

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measure_costs(
    bases: Sequence[str],
    grid_points: int,
    shape: tuple[int, int],
    tokens: int,
    rank: int,
    rounds: int,
    announce: Callable[[str], None],
) -> Iterator[Cost]:
    """Measure every basis, first with as many parameters as sinc, then with as many operations.

    Args:
        bases: Specs.
        grid_points: N of sinc.
        shape: Of the layer, (out, in).
        tokens: In a step.
        rank: Of all adapters.
        rounds: Counted steps of each.
        announce: Told of what is measured.

    Raises:
        StudyError: No number of functions takes as many operations as sinc's.
    """
    reference = BASES.create(REFERENCE)
    wanted = operations_per_entry(reference, grid_points)
    lora = compared_methods([], [LORA], rank)[LORA]
    sinc = lrlora_config(REFERENCE, rank, grid_points=grid_points)
    for spec in bases:
        basis = BASES.create(spec)
        same = matched_grid_points(basis, wanted)
        settings: list[tuple[Matched, int]] = [("parameters", grid_points), ("operations", same)]
        # Where both come to the same N, as sinc does with itself, it is measured once.
        for matched, points in settings if same != grid_points else settings[:1]:
            announce(f"{spec}, N {points}: as many {matched} as {REFERENCE} with N {grid_points}")
            evaluations = {"it": _evaluation(basis, points), "sinc": _evaluation(reference, grid_points)}
            it = lrlora_config(spec, rank, grid_points=points)
            steps = layer_steps(shape, tokens, {"lora": lora, "sinc": sinc, "it": it})
            interleave(evaluations, WARM_UP)
            interleave(steps, WARM_UP)
            matrix = ratios_to("sinc", interleave(evaluations, rounds))["it"]
            times = interleave(steps, rounds)
            yield Cost(
                spec,
                matched,
                points,
                2 * points,
                operations_per_entry(basis, points),
                matrix,
                ratios_to("lora", times)["it"],
                ratios_to("sinc", times)["it"],
            )


def _evaluation(basis: Basis, grid_points: int) -> Callable[[], None]:
    """Returns one call of ``matrix`` and its gradients in z and ω."""
    generator = torch.Generator().manual_seed(0)
    z = (6 * torch.rand(ENTRIES, generator=generator) - 3).requires_grad_()
    grid, bandwidth = plain_theta(grid_points)
    bandwidth.requires_grad_()
    incoming = torch.randn(ENTRIES, grid_points, generator=generator)

    def run() -> None:
        values = basis.matrix(z, grid, bandwidth)
        torch.autograd.grad(values, (z, bandwidth), incoming, allow_unused=True)

    return run
