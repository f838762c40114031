"""Multiple choice: each option is scored independently, and the option with the highest score is the answer.

A language model's score is the log-likelihood of the option after the question; it is trained on the right options. An
encoder's score is one number from its head for question and option as a pair; it is trained by cross-entropy over the
options. The right option is the first row of a question. Since rows are scored independently, this tells the model
nothing. An answer is right if the first score is above all others: a tie is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from einops import rearrange

from lrlora.studies.kinds.classification import rows_of
from lrlora.studies.kinds.kind import Kind, Metrics, PerExample, Rows, cross_entropies
from lrlora.studies.kinds.language_modelling import Generating
from lrlora.studies.models.backbones import Takes, empty_model, generates, load_model
from lrlora.studies.models.weights import FLOAT32, Weights
from lrlora.studies.tasks import Questions, Task

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


class MultipleChoice(Kind):
    """By likelihood with a language model, by pairs with other models."""

    metrics: ClassVar[Metrics] = {"accuracy": "maximize", "accuracy_per_token": "maximize", "loss": "minimize"}

    @classmethod
    def on(cls, task: Task, backbone: str) -> Kind:
        """See :meth:`Kind.on`."""
        return OptionLikelihood(task, backbone) if generates(backbone) else OptionPairs(task, backbone)

    def chance(self, split: str) -> float | None:
        """Returns one over the number of options."""
        return 1 / len(self.task.labels)


class OptionLikelihood(MultipleChoice, Generating):
    """The answer is the option with the highest likelihood, in total, or per token."""

    def encode(self, examples: Any, max_length: int, training: bool) -> Rows:
        """Returns for each example the rows of its options; for training that of the right option only."""
        rows = []
        for question, options in _right_first(examples):
            asked = self.tokenizer(f"Question: {question}\nAnswer:")["input_ids"]
            rows.append(
                {"rows": [self._row(asked, option, max_length) for option in options[: 1 if training else None]]}
            )
        return rows

    def _row(self, asked: list[int], option: str, max_length: int) -> dict[str, list[int]]:
        answer = self.tokenizer(f" {option}", add_special_tokens=False)["input_ids"][: max_length - 1]
        asked = asked[max(0, len(asked) + len(answer) - max_length) :]  # truncated on the left
        return {
            "input_ids": asked + answer,
            "attention_mask": [1] * (len(asked) + len(answer)),
            "labels": [-100] * len(asked) + answer,
        }

    def collator(self) -> Callable[[Rows], dict[str, Tensor]]:
        """See :meth:`Kind.collator`."""
        return _flattening(super().collator())

    def evaluation_batch_size(self, batch_size: int, max_length: int) -> int:
        """Returns the size for single rows, divided by the number of options."""
        options = len(self.task.labels)
        return max(1, super().evaluation_batch_size(batch_size * options, max_length) // options)

    def scores(self, outputs: Any, labels: Tensor) -> Tensor:
        """Returns log-likelihood and number of tokens of each option; shape ``(examples, options, 2)``."""
        return rearrange(
            super().scores(outputs, labels), "(n options) score -> n options score", options=len(self.task.labels)
        )

    def compute_metrics(self, scores: Any, labels: Any) -> dict[str, float]:
        """Returns accuracies, and the loss as in training: per token of the right options."""
        likelihood, tokens = _likelihoods(scores)
        return {
            "accuracy": float(_first_is_highest(likelihood).mean()),
            "accuracy_per_token": float(_first_is_highest(likelihood / tokens).mean()),
            "loss": float(-likelihood[:, 0].sum() / tokens[:, 0].sum()),
        }

    def per_example(self, scores: Any, labels: Any) -> PerExample:
        """Returns the loss per token of the right option, and whether its total likelihood is the highest."""
        likelihood, tokens = _likelihoods(scores)
        return PerExample(-likelihood[:, 0] / tokens[:, 0], _first_is_highest(likelihood))


class OptionPairs(MultipleChoice):
    """The answer is the option whose pair with the question has the highest score."""

    takes: ClassVar[Takes] = "text"
    task_type = "SEQ_CLS"
    metrics: ClassVar[Metrics] = {"accuracy": "maximize", "loss": "minimize"}

    def load(self, weights: Weights = FLOAT32) -> PreTrainedModel:
        """See :meth:`Kind.load`."""
        return load_model(self.backbone, ("score",), weights)

    def empty(self) -> nn.Module:
        """See :meth:`Kind.empty`."""
        return empty_model(self.backbone, classifier=True)

    def encode(self, examples: Any, max_length: int, training: bool) -> Rows:
        """Returns for each example the rows of all options."""
        rows = []
        for question, options in _right_first(examples):
            pairs = self.tokenizer([question] * len(options), list(options), truncation=True, max_length=max_length)
            rows.append({"rows": rows_of(dict(pairs)), "labels": 0})
        return rows

    def collator(self) -> Callable[[Rows], dict[str, Tensor]]:
        """See :meth:`Kind.collator`."""
        from transformers import DataCollatorWithPadding

        return _flattening(DataCollatorWithPadding(self.tokenizer))

    def scores(self, outputs: Any, labels: Tensor) -> Tensor:
        """Returns the score of each option; shape ``(examples, options)``."""
        return _by_example(super().scores(outputs, labels), len(labels))

    @staticmethod
    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        """Returns the cross-entropy over the options, averaged over the questions."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(_by_example(outputs["logits"], len(labels)), labels)

    def compute_metrics(self, scores: Any, labels: Any) -> dict[str, float]:
        """See :meth:`Kind.compute_metrics`."""
        return {"accuracy": float(_first_is_highest(scores).mean())}

    def per_example(self, scores: Any, labels: Any) -> PerExample:
        """See :meth:`Kind.per_example`."""
        return PerExample(cross_entropies(scores, labels), _first_is_highest(scores))


def _right_first(questions: Questions) -> Iterator[tuple[str, list[str]]]:
    """Yields the questions, each with its right option before the others."""
    for question, options, right in zip(questions.texts, questions.options, questions.labels, strict=True):
        yield question, [options[right], *options[:right], *options[right + 1 :]]


def _flattening(collate: Callable[[Rows], dict[str, Tensor]]) -> Callable[[Rows], dict[str, Tensor]]:
    """Returns a collator of examples with several rows: one batch of all rows, and one label per example if any."""

    def flatten(examples: Rows) -> dict[str, Tensor]:
        import torch

        batch = collate(list(chain.from_iterable(example["rows"] for example in examples)))
        if "labels" in examples[0]:
            batch["labels"] = torch.tensor([example["labels"] for example in examples])
        return batch

    return flatten


def _by_example(scores: Tensor, examples: int) -> Tensor:
    return rearrange(scores, "(n options) 1 -> n options", n=examples)


def _likelihoods(scores: Any) -> tuple[Any, Any]:
    """Returns log-likelihoods and numbers of tokens, each ``(examples, options)`` in float64."""
    scores = scores.astype("float64")
    return scores[..., 0], scores[..., 1]


def _first_is_highest(scores: Any) -> Any:
    """Returns for each row whether its first score is above all others."""
    return (scores[:, :1] > scores[:, 1:]).all(axis=1)
