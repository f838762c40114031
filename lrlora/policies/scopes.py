"""How widely parts of θ are shared, where they are."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

from lrlora.policies.kind import PolicyKind
from lrlora.policies.roles import depth_of, stack_of


class Scope(ABC):
    """Divides the adapted weights into groups; what is shared is shared within a group."""

    @abstractmethod
    def group(self, module_name: str) -> str:
        """The group of a module, from its full name."""


SCOPES: PolicyKind[Scope] = PolicyKind(
    Scope,
    field="sharing_scope",
    group="lrlora.sharing_scopes",
    check="check_sharing_scope",
    default="all",
    about="How widely the parts of θ are shared.",
)


@SCOPES.builtin("all")
@dataclass(frozen=True)
class AllAdapters(Scope):
    """One group."""

    def group(self, module_name: str) -> str:
        return ""


@SCOPES.builtin("projection")
@dataclass(frozen=True)
class PerProjection(Scope):
    """One group per type of projection: all query projections, all down projections, …"""

    def group(self, module_name: str) -> str:
        # The name with the layer's index, and any expert's, taken out.
        return re.sub(r"\.\d+(?=\.|$)", "", module_name)


@SCOPES.builtin("layer")
@dataclass(frozen=True)
class PerLayer(Scope):
    """One group per layer of the model; layers of an encoder and of a decoder differ. Modules outside form one more."""

    def group(self, module_name: str) -> str:
        return f"{stack_of(module_name)}.{depth_of(module_name)}"
