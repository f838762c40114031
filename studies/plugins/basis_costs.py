"""What a basis costs beside sinc and LoRA: with as many parameters, and with as many operations.

``matrix`` is timed on its own, forward and backward, in turns with sinc's; then whole training steps of one adapted
layer, in turns with LoRA of the same rank and, once more, with sinc. All in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from lrlora.bases import BASES, Basis
from lrlora.studies.bench.comparing import Announce, compare
from lrlora.studies.bench.settings import Effort, Variant
from lrlora.studies.bench.subjects import LayerSubject
from lrlora.studies.bench.timing import Comparison, interleave, summarise, warm_up
from lrlora.studies.plugins.operations import matched_grid_points, operations_per_entry, plain_theta

REFERENCE = "sinc"
ENTRIES = 4096
"""Entries of z in one timed call of ``matrix``."""

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
        matrix: Forward and backward of ``matrix`` beside sinc's; ``lora_ms`` is sinc's time there.
        step: A training step of the layer beside LoRA's; None where an engine refused.
        step_to_reference: The same beside sinc's.
        evaluation: What the engine did, in its words, or why it refused.
    """

    basis: str
    matched: Matched
    grid_points: int
    parameters: int
    operations: float
    matrix: Comparison
    step: Comparison | None
    step_to_reference: Comparison | None
    evaluation: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        plain = asdict(self)
        for key, theirs in (("matrix", "sinc_ms"), ("step", "lora_ms"), ("step_to_reference", "sinc_ms")):
            if plain[key] is not None:
                plain[key][theirs] = plain[key].pop("lora_ms")
        return plain


def measure_costs(
    bases: Sequence[str],
    grid_points: int,
    subject: LayerSubject,
    rank: int,
    effort: Effort,
    announce: Announce,
) -> Iterator[Cost]:
    """Measure every basis, first with as many parameters as sinc, then with as many operations.

    Args:
        bases: Specs.
        grid_points: N of sinc.
        subject: The layer.
        rank: Of both adapters.
        effort: How much is measured.
        announce: Told what is going on.

    Raises:
        StudyError: No number of functions takes as many operations as sinc's.
    """
    reference = BASES.create(REFERENCE)
    wanted = operations_per_entry(reference, grid_points)
    sinc = Variant(REFERENCE, "auto", rank, grid_points)
    for spec in bases:
        basis = BASES.create(spec)
        same = matched_grid_points(basis, wanted)
        settings: list[tuple[Matched, int]] = [("parameters", grid_points), ("operations", same)]
        # Where both come to the same N, as sinc does with itself, it is measured once.
        for matched, points in settings if same != grid_points else settings[:1]:
            announce(f"{spec}, N {points}: as many {matched} as {REFERENCE} with N {grid_points}")
            ours = _evaluation(basis, points)
            theirs = _evaluation(reference, grid_points)
            warm_up(ours, theirs, effort.warm_up, effort.seconds)
            matrix = summarise(interleave(ours, theirs, effort.steps, effort.seconds))
            variant = Variant(spec, "auto", rank, points)
            (row,) = compare(subject, [variant], effort, lambda _: None)
            to_reference = None
            if row.comparison is not None:
                mine, its = subject.step(variant.ours), subject.step(sinc.ours)
                warm_up(mine, its, effort.warm_up, effort.seconds)
                to_reference = summarise(interleave(mine, its, effort.steps, effort.seconds))
            yield Cost(
                spec,
                matched,
                points,
                2 * points,
                operations_per_entry(basis, points),
                matrix,
                row.comparison,
                to_reference,
                row.refused or row.evaluation,
            )


def _evaluation(basis: Basis, grid_points: int) -> Callable[[], None]:
    """One call of ``matrix`` and its gradients in z and ω."""
    generator = torch.Generator().manual_seed(0)
    z = (6 * torch.rand(ENTRIES, generator=generator) - 3).requires_grad_()
    grid, bandwidth = plain_theta(grid_points)
    bandwidth.requires_grad_()
    incoming = torch.randn(ENTRIES, grid_points, generator=generator)

    def run() -> None:
        values = basis.matrix(z, grid, bandwidth)
        torch.autograd.grad(values, (z, bandwidth), incoming, allow_unused=True)

    return run
