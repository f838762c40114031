"""Memorising random labels: how many examples do the parameters of a method hold?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lrlora.studies.errors import StudyError
from lrlora.studies.kinds.classification import commonest_share, rows_of
from lrlora.studies.kinds.kind import Metrics, PerExample, Rows, cross_entropies
from lrlora.studies.kinds.probe import ProbeKind
from lrlora.studies.tasks import Task
from lrlora.studies.tasks.random_labels import WIDTH


class Capacity(ProbeKind):
    """``accuracy`` on the examples that were trained on, and ``memorised``: how many of them get the right label."""

    metrics: ClassVar[Metrics] = {"memorised": "maximize", "accuracy": "maximize", "loss": "minimize"}

    def __init__(self, task: Task, backbone: str) -> None:
        super().__init__(task, backbone)
        if (width := self.empty().config.width) != WIDTH:
            raise StudyError(f"backbone {backbone!r} takes vectors of {width} numbers, and capacity tasks give {WIDTH}")

    def shape(self) -> dict[str, Any]:
        """See :meth:`ProbeKind.shape`."""
        return {"classes": len(self.task.labels)}

    def problem_with(self, training: Mapping[str, Any]) -> str | None:
        """See :meth:`Kind.problem_with`."""
        for name in ("train_examples", "validation_examples", "test_examples"):
            if training[name]:
                return f"training.{name}={training[name]}: capacity tasks take all examples; set task.examples instead"
        return super().problem_with(training)

    def encode(self, examples: Any, max_length: int, training: bool) -> Rows:
        """See :meth:`Kind.encode`; ``max_length`` is ignored."""
        import numpy as np

        return rows_of({"inputs": np.asarray(examples.inputs, "float32"), "labels": np.asarray(examples.labels)})

    def compute_metrics(self, scores: Any, labels: Any) -> dict[str, float]:
        """See :meth:`Kind.compute_metrics`."""
        right = scores.argmax(axis=-1) == labels
        return {"memorised": float(right.sum()), "accuracy": float(right.mean())}

    def per_example(self, scores: Any, labels: Any) -> PerExample:
        """See :meth:`Kind.per_example`."""
        return PerExample(cross_entropies(scores, labels), scores.argmax(axis=-1) == labels)

    def chance(self, split: str) -> float | None:
        """Returns the share of the most frequent label."""
        return commonest_share(self.task.split(split).labels)
