"""Text to model: blocks of a fixed number of tokens, judged by the loss per token."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from lrlora.studies.kinds.kind import Kind, Metrics, Rows
from lrlora.studies.models.backbones import Takes, empty_model, load_language_model
from lrlora.studies.tasks.task import drawn_order

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

_LOGITS = 2**26
"""Numbers that the outputs of a judged batch may hold: a quarter of a gigabyte."""


class Generating(Kind):
    """What a causal language model takes and gives, whatever it is asked for."""

    takes: ClassVar[Takes] = "text to go on with"
    task_type = "CAUSAL_LM"

    def load(self) -> PreTrainedModel:
        """See :meth:`Kind.load`."""
        model = load_language_model(self.backbone)
        model.config.use_cache = False  # nothing is generated
        return model

    def empty(self) -> nn.Module:
        """See :meth:`Kind.empty`."""
        return empty_model(self.backbone, classifier=False)

    def collator(self) -> Callable[[Rows], dict[str, Tensor]]:
        """See :meth:`Kind.collator`."""
        from transformers import DataCollatorForTokenClassification

        return DataCollatorForTokenClassification(self.tokenizer)  # pads the labels too, with what no loss counts

    def judged_batch(self, batch_size: int, max_length: int) -> int:
        """As many as have outputs for the whole vocabulary that fit."""
        return max(1, min(batch_size, _LOGITS // (max_length * len(self.tokenizer))))

    def kept(self, outputs: Any, labels: Tensor) -> Tensor:
        """The log-likelihood of the labelled tokens of each row, and their number; shape (rows, 2)."""
        import torch
        from torch.nn.functional import cross_entropy

        logits = super().kept(outputs, labels)
        scores = []
        for row, wanted in zip(logits[:, :-1], labels[:, 1:], strict=True):  # one by one: each makes a copy
            loss = cross_entropy(row.float(), wanted, ignore_index=-100, reduction="sum")
            scores.append(torch.stack([-loss, (wanted != -100).sum().float()]))
        return torch.stack(scores)


class LanguageModelling(Generating):
    """Documents go in, one after the other, cut into blocks of ``max_length`` tokens; a block is an example.

    The last block of the training text is left out if it is not whole, so that every step sees as many tokens; the last
    one of a text that is judged is kept. The first token of a block is not foretold, since nothing stands before it.
    """

    metrics: ClassVar[Metrics] = {"loss": "minimize", "perplexity": "minimize"}

    def drawn_rows(self, max_length: int, count: int | None, seed: int, training: bool) -> Rows:
        """Blocks in the order that the seed decides; a smaller draw is the beginning of a larger one."""
        blocks = self._blocks("train", max_length)
        return [blocks[i] for i in drawn_order(len(blocks), seed)[:count]]

    def judged_rows(self, max_length: int, split: str, count: int | None) -> Rows:
        """The first ``count`` blocks."""
        return self._blocks(split, max_length)[:count]

    def encode(self, examples: Any, max_length: int, training: bool) -> Rows:
        """Blocks of all documents, with the token that ends a text between them."""
        end = [self.tokenizer.eos_token_id] if self.tokenizer.eos_token_id is not None else []
        documents = self.tokenizer(examples.texts, add_special_tokens=False, verbose=False)["input_ids"]
        tokens = list(chain.from_iterable(document + end for document in documents))
        blocks = [tokens[start : start + max_length] for start in range(0, len(tokens), max_length)]
        if len(blocks[-1]) < (max_length if training and len(blocks) > 1 else 2):
            blocks.pop()
        return [{"input_ids": block, "attention_mask": [1] * len(block), "labels": block} for block in blocks]

    def figures(self, kept: Any, labels: Any) -> dict[str, float]:
        """The mean over all tokens, whatever the batches, and its exponential."""
        likelihood, tokens = kept.astype("float64").sum(axis=0)
        loss = float(-likelihood / tokens)
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # beyond which there is no such number

    def chance(self, split: str) -> float | None:
        """None: there is nothing to guess from."""
        return None

    def _blocks(self, split: str, max_length: int) -> Rows:
        return _blocks(self, split, max_length)


@lru_cache(maxsize=8)
def _blocks(kind: LanguageModelling, split: str, max_length: int) -> Rows:
    return kind.encode(kind.task.split(split), max_length, training=split == "train")
