"""Faulty sharings, scopes, placements, layer choices and rank allocations; see :mod:`faulty_policies`."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import ClassVar

from faulty_policies import caught_by

from lrlora.policies import LayerChoice, Placement, RankAllocation, Scope, Sharing

# -- sharings and scopes ------------------------------------------------------------------------------------


@caught_by("check_parts", "names holds 'omega', which is no part of θ")
@dataclass(frozen=True)
class SharesWhatIsNot(Sharing):
    @property
    def names(self) -> frozenset[str]:
        return frozenset({"grid", "omega"})

    def __post_init__(self) -> None:
        """Past the check that a sharing makes of itself."""


@caught_by("check_parts", "a list and no set")
@dataclass(frozen=True)
class SharesAList(Sharing):
    @property
    def names(self) -> frozenset[str]:
        return ["grid"]  # type: ignore[return-value]

    def __post_init__(self) -> None:
        """Past the check that a sharing makes of itself."""


@caught_by("check_one_tensor_where_shared", "the amplitude with another, against what it says")
@dataclass(frozen=True)
class SharesAtTimes(Sharing):
    """Says another thing at every second question."""

    calls: ClassVar[itertools.count[int]] = itertools.count()

    @property
    def names(self) -> frozenset[str]:
        return frozenset({"amplitude"} if next(self.calls) % 2 else set())


@caught_by("check_groups", "a NoneType and no str")
@dataclass(frozen=True)
class NoGroupOutside(Scope):
    def group(self, module_name: str) -> str:
        return "a block" if "layers" in module_name or "block" in module_name else None  # type: ignore[return-value]


@caught_by("check_groups", "at first and")
@dataclass(frozen=True)
class GroupsByTurn(Scope):
    calls: ClassVar[itertools.count[int]] = itertools.count()

    def group(self, module_name: str) -> str:
        return str(next(self.calls) % 2)


# -- places -------------------------------------------------------------------------------------------------


@caught_by("check_roles", "unknown role 'query'")
@dataclass(frozen=True)
class MisnamedRole(Placement):
    roles: str = "q"

    @property
    def names(self) -> frozenset[str]:
        return frozenset({"query", "v"})

    def __post_init__(self) -> None:
        """Past the check that a placement makes of itself."""


@caught_by("check_roles", "not a set of at least one role")
@dataclass(frozen=True)
class NoRole(Placement):
    roles: str = "q"

    @property
    def names(self) -> frozenset[str]:
        return frozenset(set(self.roles.split("+")) - {"q"})

    def __post_init__(self) -> None:
        """Past the check that a placement makes of itself."""


@caught_by("check_choice", "is 1, a int and no bool")
@dataclass(frozen=True)
class CountsLayers(LayerChoice):
    def has(self, index: int, num_layers: int) -> bool:
        return index % 2 + 1  # type: ignore[return-value]


@caught_by("check_chooses_any", "no layer of any model")
@dataclass(frozen=True)
class BeyondTheLast(LayerChoice):
    def has(self, index: int, num_layers: int) -> bool:
        return index >= num_layers


@caught_by("check_choice", "ZeroDivisionError")
@dataclass(frozen=True)
class MiddleThird(LayerChoice):
    def has(self, index: int, num_layers: int) -> bool:
        return 0.3 < index / (num_layers - 1) < 0.7


@caught_by("check_repeatable", "answers differently")
@dataclass(frozen=True)
class TossesACoin(LayerChoice):
    generator: ClassVar[random.Random] = random.Random()

    def has(self, index: int, num_layers: int) -> bool:
        return self.generator.random() < 0.5


# -- ranks --------------------------------------------------------------------------------------------------


@caught_by("check_ranks", "rank(r=1, role='q', depth=0, num_layers=1) is 0, less than 1")
@dataclass(frozen=True)
class HalfTheRank(RankAllocation):
    def rank(self, r: int, role: str | None, depth: int, num_layers: int) -> int:
        return r // 2


@caught_by("check_ranks", "a float and no whole number")
@dataclass(frozen=True)
class FractionalRank(RankAllocation):
    def rank(self, r: int, role: str | None, depth: int, num_layers: int) -> int:
        return max(1, r * (1 - depth / num_layers))  # type: ignore[return-value]


@caught_by("check_ranks", "ZeroDivisionError")
@dataclass(frozen=True)
class NoSingleLayer(RankAllocation):
    def rank(self, r: int, role: str | None, depth: int, num_layers: int) -> int:
        return max(1, round(r * (1 - depth / (num_layers - 1))))


@caught_by("check_unknown_roles", "KeyError")
@dataclass(frozen=True)
class LooksTheRoleUp(RankAllocation):
    def rank(self, r: int, role: str | None, depth: int, num_layers: int) -> int:
        return r if role is not None else {"q": r}[role]  # type: ignore[index]
