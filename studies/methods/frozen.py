"""No adapter: what the classifier head reaches on the frozen backbone. The floor under every comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrlora.studies.errors import StudyError
from lrlora.studies.methods.method import Method

if TYPE_CHECKING:
    from torch import nn

_HEADS = ("classifier", "score")
"""What transformers calls the head of a sequence classifier; PEFT trains and saves the same ones."""


class Frozen(Method):
    """Trains the classifier head and nothing else. Has no settings."""

    @classmethod
    def fields(cls) -> list[str]:
        """None."""
        return []

    def resolved(self) -> dict[str, Any]:
        """See :meth:`Method.resolved`."""
        return {}

    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        """Freeze all but the head.

        Raises:
            StudyError: The model has no head of a known name.
        """
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        heads = [getattr(model, name) for name in _HEADS if hasattr(model, name)]
        if not heads:
            raise StudyError(f"method frozen: {type(model).__name__} has no head called {' or '.join(_HEADS)}")
        for head in heads:
            head.requires_grad_(True)
        return model

    def parameter_groups(self, model: nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """The head's parameters in one group."""
        head = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return [{"params": head, "lr": learning_rate, "weight_decay": weight_decay}]

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the head as ``head.safetensors``."""
        from safetensors.torch import save_file

        head = {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}
        save_file(head, str(folder / "head.safetensors"))
