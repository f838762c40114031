"""LoRA (Hu et al. 2021) as PEFT has it: the baseline."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from lrlora.studies.methods.low_rank import LowRank, LowRankSettings


class LoRASettings(LowRankSettings):
    """The fields of ``peft.LoraConfig`` that studies vary, and LR-LoRA's placement in place of module names.

    The last three turn it into a variant; those that are baselines have methods of their own.
    """

    use_rslora: bool = False
    use_dora: bool = False
    init_lora_weights: bool | Literal["gaussian", "orthogonal", "olora", "pissa"] = True


class LoRA(LowRank):
    """LoRA on exactly the modules that an LR-LoRA variant of the same placement adapts."""

    name = "lora"
    Settings: ClassVar[type[LoRASettings]] = LoRASettings
    settings: LoRASettings

    def resolved(self) -> dict[str, Any]:
        """See :meth:`Method.resolved`. A uniform allocation is left out: older runs are known without it."""
        plain = super().resolved()
        if plain["rank_allocation"] == "uniform":
            del plain["rank_allocation"]
        return plain
