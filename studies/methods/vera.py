"""VeRA (Kopiczko et al. 2024): one pair of frozen random matrices for all modules, and two trained vectors for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field

from lrlora.studies.methods.peft_method import PeftMethod, PlacedSettings

if TYPE_CHECKING:
    from peft import VeraConfig
    from torch import nn


class VeRASettings(PlacedSettings):
    """The fields of ``peft.VeraConfig``."""

    r: int = Field(256, ge=1)
    vera_dropout: float = Field(0.0, ge=0, lt=1)
    d_initial: float = 0.1
    projection_prng_key: int | None = Field(None, ge=0, description="Of the projections; by default the run's seed.")


class VeRA(PeftMethod):
    """VeRA, its projections saved with the adapter."""

    name = "vera"
    Settings: ClassVar[type[VeRASettings]] = VeRASettings
    settings: VeRASettings

    def config(self, model: nn.Module, targets: list[str] | str) -> VeraConfig:
        """See :meth:`PeftMethod.config`."""
        from peft import VeraConfig

        key = self.settings.projection_prng_key
        chosen = {"projection_prng_key": torch.initial_seed() if key is None else key}
        return VeraConfig(target_modules=targets, **self._own() | chosen)
