"""LoHa (FedPara, Hyeon-Woo et al. 2022): the elementwise product of two low-rank products, of rank up to r²."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lrlora.studies.methods.low_rank import RankedSettings, allocate
from lrlora.studies.methods.peft_method import PeftMethod

if TYPE_CHECKING:
    from peft import LoHaConfig
    from torch import nn


class LoHaSettings(RankedSettings):
    """The fields of ``peft.LoHaConfig``."""

    alpha: float = Field(8.0, gt=0)
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    rank_dropout: float = Field(0.0, ge=0, lt=1)
    module_dropout: float = Field(0.0, ge=0, lt=1)


class LoHa(PeftMethod):
    """LoHa: the rival of LR-LoRA that raises the rank by a fixed elementwise operation."""

    name = "loha"
    Settings: ClassVar[type[LoHaSettings]] = LoHaSettings
    settings: LoHaSettings

    def config(self, model: nn.Module, targets: list[str] | str) -> LoHaConfig:
        """See :meth:`PeftMethod.config`."""
        from peft import LoHaConfig

        own = self._own()
        del own["rank_allocation"]
        config = LoHaConfig(target_modules=targets, **own)
        allocate(config, model, self.settings.rank_allocation)
        return config
