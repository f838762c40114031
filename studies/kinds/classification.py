"""Classification of texts by a sequence classifier of transformers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from lrlora.studies.kinds.kind import Kind, Metrics, PerExample, Rows, cross_entropies
from lrlora.studies.models.backbones import Takes, empty_model, load_model
from lrlora.studies.models.weights import FLOAT32, Weights

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


class Classification(Kind):
    """From a text to a class."""

    takes: ClassVar[Takes] = "text"
    task_type = "SEQ_CLS"
    metrics: ClassVar[Metrics] = {"accuracy": "maximize", "f1": "maximize", "loss": "minimize", "matthews": "maximize"}

    def load(self, weights: Weights = FLOAT32) -> PreTrainedModel:
        """See :meth:`Kind.load`."""
        return load_model(self.backbone, self.task.labels, weights)

    def empty(self) -> nn.Module:
        """See :meth:`Kind.empty`."""
        return empty_model(self.backbone, classifier=True)

    def encode(self, examples: Any, max_length: int, training: bool) -> Rows:
        """See :meth:`Kind.encode`."""
        tokens = self.tokenizer(examples.texts, truncation=True, max_length=max_length)
        return rows_of({**tokens, "labels": examples.labels})

    def collator(self) -> Callable[[Rows], dict[str, Tensor]]:
        """See :meth:`Kind.collator`."""
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(self.tokenizer)

    def compute_metrics(self, scores: Any, labels: Any) -> dict[str, float]:
        """See :meth:`Kind.compute_metrics`."""
        return class_metrics(scores.argmax(axis=-1), labels)

    def per_example(self, scores: Any, labels: Any) -> PerExample:
        """See :meth:`Kind.per_example`."""
        return PerExample(cross_entropies(scores, labels), scores.argmax(axis=-1) == labels)

    def chance(self, split: str) -> float | None:
        """Returns the share of the most frequent class."""
        return commonest_share(self.task.split(split).labels)


def rows_of(columns: dict[str, Any]) -> Rows:
    """Returns one dictionary per row."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def class_metrics(predicted: Any, labels: Any) -> dict[str, float]:
    """Returns accuracy, macro F1 over the classes that occur, and Matthews' correlation coefficient."""
    from sklearn.metrics import f1_score, matthews_corrcoef

    several = len({*labels.tolist(), *predicted.tolist()}) > 1  # with a single class the coefficient is 0 by convention
    return {
        "accuracy": float((predicted == labels).mean()),
        "f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "matthews": float(matthews_corrcoef(labels, predicted)) if several else 0.0,
    }


def commonest_share(labels: list[int]) -> float:
    """Returns the share of the most frequent value."""
    return Counter(labels).most_common(1)[0][1] / len(labels)
