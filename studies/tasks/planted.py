"""Updates of known rank, planted in the layers of a small model: which rank does an adapter find in which layer?"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.matrices import orthogonal
from lrlora.studies.tasks.option_checks import positive, whole
from lrlora.studies.tasks.task import SPLITS, Inputs, Task

if TYPE_CHECKING:
    from lrlora.studies.tasks.matrices import Matrix

RANKS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Ranks of the planted updates; a layout is an order of them."""

COUNTS = {"train": 2048, "validation": 256, "test": 512}


class Planted(Task):
    """Gaussian inputs; the wanted outputs are those of the backbone with the planted updates.

    The singular values of an update are equal, so that its stable rank is its rank. All updates have the same Frobenius
    norm, so that size does not tell ranks apart.

    Args:
        layout: Seed of the order of the ranks, of the singular vectors and of the inputs.
        ranks: Rank of the update of each layer, before they are shuffled.
        strength: Frobenius norm of an update over that of the weight.
        width: Size of the inputs; that of the backbone.

    Raises:
        StudyError: If an option is out of its bounds; one line.
    """

    kind = "planted"

    def __init__(
        self, layout: int = 0, ranks: list[int] | None = None, strength: float = 0.05, width: int = 64
    ) -> None:
        self.layout = whole("planted", "layout", layout, 0)
        self.width = whole("planted", "width", width, 4, 4096)
        self.strength = positive("planted", "strength", strength, 100)
        given = list(RANKS) if ranks is None else ranks
        if not isinstance(given, list) or len(set(given)) < 2:
            raise StudyError(f"task planted: ranks is a list of two different ranks or more, not {given!r}")
        self.ranks = [whole("planted", "a rank", rank, 1, self.width) for rank in given]

    def prepare(self, announce: Callable[[str], None]) -> None:
        """Do nothing: there are no files to get."""

    @property
    def labels(self) -> tuple[str, ...]:
        """None."""
        return ()

    @cached_property
    def updates(self) -> list[Matrix]:
        """The update of each layer, ``(width, width)``, float64."""
        import numpy as np

        generator = np.random.default_rng([self.layout, 0])
        found: list[Matrix] = []
        for rank in generator.permutation(self.ranks):
            left, right = (orthogonal(generator, self.width, int(rank)) for _ in range(2))
            # A weight of variance 1 / width has a norm of about √width.
            found.append(self.strength * math.sqrt(self.width / rank) * left @ right.T)
        return found

    def split(self, name: str) -> Inputs:
        """Returns the inputs of a split."""
        import numpy as np

        generator = np.random.default_rng([self.layout, 1 + SPLITS.index(name)])
        return Inputs(generator.standard_normal((COUNTS[name], self.width)).astype("float32").tolist())
