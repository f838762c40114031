"""What a task is."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Examples:
    """Texts and their classes, in a fixed order."""

    texts: list[str]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, count: int | None) -> Examples:
        """The first ``count`` examples, or all."""
        return Examples(self.texts[:count], self.labels[:count])


class Task(ABC):
    """A text classification with three fixed splits.

    Making a task must be cheap: it checks its options and touches no network. The splits depend on nothing but the
    task and its options, never on the seed of a run, and share no example, so that a figure of the test split is
    one of texts that no run has seen. Nothing is tuned on the test split.
    """

    @abstractmethod
    def prepare(self, announce: Callable[[str], None]) -> None:
        """Make sure that the data are there and whole, downloading them where the task knows how.

        Args:
            announce: Called with one line before anything is downloaded.

        Raises:
            StudyError: They are missing or corrupt; one line with the command that gets them.
        """

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """The names of the classes; the index of a name is the class."""

    @abstractmethod
    def split(self, name: str) -> Examples:
        """The examples of one of :data:`SPLITS`."""


def draw(examples: Examples, count: int | None, seed: int) -> Examples:
    """``count`` examples in an order that the seed alone decides.

    A smaller draw is the beginning of a larger one of the same seed.

    Args:
        examples: The training split.
        count: How many; None takes all.
        seed: The seed of the run, the same for all variants that are compared at it.
    """
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)
    chosen = order[:count]
    return Examples([examples.texts[i] for i in chosen], [examples.labels[i] for i in chosen])
