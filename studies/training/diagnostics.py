"""Locates the origin of a divergence: the first module, and its first tensor, with a value that is not finite.

A step is examined after its backward pass and before its update, since after the update everything is broken. As long
as all values are finite, this costs the norm of the gradients.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lrlora.studies.training.accumulation import AccumulatingTrainer


@dataclass(frozen=True)
class Origin:
    """The origin of a divergence.

    Attributes:
        step: The number of the step.
        module: The full name of the module; None if the tensor is in none.
        tensor: ``output``, the name of a parameter in the module, or ``gradient of`` one.
    """

    step: int
    module: str | None
    tensor: str


class WatchingTrainer(AccumulatingTrainer):
    """A Trainer that locates the origin as soon as a loss or a gradient is not finite.

    Attributes:
        origin: Where the run began to diverge; None as long as it does not.
    """

    origin: Origin | None = None
    _batch: Mapping[str, Any] | None = None

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Run forward and backward as the Trainer does, and examine the results.

        Gradients that a scaler multiplied may overflow: it then skips the step.
        """
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self._batch = inputs
        if self.origin is None:
            finite = loss.isfinite()
            if self.accelerator.scaler is None:
                gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
                finite = finite & torch.nn.utils.get_total_norm(gradients).isfinite()
            if not finite:
                self.locate(self.state.global_step + 1)
        return loss

    def locate(self, step: int) -> None:
        """Search the parameters, the outputs for the last batch, and the gradients.

        Args:
            step: The step that is reported.
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
    """Returns the module and the tensor with the first value that is not finite.

    Args:
        model: The model, with its parameters before the update, and their gradients.
        forward: Runs the model on a batch.

    Returns:
        The names of module and tensor, as in :class:`Origin`; None if all values are finite.
    """
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            module, _, own = name.rpartition(".")
            return module or None, own
    with _first_bad_output(model) as found, contextlib.suppress(Exception):  # broken parameters may raise anywhere
        forward()
    if found:
        return found[0], "output"
    # The backward pass goes from the last module to the first: the last broken gradient broke first.
    for name, parameter in reversed(list(model.named_parameters())):
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            module, _, own = name.rpartition(".")
            return module or None, f"gradient of {own}"
    return None


@contextlib.contextmanager
def _first_bad_output(model: nn.Module) -> Iterator[list[str]]:
    """Collect the name of the first module to finish whose output is not finite."""
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def examine(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and not all(tensor.isfinite().all() for tensor in _tensors(output)):
                found.append(name)

        return examine

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _tensors(output: Any) -> Iterator[Tensor]:
    """Yields the floating-point tensors in the output of a module."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from _tensors(value)
