"""Full fine-tuning: every weight is trained. The ceiling that adapters are measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrlora.studies.methods.method import Method

if TYPE_CHECKING:
    from torch import nn


class FullFineTuning(Method):
    """Trains all weights, embeddings and head included. Has no settings.

    What it saves is the whole model, as :meth:`~transformers.PreTrainedModel.from_pretrained` loads it: four bytes a
    parameter for every run.
    """

    @classmethod
    def fields(cls) -> list[str]:
        """None."""
        return []

    def resolved(self) -> dict[str, Any]:
        """See :meth:`Method.resolved`."""
        return {}

    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        """See that all weights are trained."""
        return model.requires_grad_(True)
