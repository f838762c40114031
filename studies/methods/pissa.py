"""PiSSA (Meng et al. 2024): BA starts as the r largest singular components of W, and what is frozen is the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from lrlora.studies.methods.low_rank import LowRank

if TYPE_CHECKING:
    from torch import nn


class PiSSA(LowRank):
    """LoRA that trains the principal components of the weight. The model's function is unchanged at the start.

    A decomposition of every adapted weight is made when it is adapted, and made again when a saved adapter is loaded.
    """

    name = "pissa"
    fixed: ClassVar[dict[str, Any]] = {"init_lora_weights": "pissa"}

    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        """Inject the adapter.

        Raises:
            ValueError: A weight has fewer singular components than its rank, which PEFT does not notice.
        """
        from peft.tuners.lora import LoraLayer

        adapted = super().adapt(model, task_type)
        for name, module in adapted.named_modules():
            if isinstance(module, LoraLayer):
                most = min(module.in_features, module.out_features)
                if module.r["default"] > most:
                    name = name.removeprefix("base_model.model.")
                    raise ValueError(f"r is {module.r['default']}, and {name} has {most} singular components")
        return adapted
