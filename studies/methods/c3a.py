"""C3A (Chen et al. 2025): ΔW of circulant blocks, of few parameters and up to full rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lrlora.studies.methods.peft_method import PeftMethod, PlacedSettings

if TYPE_CHECKING:
    from peft import C3AConfig
    from torch import nn


class C3ASettings(PlacedSettings):
    """The fields of ``peft.C3AConfig``."""

    block_size: int = Field(64, ge=1, description="Divides the sizes of all adapted weights; PEFT's default is 256.")


class C3A(PeftMethod):
    """C3A, which starts from zero: PEFT's own default starts from a random ΔW, another function than the backbone's."""

    name = "c3a"
    Settings: ClassVar[type[C3ASettings]] = C3ASettings
    settings: C3ASettings

    def config(self, model: nn.Module, targets: list[str] | str) -> C3AConfig:
        """See :meth:`PeftMethod.config`."""
        from peft import C3AConfig

        return C3AConfig(target_modules=targets, init_weights=True, **self._own())
