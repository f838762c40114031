"""The loss on a slice through a trained adapter, along two random directions (LR-LoRA paper, Appendix H.1, Figure 5).

It is a picture for the eye. Directions are scaled to each method's own parameters, so pictures of two methods cannot be
compared, and two directions of a hundred thousand say nothing of sharpness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

POINTS = 11
REACH = 1.0
EXAMPLES = 64


@dataclass(frozen=True)
class Landscape:
    """The loss at θ + α u + β v.

    Attributes:
        task: What the loss is of, in words.
        at: The values of α and of β.
        loss: By β and then by α; None where it is not finite.
    """

    task: str
    at: tuple[float, ...]
    loss: tuple[tuple[float | None, ...], ...]


@torch.no_grad()
def loss_landscape(
    model: nn.Module,
    batch: Mapping[str, Any],
    task: str = "",
    *,
    points: int = POINTS,
    reach: float = REACH,
    seed: int = 0,
    on_point: Callable[[int, int], None] | None = None,
) -> Landscape:
    """Evaluate the loss on a grid around the trained adapter, and leave the model as it was.

    The subspace is that of the adapter's trained parameters: for LoRA its factors, for LR-LoRA θ as well; heads that
    were trained beside them stay as they are. Each direction has in every parameter the norm that the parameter itself
    has, and so its norm is that of all of them: a step of 1 is as long as everything that the adapter is.

    Args:
        model: With its adapter, whose parameters are those that require a gradient.
        batch: What the model is called with; it has to give a loss.
        task: What the batch is of, in words.
        points: Along each direction; odd, so that the adapter itself is in the middle.
        reach: The largest α and β.
        seed: Of the directions.
        on_point: Called after each point with how many are done, and of how many.
    """
    trained = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and ".modules_to_save." not in name
    }
    generator = torch.Generator().manual_seed(seed)
    directions = [{name: _direction(parameter, generator) for name, parameter in trained.items()} for _ in range(2)]
    start = {name: parameter.detach().clone() for name, parameter in trained.items()}
    at = torch.linspace(-reach, reach, points, dtype=torch.float64).tolist()
    rows: list[tuple[float | None, ...]] = []
    model.eval()
    try:
        for beta in at:
            row: list[float | None] = []
            for alpha in at:
                for name, parameter in trained.items():
                    parameter.copy_(start[name] + alpha * directions[0][name] + beta * directions[1][name])
                loss = float(model(**batch).loss)
                row.append(loss if loss == loss and abs(loss) != float("inf") else None)
                if on_point is not None:
                    on_point(len(rows) * points + len(row), points**2)
            rows.append(tuple(row))
    finally:
        for name, parameter in trained.items():
            parameter.copy_(start[name])
    return Landscape(task, tuple(round(value, 12) for value in at), tuple(rows))


def _direction(parameter: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
    size = drawn.norm()
    return drawn * (parameter.norm() / size) if size > 0 else drawn
