"""A real update: of a weight of MiniLM by full fine-tuning on headlines.

The file beside this one has both matrices; ``python -m lrlora.studies.authoring.minilm_update`` made it.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lrlora.studies.tasks.matrices import MatrixTask

if TYPE_CHECKING:
    from lrlora.studies.tasks.matrices import Matrix

FILE = Path(__file__).with_name("minilm_update.npz")
MODULE = "bert.encoder.layer.3.attention.self.value"
SCALE = 1024
"""The factor by which the update is stored, so that float16 keeps its small entries."""


class MiniLM(MatrixTask):
    """The values' projection of the fourth layer, 384 × 384, and its update in 300 steps on 4,800 headlines."""

    @cached_property
    def weight(self) -> Matrix:
        """See :attr:`MatrixTask.weight`."""
        return self._stored("weight")

    @cached_property
    def target(self) -> Matrix:
        """See :attr:`MatrixTask.target`."""
        return self._stored("update") / SCALE

    def _stored(self, name: str) -> Matrix:
        import numpy as np

        with np.load(FILE, allow_pickle=False) as stored:
            return stored[name].astype(float)
