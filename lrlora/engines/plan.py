"""What an engine decided about one layer: plain numbers, kept by the layer between steps and saved with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from lrlora.transfer import TransferFunction


class Plan(ABC):
    """How one layer is evaluated, decided from values of its parameters and used while they change.

    A plan is immutable. Evaluating with it reads no value on the host.
    """

    form: ClassVar[str]
    """Name of the form; the entry ``"form"`` of :meth:`to_dict`."""

    rho: float
    """ρ > 0: the plan is accurate while |z| ≤ ρ."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the plan's constants are."""

    @abstractmethod
    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Self:
        """Returns the plan with its constants on a device, for factors A and B in ``dtype``."""

    @abstractmethod
    def describe(self) -> str:
        """Returns the plan in a few words."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Returns plain numbers, from which :meth:`from_dict` makes the same plan to the bit."""

    @classmethod
    @abstractmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Returns the plan that :meth:`to_dict` described, on the CPU."""

    @abstractmethod
    def delta(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> Tensor:
        """Returns ΔW, ``(out, in)``, differentiable."""

    @abstractmethod
    def add_to(self, result: Tensor, x: Tensor, A: Tensor, B: Tensor, transfer: TransferFunction) -> Tensor:
        """Returns ``result`` + x ΔWᵀ."""

    @abstractmethod
    def linear(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        A: Tensor,
        B: Tensor,
        transfer: TransferFunction,
    ) -> Tensor:
        """Returns x (W + ΔW)ᵀ + b, or x ΔWᵀ."""

    def frozen(self, A: Tensor, B: Tensor, transfer: TransferFunction) -> Plan:
        """Returns a plan for these values of the parameters alone, which takes no gradient in them."""
        return self

    def prefers_weight(self, tokens: int) -> bool:
        """Whether :meth:`linear` with the weight is cheaper than the base layer and :meth:`add_to`."""
        return False
