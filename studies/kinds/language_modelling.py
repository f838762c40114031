"""Language modelling: blocks of a fixed number of tokens, evaluated by the loss per token."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from lrlora.studies.kinds.kind import Kind, Metrics, PerExample, Rows
from lrlora.studies.models.backbones import Takes, empty_model, load_language_model
from lrlora.studies.models.weights import FLOAT32, Weights
from lrlora.studies.tasks.task import drawn_order

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

_LOGITS = 2**26
"""Elements that the outputs of an evaluated batch may have: a quarter of a gigabyte in float32."""


class Generating(Kind):
    """Inputs and outputs of a causal language model, shared by the kinds that use one."""

    takes: ClassVar[Takes] = "text to go on with"
    task_type = "CAUSAL_LM"

    def load(self, weights: Weights = FLOAT32) -> PreTrainedModel:
        """See :meth:`Kind.load`."""
        model = load_language_model(self.backbone, weights)
        model.config.use_cache = False  # nothing is generated
        return model

    def empty(self) -> nn.Module:
        """See :meth:`Kind.empty`."""
        return empty_model(self.backbone, classifier=False)

    def collator(self) -> Callable[[Rows], dict[str, Tensor]]:
        """See :meth:`Kind.collator`."""
        from transformers import DataCollatorForTokenClassification

        return DataCollatorForTokenClassification(
            self.tokenizer
        )  # pads the labels too, with the index that losses ignore

    def evaluation_batch_size(self, batch_size: int, max_length: int) -> int:
        """Returns a size at which the outputs over the whole vocabulary fit."""
        return max(1, min(batch_size, _LOGITS // (max_length * len(self.tokenizer))))

    def scores(self, outputs: Any, labels: Tensor) -> Tensor:
        """Returns the log-likelihood of the labelled tokens of each row, and their number; shape ``(rows, 2)``."""
        import torch
        from torch.nn.functional import cross_entropy

        logits = super().scores(outputs, labels)
        found = []
        for row, wanted in zip(logits[:, :-1], labels[:, 1:], strict=True):  # one by one: each makes a copy
            loss = cross_entropy(row.float(), wanted, ignore_index=-100, reduction="sum")
            found.append(torch.stack([-loss, (wanted != -100).sum().float()]))
        return torch.stack(found)


class LanguageModelling(Generating):
    """Documents one after the other, cut into blocks of ``max_length`` tokens; a block is an example.

    The last block of the training text is dropped if it is shorter, so that all steps have as many tokens; in an
    evaluation it is kept. The first token of a block is not predicted, since it has no context.
    """

    metrics: ClassVar[Metrics] = {"loss": "minimize", "perplexity": "minimize"}

    def drawn_rows(self, max_length: int, count: int | None, seed: int, training: bool) -> Rows:
        """Returns blocks in the order given by the seed; a smaller draw is the beginning of a larger one."""
        blocks = self._blocks("train", max_length)
        return [blocks[i] for i in drawn_order(len(blocks), seed)[:count]]

    def evaluation_rows(self, max_length: int, split: str, count: int | None) -> Rows:
        """Returns the first ``count`` blocks."""
        return self._blocks(split, max_length)[:count]

    def encode(self, examples: Any, max_length: int, training: bool) -> Rows:
        """Returns blocks of all documents, with the end-of-text token between documents."""
        end = [self.tokenizer.eos_token_id] if self.tokenizer.eos_token_id is not None else []
        documents = self.tokenizer(examples.texts, add_special_tokens=False, verbose=False)["input_ids"]
        tokens = list(chain.from_iterable(document + end for document in documents))
        blocks = [tokens[start : start + max_length] for start in range(0, len(tokens), max_length)]
        if len(blocks[-1]) < (max_length if training and len(blocks) > 1 else 2):
            blocks.pop()
        return [{"input_ids": block, "attention_mask": [1] * len(block), "labels": block} for block in blocks]

    def compute_metrics(self, scores: Any, labels: Any) -> dict[str, float]:
        """Returns the mean loss over all tokens, whatever the batches, and its exponential."""
        likelihood, tokens = scores.astype("float64").sum(axis=0)
        loss = float(-likelihood / tokens)
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # exp overflows beyond

    def per_example(self, scores: Any, labels: Any) -> PerExample:
        """Returns the loss per token of each block."""
        likelihood, tokens = scores.astype("float64").T
        return PerExample(-likelihood / tokens)

    def chance(self, split: str) -> float | None:
        """Returns None."""
        return None

    def _blocks(self, split: str, max_length: int) -> Rows:
        return _blocks(self, split, max_length)


@lru_cache(maxsize=8)
def _blocks(kind: LanguageModelling, split: str, max_length: int) -> Rows:
    return kind.encode(kind.task.split(split), max_length, training=split == "train")
