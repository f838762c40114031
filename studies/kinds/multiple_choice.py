"""Questions with options: every option is scored by itself beside the question, and the highest score is the answer.

A language model's score is the log-likelihood of the option after the question; it is trained on the right options. An
encoder's score is one number from its head for question and option as a pair; it is trained on which is the highest.
The rows of a question begin with its right option. As each row is scored by itself, no model can know, and an answer is
right where the first score is above all others: a tie is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from einops import rearrange

from lrlora.studies.kinds.classification import rows_of
from lrlora.studies.kinds.kind import Kind, Metrics, Rows
from lrlora.studies.kinds.language_modelling import Generating
from lrlora.studies.models.backbones import Takes, empty_model, generates, load_model
from lrlora.studies.tasks import Questions, Task

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


class MultipleChoice(Kind):
    """By likelihood with a language model, by pairs with any other."""

    metrics: ClassVar[Metrics] = {"accuracy": "maximize", "accuracy_per_token": "maximize", "loss": "minimize"}

    @classmethod
    def on(cls, task: Task, backbone: str) -> Kind:
        """See :meth:`Kind.on`."""
        return OptionLikelihood(task, backbone) if generates(backbone) else OptionPairs(task, backbone)

    def chance(self, split: str) -> float | None:
        """One in as many as there are options: where the right one stands tells a model nothing."""
        return 1 / len(self.task.labels)


class OptionLikelihood(MultipleChoice, Generating):
    """Which option does the model hold for the likeliest, as a whole, or per token?"""

    def encode(self, examples: Any, max_length: int, training: bool) -> Rows:
        """For each example the rows of its options; only the right one's where it is trained on."""
        rows = []
        for question, options in _right_first(examples):
            asked = self.tokenizer(f"Question: {question}\nAnswer:")["input_ids"]
            rows.append(
                {"rows": [self._row(asked, option, max_length) for option in options[: 1 if training else None]]}
            )
        return rows

    def _row(self, asked: list[int], option: str, max_length: int) -> dict[str, list[int]]:
        answer = self.tokenizer(f" {option}", add_special_tokens=False)["input_ids"][: max_length - 1]
        asked = asked[max(0, len(asked) + len(answer) - max_length) :]  # what is too long loses its beginning
        return {
            "input_ids": asked + answer,
            "attention_mask": [1] * (len(asked) + len(answer)),
            "labels": [-100] * len(asked) + answer,
        }

    def collator(self) -> Callable[[Rows], dict[str, Tensor]]:
        """See :meth:`Kind.collator`."""
        return _flattening(super().collator())

    def judged_batch(self, batch_size: int, max_length: int) -> int:
        """As for one option, over the number of options."""
        options = len(self.task.labels)
        return max(1, super().judged_batch(batch_size * options, max_length) // options)

    def kept(self, outputs: Any, labels: Tensor) -> Tensor:
        """Log-likelihood and number of tokens of every option; shape (examples, options, 2)."""
        return rearrange(
            super().kept(outputs, labels), "(n options) score -> n options score", options=len(self.task.labels)
        )

    def figures(self, kept: Any, labels: Any) -> dict[str, float]:
        """The loss is that of training: per token of the right options."""
        kept = kept.astype("float64")
        likelihood, tokens = kept[..., 0], kept[..., 1]
        return {
            "accuracy": _share_right(likelihood),
            "accuracy_per_token": _share_right(likelihood / tokens),
            "loss": float(-likelihood[:, 0].sum() / tokens[:, 0].sum()),
        }


class OptionPairs(MultipleChoice):
    """Which option's pair with the question gets the highest score?"""

    takes: ClassVar[Takes] = "text"
    task_type = "SEQ_CLS"
    metrics: ClassVar[Metrics] = {"accuracy": "maximize", "loss": "minimize"}

    def load(self) -> PreTrainedModel:
        """See :meth:`Kind.load`."""
        return load_model(self.backbone, ("score",))

    def empty(self) -> nn.Module:
        """See :meth:`Kind.empty`."""
        return empty_model(self.backbone, classifier=True)

    def encode(self, examples: Any, max_length: int, training: bool) -> Rows:
        """For each example the rows of all options."""
        rows = []
        for question, options in _right_first(examples):
            pairs = self.tokenizer([question] * len(options), list(options), truncation=True, max_length=max_length)
            rows.append({"rows": rows_of(dict(pairs)), "labels": 0})
        return rows

    def collator(self) -> Callable[[Rows], dict[str, Tensor]]:
        """See :meth:`Kind.collator`."""
        from transformers import DataCollatorWithPadding

        return _flattening(DataCollatorWithPadding(self.tokenizer))

    def kept(self, outputs: Any, labels: Tensor) -> Tensor:
        """The score of every option; shape (examples, options)."""
        return _by_example(super().kept(outputs, labels), len(labels))

    @staticmethod
    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        """Cross-entropy over the options of each question."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(_by_example(outputs["logits"], len(labels)), labels)

    def figures(self, kept: Any, labels: Any) -> dict[str, float]:
        """See :meth:`Kind.figures`."""
        return {"accuracy": _share_right(kept)}


def _right_first(questions: Questions) -> Iterator[tuple[str, list[str]]]:
    """The questions, each with its right option in front of the others."""
    for question, options, right in zip(questions.texts, questions.options, questions.labels, strict=True):
        yield question, [options[right], *options[:right], *options[right + 1 :]]


def _flattening(collate: Callable[[Rows], dict[str, Tensor]]) -> Callable[[Rows], dict[str, Tensor]]:
    """A collator of examples with several rows: all rows in one batch, and one label per example if they have any."""

    def flatten(examples: Rows) -> dict[str, Tensor]:
        import torch

        batch = collate(list(chain.from_iterable(example["rows"] for example in examples)))
        if "labels" in examples[0]:
            batch["labels"] = torch.tensor([example["labels"] for example in examples])
        return batch

    return flatten


def _by_example(scores: Tensor, examples: int) -> Tensor:
    return rearrange(scores, "(n options) 1 -> n options", n=examples)


def _share_right(scores: Any) -> float:
    """How often the first score of a row is above all others."""
    return float((scores[:, :1] > scores[:, 1:]).all(axis=1).mean())
