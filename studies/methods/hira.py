"""HiRA (Huang et al. 2025): the elementwise product of the frozen weight with BA, of full rank at LoRA's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lrlora.studies.methods.low_rank import RankedSettings, allocate
from lrlora.studies.methods.peft_method import PeftMethod

if TYPE_CHECKING:
    from peft import HiraConfig
    from torch import nn


class HiRASettings(RankedSettings):
    """The fields of ``peft.HiraConfig``, which has no alpha."""

    hira_dropout: float = Field(0.0, ge=0, lt=1)


class HiRA(PeftMethod):
    """HiRA: ΔW = W ∘ BA."""

    name = "hira"
    Settings: ClassVar[type[HiRASettings]] = HiRASettings
    settings: HiRASettings

    def config(self, model: nn.Module, targets: list[str] | str) -> HiraConfig:
        """See :meth:`PeftMethod.config`."""
        from peft import HiraConfig

        own = self._own()
        del own["rank_allocation"]
        config = HiraConfig(target_modules=targets, **own)
        allocate(config, model, self.settings.rank_allocation)
        return config
