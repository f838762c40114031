"""HRA (Yuan et al. 2024): the weight is turned by a chain of r Householder reflections."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from lrlora.studies.methods.peft_method import PeftMethod, PlacedSettings

if TYPE_CHECKING:
    from peft import HRAConfig
    from torch import nn


class HRASettings(PlacedSettings):
    """The fields of ``peft.HRAConfig``."""

    r: int = Field(8, ge=2, description="Even, so that the reflections cancel in pairs at the start.")
    apply_GS: bool = False  # PEFT's name
    exclude_modules: list[str] | str | None = None

    @field_validator("r")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"is even, since reflections cancel in pairs at the start; {value + 1} is the next")
        return value


class HRA(PeftMethod):
    """HRA."""

    name = "hra"
    Settings: ClassVar[type[HRASettings]] = HRASettings
    rank_step = 2
    settings: HRASettings

    def config(self, model: nn.Module, targets: list[str] | str) -> HRAConfig:
        """See :meth:`PeftMethod.config`."""
        from peft import HRAConfig

        return HRAConfig(target_modules=targets, **self._own())
