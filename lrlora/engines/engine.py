"""The interface of the evaluation engines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

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

    def __init__(self, tolerance: float = 2e-3) -> None:
        self.tolerance = tolerance

    @abstractmethod
    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction, fitted: Any = None) -> Tensor:
        """The update ΔW, ``(out, in)``.

        Args:
            A: ``(r, in)``.
            B: ``(out, r)``.
            transfer: The function.
            fitted: What the engine made of the function beforehand, where it is one that does.

        Raises:
            EngineError: Not to be had to the tolerance with this engine.
        """

    def linear(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        A: Tensor,
        B: Tensor,
        transfer: TransferFunction,
        fitted: Any = None,
    ) -> Tensor:
        """The adapted layer x (W + ΔW)ᵀ + b, or x ΔWᵀ where there is no weight: ``(..., in)`` to ``(..., out)``.

        An engine overrides this where it can do better than to form ΔW and let autograd keep it.
        """
        delta = self.delta(A, B, transfer, fitted)
        return F.linear(x, (delta if weight is None else weight + delta).to(x.dtype), bias)

    def describe(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> str:
        """What this engine would do at these values, in a few words, for records and for people."""
        return type(self).__name__
