"""What a method is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import TrainerCallback


class Method(ABC):
    """A way to adapt a model, with its settings.

    Making one checks the settings and needs no model, so that a wrong study is refused before anything is written.
    """

    @classmethod
    @abstractmethod
    def fields(cls) -> list[str]:
        """The names of the settings."""

    @abstractmethod
    def resolved(self) -> dict[str, Any]:
        """All settings, defaults included, as plain data. A run is known by them, so a changed default is a new run."""

    @abstractmethod
    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        """Freeze ``model``, put the adapter into it, and return what is trained.

        The random state is the caller's business: it is set to the run's seed just before. Works on the meta device
        too, where parameters are only counted.

        Args:
            model: The backbone, with its head.
            task_type: PEFT's name for the kind of model, by which it knows the head; None for a model without one.

        Raises:
            ValueError: The settings name modules or roles that the model does not have.
        """

    def parameter_groups(self, model: nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """The trainable parameters, as an optimizer takes them."""
        from lrlora import parameter_groups

        return parameter_groups(model, learning_rate, weight_decay=weight_decay)

    def callbacks(self, model: nn.Module, steps: int) -> list[TrainerCallback]:
        """What the method does while it is trained, beyond what its parameters learn.

        Args:
            model: From :meth:`adapt`.
            steps: How many optimizer steps are planned.
        """
        return []

    def training_state(self, model: nn.Module) -> dict[str, Any]:
        """Returns what training changes besides parameters and buffers, for a checkpoint: plain data and tensors."""
        return {}

    def restore_training_state(self, model: nn.Module, state: dict[str, Any]) -> None:  # noqa: B027  # most have none
        """Set what :meth:`training_state` returned."""

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write what was trained into ``folder``, in safetensors."""
        # No study resizes a vocabulary. Left to decide, PEFT looks for that on the hub, and saves frozen embeddings.
        model.save_pretrained(str(folder), save_embedding_layers=False)  # type: ignore[operator]  # it is a PeftModel
