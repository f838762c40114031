"""Classification of images by an image classifier of transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from lrlora.studies.kinds.classification import Classification, rows_of
from lrlora.studies.kinds.kind import Rows
from lrlora.studies.models.backbones import Takes, load_image_model
from lrlora.studies.models.weights import FLOAT32, Weights

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class ImageClassification(Classification):
    """From an image to a class.

    PEFT has no task type for image classifiers. That of sequence classifiers makes it train and save the head, which
    is called ``classifier`` in both.
    """

    takes: ClassVar[Takes] = "images"
    counts_tokens = False

    def load(self, weights: Weights = FLOAT32) -> PreTrainedModel:
        """See :meth:`Kind.load`."""
        return load_image_model(self.backbone, self.task.labels, weights)

    def encode(self, examples: Any, max_length: int, training: bool) -> Rows:
        """See :meth:`Kind.encode`; ``max_length`` is ignored."""
        return rows_of({"pixel_values": examples.pixels, "labels": examples.labels})

    def collator(self) -> Callable[[Rows], dict[str, Tensor]]:
        """See :meth:`Kind.collator`."""
        from transformers import default_data_collator

        return default_data_collator
