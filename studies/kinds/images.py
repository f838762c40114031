"""Images and their classes: an image classifier, as transformers has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from lrlora.studies.kinds.classification import Classification, rows_of
from lrlora.studies.kinds.kind import Rows
from lrlora.studies.models.backbones import Takes, load_image_model

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class ImageClassification(Classification):
    """An image goes in, a class comes out.

    PEFT has no name for image classifiers. That of sequence classifiers makes it train and save the head, which is
    called ``classifier`` in both.
    """

    takes: ClassVar[Takes] = "images"
    counts_tokens = False

    def load(self) -> PreTrainedModel:
        """See :meth:`Kind.load`."""
        return load_image_model(self.backbone, self.task.labels)

    def encode(self, examples: Any, max_length: int, training: bool) -> Rows:
        """See :meth:`Kind.encode`; ``max_length`` is of no account."""
        return rows_of({"pixel_values": examples.pixels, "labels": examples.labels})

    def collator(self) -> Callable[[Rows], dict[str, Tensor]]:
        """See :meth:`Kind.collator`."""
        from transformers import default_data_collator

        return default_data_collator
