"""What the kinds of tasks on small models with random weights share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lrlora.studies.kinds.kind import Kind, Metrics, PerExample, Rows
from lrlora.studies.models.backbones import Takes
from lrlora.studies.models.probe import empty_probe, load_probe
from lrlora.studies.models.weights import FLOAT32, Weights

if TYPE_CHECKING:
    from torch import Tensor

    from lrlora.studies.models.probe_model import ProbeModel


class ProbeKind(Kind):
    """Vectors as inputs, on a model of :mod:`lrlora.studies.models.probe_model`."""

    takes: ClassVar[Takes] = "vectors"
    task_type = None
    counts_tokens = False

    def shape(self) -> dict[str, Any]:
        """Returns the values of the model's configuration that the task sets."""
        return {}

    def load(self, weights: Weights = FLOAT32) -> ProbeModel:
        """Returns the model in float32, the only form that :meth:`problem_with` lets through."""
        return load_probe(self.backbone, **self.shape())

    def empty(self) -> ProbeModel:
        """See :meth:`Kind.empty`."""
        return empty_probe(self.backbone, **self.shape())

    def problem_with(self, training: Mapping[str, Any]) -> str | None:
        """See :meth:`Kind.problem_with`."""
        for name, only in (("dtype", "float32"), ("quantization", "none")):
            if training[name] != only:
                return f"training.{name}={training[name]}: backbone {self.backbone!r} is drawn in float32"
        return super().problem_with(training)

    def collator(self) -> Callable[[Rows], dict[str, Tensor]]:
        """See :meth:`Kind.collator`."""
        return stack_rows


class Regression(ProbeKind):
    """Wanted outputs, with errors relative to those of the frozen model."""

    metrics: ClassVar[Metrics] = {"relative_error": "minimize", "loss": "minimize"}

    def scores(self, outputs: Any, labels: Tensor) -> Tensor:
        """Returns the squared error of each example over that of the frozen model, ``(examples,)``."""
        return (super().scores(outputs, labels) - labels).square().sum(-1) / self.error_scale

    @property
    @abstractmethod
    def error_scale(self) -> float:
        """The mean squared error of the frozen model on a training example."""

    def load(self, weights: Weights = FLOAT32) -> ProbeModel:
        """See :meth:`Kind.load`. The loss of the frozen model is 1."""
        model = super().load(weights)
        model.error_scale = self.error_scale
        return model

    def compute_metrics(self, scores: Any, labels: Any) -> dict[str, float]:
        """Returns the relative error: the root of the mean squared error over that of the frozen model."""
        return {"relative_error": float(scores.astype("float64").mean() ** 0.5)}

    def per_example(self, scores: Any, labels: Any) -> PerExample:
        """Returns the squared error of each example over the frozen model's mean."""
        return PerExample(scores.astype("float64"))

    def chance(self, split: str) -> float | None:
        """Returns None."""
        return None


def stack_rows(rows: Rows) -> dict[str, Tensor]:
    """Returns a batch of rows that hold arrays and numbers."""
    import numpy as np
    import torch

    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}
