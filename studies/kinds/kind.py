"""What a kind of task is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lrlora.studies.models.backbones import Takes, check_takes, load_tokenizer
from lrlora.studies.tasks import Columns, Task, draw

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Rows = list[dict[str, Any]]
"""What a data loader takes: plain lists of numbers, by the name that a model or a collator knows them by."""

Metrics = Mapping[str, Literal["maximize", "minimize"]]
"""Names of figures, and which way is better."""


@lru_cache(maxsize=4)
def tokenizer_of(backbone: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a backbone, loaded once."""
    return load_tokenizer(backbone)


class Kind(ABC):
    """A task on a backbone: the model with its head, the rows it is fed with, and what it is judged by.

    Args:
        task: With its data at hand as soon as rows are asked for.
        backbone: Its name.

    Raises:
        StudyError: The backbone takes something else; one line.

    Attributes:
        takes: What a backbone must be made for.
        task_type: PEFT's name for the kind of model, by which it trains and saves the head; None where there is none.
        metrics: What is measured on every split, and which way is better.
        counts_tokens: Whether what goes in are tokens.
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
        """The kind for a backbone, where there are several ways; reads its configuration and no weights."""
        return cls(task, backbone)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The backbone's."""
        return tokenizer_of(self.backbone)

    # -- the model ------------------------------------------------------------------------------------------

    @abstractmethod
    def load(self) -> PreTrainedModel:
        """The backbone with its weights; a head it does not come with is drawn by the current random state.

        Raises:
            StudyError: It cannot be loaded, or is not one for this kind of task; one line.
        """

    @abstractmethod
    def empty(self) -> nn.Module:
        """The same on the meta device, from the configuration alone.

        Raises:
            StudyError: As :meth:`load`.
        """

    # -- the examples ---------------------------------------------------------------------------------------

    def drawn_rows(self, max_length: int, count: int | None, seed: int, training: bool) -> Rows:
        """Training examples, in the order that the run's seed decides.

        Args:
            max_length: Tokens after which an example is cut.
            count: How many examples; None takes all.
            seed: Of the run.
            training: To train on them; else to judge how well that went.
        """
        return self.encode(draw(self.task.split("train"), count, seed), max_length, training)

    def judged_rows(self, max_length: int, split: str, count: int | None) -> Rows:
        """The first ``count`` examples of a split as it is judged."""
        return self.encode(self.task.split(split).first(count), max_length, training=False)

    @abstractmethod
    def encode(self, examples: Columns, max_length: int, training: bool) -> Rows:
        """A row for each example."""

    @abstractmethod
    def collator(self) -> Callable[[Rows], dict[str, Tensor]]:
        """Makes a batch of rows."""

    # -- what is judged -------------------------------------------------------------------------------------

    loss: ClassVar[Callable[..., Tensor] | None] = None
    """From outputs and labels to the loss, as the Trainer calls it, where it is not the model's own."""

    def judged_batch(self, batch_size: int, max_length: int) -> int:
        """How many examples are judged at a time: as many as asked for, unless their outputs are too large."""
        return batch_size

    def kept(self, outputs: Any, labels: Tensor) -> Tensor:
        """What of a batch's outputs the figures need, with one row per example."""
        return outputs[0] if isinstance(outputs, tuple) else outputs

    @abstractmethod
    def figures(self, kept: Any, labels: Any) -> dict[str, float]:
        """The figures of a split, those of :attr:`metrics`; the loss may be left to the Trainer.

        Args:
            kept: What :meth:`kept` gave, of all examples, as an array.
            labels: The labels of the batches, as an array.
        """

    @abstractmethod
    def chance(self, split: str) -> float | None:
        """The accuracy on a split of one who knows only how often each answer is right; None without answers."""
