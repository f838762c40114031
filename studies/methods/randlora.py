"""RandLoRA (Albert et al. 2025): a full-rank ΔW as a sum of frozen random products, scaled by trained diagonals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field

from lrlora.studies.methods.peft_method import PeftMethod, PlacedSettings

if TYPE_CHECKING:
    from peft import RandLoraConfig
    from torch import nn


class RandLoRASettings(PlacedSettings):
    """The fields of ``peft.RandLoraConfig``."""

    r: int = Field(32, ge=1, description="Of each random product. A smaller one needs more of them: it trains more.")
    randlora_alpha: int | None = Field(None, ge=1, description="Without one, 20 r, which is PEFT's advice.")
    randlora_dropout: float = Field(0.0, ge=0, lt=1)
    sparse: bool = False
    very_sparse: bool = False
    projection_prng_key: int | None = Field(None, ge=0, description="Of the products; by default the run's seed.")


class RandLoRA(PeftMethod):
    """RandLoRA, its random matrices saved with the adapter."""

    name = "randlora"
    Settings: ClassVar[type[RandLoRASettings]] = RandLoRASettings
    scales_with_rank = ("randlora_alpha",)
    settings: RandLoRASettings

    def resolved(self) -> dict[str, Any]:
        """See :meth:`Method.resolved`."""
        return super().resolved() | {"randlora_alpha": self._alpha}

    def config(self, model: nn.Module, targets: list[str] | str) -> RandLoraConfig:
        """See :meth:`PeftMethod.config`."""
        from peft import RandLoraConfig

        key = self.settings.projection_prng_key
        chosen = {
            "randlora_alpha": self._alpha,
            "projection_prng_key": torch.initial_seed() if key is None else key,
        }
        return RandLoraConfig(target_modules=targets, **self._own() | chosen)

    @property
    def _alpha(self) -> int:
        alpha = self.settings.randlora_alpha
        return 20 * self.settings.r if alpha is None else alpha
