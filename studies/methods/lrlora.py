"""LR-LoRA: the method that this package is about."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from lrlora.studies.methods.method import Method

if TYPE_CHECKING:
    from torch import nn


class LRLoRA(Method):
    """LR-LoRA with the fields of :class:`lrlora.LRLoraConfig`."""

    def __init__(self, **fields: Any) -> None:
        # Making the configuration looks up every name in it, so that a wrong one is found here.
        self._fields = fields
        self._config(None)

    @classmethod
    def fields(cls) -> list[str]:
        """The fields of ``LRLoraConfig`` that a study may set; PEFT keeps the others for itself."""
        from lrlora import LRLoraConfig

        own = {"task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"}
        own |= {"inference_mode", "runtime_config", "lrlora_version"}
        return [field.name for field in dataclasses.fields(LRLoraConfig) if field.init and field.name not in own]

    def resolved(self) -> dict[str, Any]:
        """See :meth:`Method.resolved`."""
        plain = self._config(None).to_dict()
        return {name: plain[name] for name in self.fields()}

    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        """Inject the adapter."""
        from peft import get_peft_model

        from lrlora.studies.methods.common_start import draw_common_start

        config = self._config(task_type)
        adapted = get_peft_model(model, config)
        if config.init_weights:
            draw_common_start(adapted)
        return adapted

    def _config(self, task_type: str | None) -> Any:
        from lrlora import LRLoraConfig

        return LRLoraConfig(task_type=task_type, **self._fields)
