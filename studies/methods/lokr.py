"""LoKr (Edalati et al. 2022; LyCORIS, Yeh et al. 2024): a Kronecker product, of the rank of its factors multiplied."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lrlora.studies.methods.low_rank import RankedSettings, allocate
from lrlora.studies.methods.peft_method import PeftMethod

if TYPE_CHECKING:
    from peft import LoKrConfig
    from torch import nn


class LoKrSettings(RankedSettings):
    """The fields of ``peft.LoKrConfig``."""

    alpha: float = Field(8.0, gt=0)
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    rank_dropout: float = Field(0.0, ge=0, lt=1)
    module_dropout: float = Field(0.0, ge=0, lt=1)
    decompose_both: bool = False
    decompose_factor: int = Field(-1, ge=-1, description="The size of the smaller factor; -1 is the square root.")


class LoKr(PeftMethod):
    """LoKr. From a rank on that is half of the larger factor's size, that factor is a full matrix."""

    name = "lokr"
    Settings: ClassVar[type[LoKrSettings]] = LoKrSettings
    settings: LoKrSettings

    def config(self, model: nn.Module, targets: list[str] | str) -> LoKrConfig:
        """See :meth:`PeftMethod.config`."""
        from peft import LoKrConfig

        own = self._own()
        del own["rank_allocation"]
        config = LoKrConfig(target_modules=targets, **own)
        allocate(config, model, self.settings.rank_allocation)
        return config
