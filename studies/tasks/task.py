"""What a task is."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

SPLITS = ("train", "validation", "test")

T = TypeVar("T")


@dataclass(frozen=True)
class Columns:
    """Examples in a fixed order, as columns of one length. Each kind of task has columns of its own."""

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[Any]]) -> Self:
        """Of one row per example, with a value for each column."""
        rows = list(rows)
        return cls(*([row[i] for row in rows] for i in range(len(fields(cls)))))

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, indices: Iterable[int]) -> Self:
        """The examples at ``indices``, in that order."""
        chosen = list(indices)
        columns: dict[str, Any] = {one.name: [getattr(self, one.name)[i] for i in chosen] for one in fields(self)}
        return type(self)(**columns)

    def first(self, count: int | None) -> Self:
        """The first ``count`` examples, or all."""
        return self.take(range(len(self))[:count])


@dataclass(frozen=True)
class Examples(Columns):
    """Texts and their classes."""

    texts: list[str]
    labels: list[int]


@dataclass(frozen=True)
class Documents(Columns):
    """Texts, each whole."""

    texts: list[str]


@dataclass(frozen=True)
class Questions(Columns):
    """Questions, the options of each, and which of them is right."""

    texts: list[str]
    options: list[tuple[str, ...]]
    labels: list[int]


@dataclass(frozen=True)
class Images(Columns):
    """Images, as values between -1 and 1 of shape (channels, height, width), and their classes."""

    pixels: list[list[list[list[float]]]]
    labels: list[int]


C = TypeVar("C", bound=Columns)


@dataclass(frozen=True)
class Inputs(Columns):
    """Vectors whose wanted outputs follow from the backbone."""

    inputs: list[list[float]]


@dataclass(frozen=True)
class Vectors(Columns):
    """Vectors and the outputs wanted for them."""

    inputs: list[list[float]]
    outputs: list[list[float]]


@dataclass(frozen=True)
class Points(Columns):
    """Vectors and their classes."""

    inputs: list[list[float]]
    labels: list[int]


class Task(ABC):
    """Examples of one kind, in three fixed splits.

    Making a task must be cheap: it checks its options and touches no network. The splits depend on nothing but the
    task and its options, never on the seed of a run, and share no example, so that a figure of the test split is
    one of examples that no run has seen. Nothing is tuned on the test split.
    """

    kind: str = "classification"
    """What is asked, by its name in :data:`lrlora.studies.kinds.KINDS`: how a model is loaded, trained and judged.

    It also says what the splits hold: :class:`Examples` for a ``classification``, :class:`Documents` for
    ``language-modelling``, :class:`Questions` for ``multiple-choice``, :class:`Images` for ``images``,
    :class:`Vectors` for ``matrix``, :class:`Inputs` for ``planted``, :class:`Points` for ``capacity``."""

    one_split: bool = False
    """Whether all splits are the same examples, since the fit to them is what is measured."""

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
        """The names of the classes, or of the options; the index of a name is the class. Empty where there are none."""

    @abstractmethod
    def split(self, name: str) -> Any:
        """The examples of one of :data:`SPLITS`, as the task's kind has them."""


def draw(examples: C, count: int | None, seed: int) -> C:
    """``count`` examples in an order that the seed alone decides.

    A smaller draw is the beginning of a larger one of the same seed.

    Args:
        examples: The training split.
        count: How many; None takes all.
        seed: The seed of the run, the same for all variants that are compared at it.
    """
    return examples.take(drawn_order(len(examples), seed)[:count])


def drawn_order(count: int, seed: int) -> list[int]:
    """The numbers from 0 to ``count`` - 1 in the order that a seed decides."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order


def split_groups(groups: Sequence[Sequence[T]], held_out: int, seed: int) -> dict[str, list[T]]:
    """Whole groups for each split, by a fixed shuffle.

    Args:
        groups: What belongs together, so that no group is in two splits. Groups of one are single examples.
        held_out: How many examples validation and test have at least; each ends with the group that reaches it.
        seed: Of the task, not of a run.
    """
    order = list(groups)
    random.Random(seed).shuffle(order)
    splits: dict[str, list[T]] = {name: [] for name in SPLITS}
    for group in order:
        name = next((name for name in ("validation", "test") if len(splits[name]) < held_out), "train")
        splits[name] += group
    return splits
