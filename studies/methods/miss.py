"""MiSS (Kang and Yin 2024): one trained matrix of r rows per module, which every shard of the input shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lrlora.studies.methods.peft_method import PeftMethod, PlacedSettings

if TYPE_CHECKING:
    from peft import MissConfig
    from torch import nn


class MiSSSettings(PlacedSettings):
    """The fields of ``peft.MissConfig``."""

    r: int = Field(64, ge=1)
    miss_dropout: float = Field(0.0, ge=0, lt=1)
    exclude_modules: list[str] | str | None = None


class MiSS(PeftMethod):
    """MiSS in its plain form."""

    name = "miss"
    Settings: ClassVar[type[MiSSSettings]] = MiSSSettings
    settings: MiSSSettings

    def config(self, model: nn.Module, targets: list[str] | str) -> MissConfig:
        """See :meth:`PeftMethod.config`."""
        from peft import MissConfig

        return MissConfig(target_modules=targets, **self._own())
