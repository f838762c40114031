"""The interface of evaluation engines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from lrlora.engines.plan import Plan
from lrlora.transfer import TransferFunction


class Engine(ABC):
    """Evaluates the update ΔW = s_out · f(s_in · BA) to a relative tolerance.

    An engine holds no state, so one instance serves every layer. What it decides from the values of the parameters is a
    :class:`~lrlora.engines.plan.Plan`, which the layer keeps and passes back. Results are differentiable in ``x``,
    ``A``, ``B`` and the tensors of the transfer function, and the gradient is that of the forward pass computed.

    Args:
        tolerance: Norm-wise relative error allowed in ΔW.
    """

    plans: ClassVar[bool] = False
    """Whether :meth:`plan` returns plans, which a layer then keeps."""

    def __init__(self, tolerance: float = 2e-3) -> None:
        self.tolerance = tolerance

    def plan(
        self, A: Tensor, B: Tensor, transfer: TransferFunction, *, growth: float = 1.0, previous: Plan | None = None
    ) -> Plan | None:
        """Decides how to evaluate, from the present values of all parameters. Synchronises with the device.

        Args:
            A: ``(r, in)``.
            B: ``(out, r)``.
            transfer: The function.
            growth: Factor by which entries of BA may grow before the plan loses accuracy.
            previous: The plan that this one replaces, from which a search may start.

        Returns:
            The plan, or None if this engine needs none.
        """
        return None

    def restore(self, data: dict[str, Any]) -> Plan | None:
        """Returns a plan from its :meth:`~lrlora.engines.plan.Plan.to_dict`; None if it is not one of this engine's."""
        return None

    @abstractmethod
    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction, plan: Any = None) -> Tensor:
        """Returns ΔW, ``(out, in)``.

        Args:
            A: ``(r, in)``.
            B: ``(out, r)``.
            transfer: The function.
            plan: What :meth:`plan` returned; None: made here.
        """

    def linear(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        A: Tensor,
        B: Tensor,
        transfer: TransferFunction,
        plan: Any = None,
    ) -> Tensor:
        """Returns x (W + ΔW)ᵀ + b, or x ΔWᵀ if there is no weight: ``(..., in)`` to ``(..., out)``."""
        delta = self.delta(A, B, transfer, plan)
        merged = delta if weight is None else weight + delta
        return F.linear(x, merged.to(x.dtype), None if bias is None else bias.to(x.dtype))

    def add_to(
        self, result: Tensor, x: Tensor, A: Tensor, B: Tensor, transfer: TransferFunction, plan: Any = None
    ) -> Tensor:
        """Returns ``result`` + x ΔWᵀ, in the dtype of ``result``; ``result`` is ``(..., out)`` and is not changed."""
        return result + self.linear(x, None, None, A, B, transfer, plan).to(result.dtype)

    def prefers_weight(self, plan: Any, tokens: int) -> bool:
        """Whether :meth:`linear` with the weight is cheaper than calling the base layer and :meth:`add_to`.

        Args:
            plan: Of the layer.
            tokens: Rows of the input.
        """
        return False
