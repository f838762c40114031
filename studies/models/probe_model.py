"""The model of the probes: square linear layers, one alone or several with GELU and a residual path around each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from lrlora.policies.roles import register_family

MODEL_TYPE = "lrlora-probe"
register_family(MODEL_TYPE, {"up": "up"})


class ProbeConfig(PretrainedConfig):  # type: ignore[misc]
    """The shape of a probe and the seed of its weights.

    Args:
        depth: Number of linear layers.
        width: Rows and columns of each.
        residual: Whether a layer computes ``h + gelu(W h)`` instead of ``W h``.
        classes: Number of classes of the fixed read-out; 0 for none.
        seed: Seed of the weights.
        recipe: Number of the code that draws them.
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        depth: int = 1,
        width: int = 128,
        residual: bool = False,
        classes: int = 0,
        seed: int = 0,
        recipe: int = 1,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.depth, self.width, self.residual = depth, width, residual
        self.classes, self.seed, self.recipe = classes, seed, recipe


class ProbeLayer(nn.Module):
    """A linear layer without bias. Its role for placements is ``up``."""

    def __init__(self, width: int, residual: bool) -> None:
        super().__init__()
        self.up = nn.Linear(width, width, bias=False)
        self.residual = residual

    def forward(self, h: Tensor) -> Tensor:
        """Returns the output of the layer, of the shape of ``h``."""
        out: Tensor = self.up(h)
        return h + gelu(out) if self.residual else out


class ProbeModel(PreTrainedModel):  # type: ignore[misc]
    """Layers, and a fixed read-out if there are classes. The read-out is a buffer: no method trains it.

    Attributes:
        error_scale: The squared error of an example that counts as a loss of 1.
    """

    config_class = ProbeConfig
    main_input_name = "inputs"

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(ProbeLayer(config.width, config.residual) for _ in range(config.depth))
        self.readout: Tensor
        self.register_buffer("readout", torch.zeros(config.classes, config.width))
        self.error_scale = 1.0
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        pass  # draw_weights does

    @torch.no_grad()
    def draw_weights(self) -> ProbeModel:
        """Draw all weights from the seed of the configuration, with a variance of 1 / width."""
        generator = np.random.default_rng(self.config.seed)
        width = self.config.width
        weights = [layer.get_parameter("up.weight") for layer in self.layers]
        for weight in [*weights, self.readout]:
            drawn = generator.standard_normal(tuple(weight.shape)) / math.sqrt(width)
            weight.copy_(torch.from_numpy(drawn))
        return self

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> SequenceClassifierOutput:
        """Run the model.

        Args:
            inputs: ``(examples, width)``.
            labels: Wanted outputs ``(examples, width)``, or classes ``(examples,)`` if the model has a read-out.

        Returns:
            Outputs, or logits of the classes, ``(examples, …)``; with labels the loss: the mean squared error of an
            example over ``error_scale``, or the cross-entropy.
        """
        h = inputs
        for layer in self.layers:
            h = layer(h)
        logits = h @ self.readout.T if self.config.classes else h
        loss = None
        if labels is not None and self.config.classes:
            loss = cross_entropy(logits, labels)
        elif labels is not None:
            loss = (logits - labels).square().sum(-1).mean() / self.error_scale
        return SequenceClassifierOutput(loss=loss, logits=logits)
