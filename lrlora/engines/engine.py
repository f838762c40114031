"""The interface of the evaluation engines."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch.nn.functional as F
from torch import Tensor

from lrlora.transfer import TransferFunction


class EngineError(RuntimeError):
    """This engine cannot evaluate this function on this range to the tolerance; the message names one that can."""


class Engine(ABC):
    """Evaluates an update to a relative tolerance. Stateless, so one instance serves every layer.

    The result is differentiable, once, in ``A``, ``B`` and the tensors of the transfer function.

    Args:
        tolerance: Norm-wise relative error that ΔW and its gradients may have.
    """

    def __init__(self, tolerance: float = 1e-3) -> None:
        self.tolerance = tolerance

    @abstractmethod
    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> Tensor:
        """The update ΔW, ``(out, in)``.

        Args:
            A: ``(r, in)``.
            B: ``(out, r)``.
            transfer: The function.

        Raises:
            EngineError: Not to be had to the tolerance with this engine.
        """

    def linear(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, A: Tensor, B: Tensor, transfer: TransferFunction
    ) -> Tensor:
        """The adapted layer x (W + ΔW)ᵀ + b, ``(..., in)`` to ``(..., out)``.

        An engine overrides this where it can do better than to form ΔW and let autograd keep it.
        """
        return F.linear(x, weight + self.delta(A, B, transfer), bias)

    def describe(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> str:
        """What this engine would do at these values, in a few words, for records and for people."""
        return type(self).__name__
