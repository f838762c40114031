"""The reference: the definition, evaluated by autograd. Memory and time are N times those of the weight."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lrlora.engines.engine import Engine
from lrlora.transfer import TransferFunction


class DirectEngine(Engine):
    """Evaluates every basis function at every entry of BA. For tests, transforms and second derivatives."""

    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction, plan: Any = None) -> Tensor:
        """See :meth:`Engine.delta`. The tolerance has no effect."""
        z = transfer.input_scale * (B @ A)
        return transfer.output_scale * transfer.to(z.dtype)(z)

    def describe(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> str:
        """See :meth:`Engine.describe`."""
        return "direct"
