"""Which layers of the model are adapted. Layers count from 0, in an encoder and in a decoder each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lrlora.bases.options import integer
from lrlora.policies.kind import PolicyKind


class LayerChoice(ABC):
    """Chooses layers by index."""

    @abstractmethod
    def has(self, index: int, num_layers: int) -> bool:
        """Whether the layer is adapted."""


def _from_list(value: Any) -> LayerChoice | None:
    if not isinstance(value, Sequence):
        return None
    if not value:
        raise ValueError(f"layers must name at least one layer, got {value!r}")
    return Indices("+".join(str(integer(f"layers[{i}]", index, least=0)) for i, index in enumerate(value)))


LAYER_CHOICES: PolicyKind[LayerChoice] = PolicyKind(
    LayerChoice,
    field="layers",
    group="lrlora.layers",
    check="check_layer_choice",
    default="all",
    about="Which layers are adapted; a list is one of indices.",
    shorthand=_from_list,
)


@LAYER_CHOICES.builtin("all")
@dataclass(frozen=True)
class All(LayerChoice):
    """Every layer."""

    def has(self, index: int, num_layers: int) -> bool:
        return True


@LAYER_CHOICES.builtin("odd")
@dataclass(frozen=True)
class Odd(LayerChoice):
    """Layers 1, 3, 5, …"""

    def has(self, index: int, num_layers: int) -> bool:
        return index % 2 == 1


@LAYER_CHOICES.builtin("even")
@dataclass(frozen=True)
class Even(LayerChoice):
    """Layers 0, 2, 4, …"""

    def has(self, index: int, num_layers: int) -> bool:
        return index % 2 == 0


@LAYER_CHOICES.builtin("first_last")
@dataclass(frozen=True)
class FirstLast(LayerChoice):
    """The first K layers and the last K.

    Args:
        k: K, at least 1.
    """

    k: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", integer("k of layers 'first_last'", self.k, least=1))

    def has(self, index: int, num_layers: int) -> bool:
        return index < self.k or index >= num_layers - self.k


@LAYER_CHOICES.builtin("indices")
@dataclass(frozen=True)
class Indices(LayerChoice):
    """An explicit list. A list of integers in the config means this one.

    Args:
        chosen: Indices joined by ``+``, such as ``"0+3+5"``.
    """

    chosen: str | int

    def __post_init__(self) -> None:
        if not all(part.isdigit() for part in str(self.chosen).split("+")):
            raise ValueError(f"layers must be indices joined by '+', as in 'indices:0+3', got {self.chosen!r}")

    def has(self, index: int, num_layers: int) -> bool:
        return str(index) in str(self.chosen).split("+")
