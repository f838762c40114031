"""The interface of a kind of task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lrlora.studies.models.backbones import Takes, check_takes, load_tokenizer
from lrlora.studies.models.weights import FLOAT32, Weights
from lrlora.studies.tasks import Columns, Task, draw

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Rows = list[dict[str, Any]]
"""Examples as a data loader takes them: plain lists of numbers, by the names that a model or a collator expects."""

Metrics = Mapping[str, Literal["maximize", "minimize"]]
"""Names of metrics, and which direction is better."""


@dataclass(frozen=True)
class PerExample:
    """Results for each example of a split, as arrays of shape ``(examples,)``.

    Attributes:
        loss: The loss in nats; of text, per token.
        correct: Whether the answer is right; None for tasks without answers.
    """

    loss: Any
    correct: Any | None = None


@lru_cache(maxsize=4)
def tokenizer_of(backbone: str) -> PreTrainedTokenizerBase:
    """Returns the tokenizer of a backbone, loaded once."""
    return load_tokenizer(backbone)


class Kind(ABC):
    """A task on a backbone: the model with its head, the rows that it takes, and the metrics.

    Args:
        task: The task. Its data must be present when rows are asked for.
        backbone: The name of the backbone.

    Raises:
        StudyError: If the backbone takes other inputs; one line.

    Attributes:
        takes: The inputs that a backbone must be made for.
        task_type: PEFT's name for the type of model, by which it trains and saves the head; None where there is none.
        metrics: The metrics of every split, and which direction is better.
        counts_tokens: Whether the inputs are tokens.
    """

    takes: ClassVar[Takes]
    task_type: ClassVar[str | None]
    metrics: ClassVar[Metrics]
    counts_tokens: ClassVar[bool] = True

    def __init__(self, task: Task, backbone: str) -> None:
        check_takes(backbone, self.takes, f"{task.kind} tasks")
        self.task, self.backbone = task, backbone

    @classmethod
    def on(cls, task: Task, backbone: str) -> Kind:
        """Returns the kind for a backbone, where there are several; reads its configuration and no weights."""
        return cls(task, backbone)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the backbone."""
        return tokenizer_of(self.backbone)

    # -- the model ------------------------------------------------------------------------------------------

    @abstractmethod
    def load(self, weights: Weights = FLOAT32) -> PreTrainedModel:
        """Returns the backbone with its weights; a head that it lacks is drawn by the current random state.

        Args:
            weights: Their dtype and quantization.

        Raises:
            StudyError: If it cannot be loaded, or does not fit this kind of task; one line.
        """

    @abstractmethod
    def empty(self) -> nn.Module:
        """Returns the same model on the meta device, from the configuration alone.

        Raises:
            StudyError: As :meth:`load`.
        """

    # -- the examples ---------------------------------------------------------------------------------------

    def drawn_rows(self, max_length: int, count: int | None, seed: int, training: bool) -> Rows:
        """Returns training examples, in the order given by the seed of the run.

        Args:
            max_length: Tokens after which an example is truncated.
            count: Number of examples; None takes all.
            seed: Seed of the run.
            training: Whether the rows are for training; else for evaluation on training examples.
        """
        return self.encode(draw(self.task.split("train"), count, seed), max_length, training)

    def evaluation_rows(self, max_length: int, split: str, count: int | None) -> Rows:
        """Returns the first ``count`` examples of a split, for evaluation."""
        return self.encode(self.task.split(split).first(count), max_length, training=False)

    @abstractmethod
    def encode(self, examples: Columns, max_length: int, training: bool) -> Rows:
        """Returns a row for each example."""

    @abstractmethod
    def collator(self) -> Callable[[Rows], dict[str, Tensor]]:
        """Returns the function that makes a batch of rows."""

    # -- evaluation -----------------------------------------------------------------------------------------

    loss: ClassVar[Callable[..., Tensor] | None] = None
    """The loss from outputs and labels, as the Trainer calls it, where it is not the model's own."""

    def evaluation_batch_size(self, batch_size: int, max_length: int) -> int:
        """Returns the batch size of evaluations: the one asked for, unless the outputs would be too large."""
        return batch_size

    def scores(self, outputs: Any, labels: Tensor) -> Tensor:
        """Returns what the metrics need of the outputs of a batch, one row per example."""
        return outputs[0] if isinstance(outputs, tuple) else outputs

    @abstractmethod
    def compute_metrics(self, scores: Any, labels: Any) -> dict[str, float]:
        """Returns the metrics of a split, those of :attr:`metrics`; the loss may be left to the Trainer.

        Args:
            scores: The results of :meth:`scores` for all examples, as an array.
            labels: The labels of the batches, as an array.
        """

    def model_metrics(self, model: nn.Module, metrics: dict[str, float]) -> dict[str, float]:
        """Returns further metrics, which follow from the trained model and not from its outputs alone.

        Args:
            model: The model, adapted and trained.
            metrics: Those of :meth:`compute_metrics`.
        """
        return {}

    def known_updates(self) -> dict[str, Tensor]:
        """Returns the updates ΔW that solve the task by module, ``(out, in)``, where they are known; else none."""
        return {}

    def problem_with(self, training: Mapping[str, Any]) -> str | None:
        """Returns what does not fit this kind in the settings of a training, in one line; None if nothing."""
        if training["tokens"] is not None and not self.counts_tokens:
            return f"training.tokens={training['tokens']} has no effect on {self.task.kind} tasks"
        return None

    @abstractmethod
    def per_example(self, scores: Any, labels: Any) -> PerExample:
        """Returns loss and correctness of each example; arguments as of :meth:`compute_metrics`."""

    @abstractmethod
    def chance(self, split: str) -> float | None:
        """Returns the accuracy on a split of answers by class frequency alone; None for tasks without answers."""


def cross_entropies(scores: Any, labels: Any) -> Any:
    """Returns the cross-entropy of each row of scores, ``(examples, classes)``, at its label, in float64."""
    from scipy.special import log_softmax

    return -log_softmax(scores.astype("float64"), axis=-1)[range(len(labels)), labels]
