"""OFT (Qiu et al. 2023): the weight is turned by a block-diagonal orthogonal matrix, and keeps its singular values."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lrlora.studies.methods.peft_method import PeftMethod, PlacedSettings

if TYPE_CHECKING:
    from peft import OFTConfig
    from torch import nn


class OFTSettings(PlacedSettings):
    """The fields of ``peft.OFTConfig``."""

    oft_block_size: int = Field(32, ge=2, description="Divides the input's size, or PEFT takes the nearest that does.")
    module_dropout: float = Field(0.0, ge=0, lt=1)
    exclude_modules: list[str] | str | None = None
    block_share: bool = False


class OFT(PeftMethod):
    """OFT by PEFT's fast parameterisation, a series in place of an inverse."""

    name = "oft"
    Settings: ClassVar[type[OFTSettings]] = OFTSettings
    settings: OFTSettings

    def config(self, model: nn.Module, targets: list[str] | str) -> OFTConfig:
        """See :meth:`PeftMethod.config`."""
        from peft import OFTConfig

        return OFTConfig(target_modules=targets, **self._own())
