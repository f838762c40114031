"""Which layers of the model are adapted. Layers count from 0, in an encoder and in a decoder each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


class LayerChoice(ABC):
    """Chooses layers by index."""

    @abstractmethod
    def has(self, index: int, num_layers: int) -> bool:
        """Whether the layer is adapted."""


@dataclass(frozen=True)
class All(LayerChoice):
    """Every layer."""

    def has(self, index: int, num_layers: int) -> bool:
        """See :meth:`LayerChoice.has`."""
        return True


@dataclass(frozen=True)
class Odd(LayerChoice):
    """Layers 1, 3, 5, …"""

    def has(self, index: int, num_layers: int) -> bool:
        """See :meth:`LayerChoice.has`."""
        return index % 2 == 1


@dataclass(frozen=True)
class Even(LayerChoice):
    """Layers 0, 2, 4, …"""

    def has(self, index: int, num_layers: int) -> bool:
        """See :meth:`LayerChoice.has`."""
        return index % 2 == 0


@dataclass(frozen=True)
class FirstLast(LayerChoice):
    """The first K layers and the last K.

    Args:
        k: K, at least 1.
    """

    k: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.k, int) or self.k < 1:
            raise ValueError(f"first_last takes a whole number of layers of at least 1, not {self.k!r}")

    def has(self, index: int, num_layers: int) -> bool:
        """See :meth:`LayerChoice.has`."""
        return index < self.k or index >= num_layers - self.k


@dataclass(frozen=True)
class Indices(LayerChoice):
    """An explicit list. A list of integers in the config means this one.

    Args:
        chosen: Indices joined by ``+``, such as ``"0+3+5"``.
    """

    chosen: str | int

    def __post_init__(self) -> None:
        if not all(part.isdigit() for part in str(self.chosen).split("+")):
            raise ValueError(f"layers are given by indices joined by '+', such as '0+3', not {self.chosen!r}")

    def has(self, index: int, num_layers: int) -> bool:
        """See :meth:`LayerChoice.has`."""
        return str(index) in str(self.chosen).split("+")
