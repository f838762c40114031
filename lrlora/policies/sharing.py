"""Which parts of θ adapters share, and how widely."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

from lrlora.policies.roles import depth_of, stack_of

PARTS = ("grid", "bandwidth", "amplitude")


@dataclass(frozen=True)
class Sharing:
    """The parts of θ that adapters within one scope have in common.

    Args:
        parts: Names of parts joined by ``+``, such as ``"grid+bandwidth"``; the empty string for none.
    """

    parts: str = ""

    def __post_init__(self) -> None:
        unknown = self.names - set(PARTS)
        if unknown:
            raise ValueError(f"unknown part of θ {sorted(unknown)[0]!r} in sharing (known: {', '.join(PARTS)})")

    @property
    def names(self) -> frozenset[str]:
        """The shared parts."""
        return frozenset(part for part in self.parts.split("+") if part)


def nothing() -> Sharing:
    """Every adapter has its own θ, as published."""
    return Sharing()


def grid() -> Sharing:
    """One grid."""
    return Sharing("grid")


def bandwidth() -> Sharing:
    """One set of bandwidths."""
    return Sharing("bandwidth")


def amplitude() -> Sharing:
    """One set of amplitudes."""
    return Sharing("amplitude")


def everything() -> Sharing:
    """One φ."""
    return Sharing("+".join(PARTS))


class Scope(ABC):
    """Divides the adapted weights into groups; what is shared is shared within a group."""

    @abstractmethod
    def group(self, module_name: str) -> str:
        """The group of a module, from its full name."""


@dataclass(frozen=True)
class AllAdapters(Scope):
    """One group."""

    def group(self, module_name: str) -> str:
        """See :meth:`Scope.group`."""
        return ""


@dataclass(frozen=True)
class PerProjection(Scope):
    """One group per type of projection: all query projections, all down projections, …"""

    def group(self, module_name: str) -> str:
        """See :meth:`Scope.group`."""
        # The name with the layer's index, and any expert's, taken out.
        return re.sub(r"\.\d+(?=\.|$)", "", module_name)


@dataclass(frozen=True)
class PerLayer(Scope):
    """One group per layer of the model; layers of an encoder and of a decoder differ. Modules outside form one more."""

    def group(self, module_name: str) -> str:
        """See :meth:`Scope.group`."""
        return f"{stack_of(module_name)}.{depth_of(module_name)}"
