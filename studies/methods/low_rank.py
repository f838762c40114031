"""What LoRA and its variants share: matrices A and B per module, of ranks that an allocation may set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from lrlora.studies.methods.peft_method import PeftMethod, PlacedSettings, is_meta

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import nn


class RankedSettings(PlacedSettings):
    """The fields of methods whose rank may differ from module to module."""

    r: int = Field(8, ge=1)
    exclude_modules: list[str] | str | None = None
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    rank_allocation: str = Field("uniform", description="How r is spread over the modules; rank_pattern comes first.")

    @field_validator("rank_allocation")
    @classmethod
    def _known(cls, value: str) -> str:
        from lrlora.policies import RANKS

        RANKS.create(value)
        return value


class LowRankSettings(RankedSettings):
    """The fields of ``peft.LoraConfig`` that all variants of LoRA have, and LR-LoRA's rank allocation."""

    lora_alpha: float = Field(8.0, gt=0, description="PEFT's default, and LR-LoRA's.")
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    lora_dropout: float = Field(0.0, ge=0, lt=1)


class LowRank(PeftMethod):
    """A variant of PEFT's LoRA: the common fields, and what the variant fixes.

    Attributes:
        fixed: The fields of ``peft.LoraConfig`` by which the variant differs from plain LoRA.
    """

    Settings: ClassVar[type[LowRankSettings]] = LowRankSettings
    fixed: ClassVar[dict[str, Any]] = {}
    settings: LowRankSettings

    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        """Inject the adapter; where A is at LoRA's usual start, draw it as for all methods of this run."""
        from lrlora.studies.methods.common_start import draw_common_start

        adapted = super().adapt(model, task_type)
        if adapted.peft_config["default"].init_lora_weights is True:  # type: ignore[union-attr,index]
            draw_common_start(adapted)
        return adapted

    def config(self, model: nn.Module, targets: list[str] | str) -> LoraConfig:
        """See :meth:`PeftMethod.config`."""
        from peft import LoraConfig

        own = self._own()
        del own["rank_allocation"]
        config = LoraConfig(target_modules=targets, **own, **self.fixed)
        if is_meta(model):
            config.init_lora_weights = True  # the other starts decompose weights or draw; the shapes are the same
        allocate(config, model, self.settings.rank_allocation)
        return config


def allocate(config: Any, model: nn.Module, allocation: str) -> None:
    """Write an allocation into a configuration's ``rank_pattern``; what stands there already comes first.

    Args:
        config: Of a PEFT method with ``r`` and ``rank_pattern``.
        model: The backbone.
        allocation: A spec of :data:`lrlora.policies.RANKS`.

    Raises:
        ValueError: The allocation needs roles that the model does not tell.
    """
    from peft.tuners.tuners_utils import _maybe_include_all_linear_layers, check_target_module_exists
    from peft.utils.other import get_pattern_key

    from lrlora.policies import allocate_ranks
    from lrlora.policies.placements import linear_module_names

    if allocation == "uniform":
        return
    config = _maybe_include_all_linear_layers(config, model)
    adapted = [name for name in linear_module_names(model) if check_target_module_exists(config, name)]
    given = config.rank_pattern
    for name, rank in allocate_ranks(model, adapted, config.r, allocation).items():
        if get_pattern_key(list(given), name) not in given:
            config.rank_pattern = {**config.rank_pattern, name: rank}
