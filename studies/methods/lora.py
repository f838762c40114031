"""LoRA (Hu et al. 2021) as PEFT has it: the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from lrlora.studies.methods.method import Method
from lrlora.studies.schema import Strict, validate

if TYPE_CHECKING:
    from torch import nn


class LoRASettings(Strict):
    """The fields of ``peft.LoraConfig`` that studies vary, and LR-LoRA's placement in place of module names."""

    r: int = Field(8, ge=1)
    lora_alpha: float = Field(8.0, gt=0, description="PEFT's default, and LR-LoRA's.")
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    placement: str = Field("all", description="Which modules, by role, where target_modules is not given.")
    layers: str | list[int] = Field("all", description="In which layers, where target_modules is not given.")
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    use_rslora: bool = False
    use_dora: bool = False
    init_lora_weights: bool | Literal["gaussian", "orthogonal", "olora", "pissa"] = True


class LoRA(Method):
    """LoRA on exactly the modules that an LR-LoRA variant of the same placement adapts."""

    def __init__(self, **fields: Any) -> None:
        self.settings = validate(LoRASettings, fields, "method lora")

    @classmethod
    def fields(cls) -> list[str]:
        """The fields of :class:`LoRASettings`."""
        return list(LoRASettings.model_fields)

    def resolved(self) -> dict[str, Any]:
        """See :meth:`Method.resolved`."""
        return self.settings.model_dump(mode="json")

    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        """Inject PEFT's LoRA."""
        from peft import LoraConfig, get_peft_model

        from lrlora.policies import resolve_target_modules
        from lrlora.studies.methods.common_start import draw_common_start

        settings = self.settings
        chosen = settings.model_dump(exclude={"placement", "layers"})
        if settings.target_modules is None:
            chosen["target_modules"] = resolve_target_modules(model, settings.placement, settings.layers)
        adapted = get_peft_model(model, LoraConfig(task_type=task_type, **chosen))
        if settings.init_lora_weights is True:
            draw_common_start(adapted)
        return adapted
