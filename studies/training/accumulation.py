"""Gradient accumulation that equals one larger batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer


class AccumulatingTrainer(Trainer):
    """A Trainer whose accumulated batches are weighted by their items, whatever the model makes of its loss.

    The Trainer passes the number of items to models that accept keyword arguments, and relies on them to divide by it.
    Several classifiers accept and ignore it, so that their gradients would be multiplied by the number of batches.
    Without accumulation nothing is changed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self._accumulates:
            self.model_accepts_loss_kwargs = True  # so that items are counted
            self.loss_is_scaled_for_ga = True

    @property
    def _accumulates(self) -> bool:
        return bool(self.args.gradient_accumulation_steps > 1)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Returns the loss of a batch; in training its share of the loss of the optimizer step."""
        if not self._accumulates:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        items = self._get_num_items_in_batch([inputs], torch.device(self.args.device))
        found = super().compute_loss(model, inputs, return_outputs)
        if return_outputs or items is None or num_items_in_batch is None:
            return found
        return found * (items / num_items_in_batch)
