"""Where a diverging run began: the first module, and the first tensor in it, that holds a number that is not finite.

A step is looked at when its loss and gradients are there and its update is not: after the update everything is broken,
and nothing tells any more where it began. As long as all is finite, a step costs the norm of the gradients and no more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer


@dataclass(frozen=True)
class Origin:
    """What was found.

    Attributes:
        step: The number of the step.
        module: The full name of the module; None if the tensor is in none.
        tensor: ``output``, a parameter's own name, or ``gradient of`` one.
    """

    step: int
    module: str | None
    tensor: str


class WatchingTrainer(Trainer):
    """A Trainer that looks for the origin as soon as a loss or a gradient is not finite.

    Attributes:
        origin: Where the run began to diverge; None as long as it does not.
    """

    origin: Origin | None = None
    _batch: Mapping[str, Any] | None = None

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward, as the Trainer does them; then the look."""
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self._batch = inputs
        if self.origin is None:
            gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            total = torch.nn.utils.get_total_norm(gradients)
            if not (loss.isfinite() & total.isfinite()):
                self.look(self.state.global_step + 1)
        return loss

    def look(self, step: int) -> None:
        """Look for the origin in the parameters, in the last batch's way through the model, and in the gradients.

        Args:
            step: What the origin is reported for.
        """
        inputs, model = self._batch, self.model
        if inputs is None or model is None:
            return

        def forward() -> None:
            with self.compute_loss_context_manager():
                self.compute_loss(model, self._prepare_inputs(dict(inputs)))

        if (found := find_origin(model, forward)) is not None:
            self.origin = Origin(step, *found)


@torch.no_grad()
def find_origin(model: nn.Module, forward: Callable[[], Any]) -> tuple[str | None, str] | None:
    """The module and the tensor where a number that is not finite comes first.

    Args:
        model: With its parameters before the update, and their gradients.
        forward: Sends a batch through it.

    Returns:
        The module's name and the tensor's, as in :class:`Origin`; None if all is finite.
    """
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            module, _, own = name.rpartition(".")
            return module or None, own
    with _first_bad_output(model) as found, contextlib.suppress(Exception):  # what is broken may well raise
        forward()
    if found:
        return found[0], "output"
    # The way back goes from the last module to the first: the gradient that broke first is the last one broken.
    for name, parameter in reversed(list(model.named_parameters())):
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            module, _, own = name.rpartition(".")
            return module or None, f"gradient of {own}"
    return None


@contextlib.contextmanager
def _first_bad_output(model: nn.Module) -> Iterator[list[str]]:
    """Collect the names of modules whose output is not finite, in the order in which they end."""
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and not all(tensor.isfinite().all() for tensor in _tensors(output)):
                found.append(name)

        return look

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _tensors(output: Any) -> Iterator[Tensor]:
    """The tensors of floating point in what a module gives back."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from _tensors(value)
