"""Faulty sharings, scopes, placements, layer choices and rank allocations; see :mod:`faulty_policies`."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import ClassVar

from faulty_policies import found_by

from lrlora.policies import LayerChoice, Placement, RankAllocation, Scope, Sharing

# -- sharings and scopes ------------------------------------------------------------------------------------


@found_by("check_parts", "names holds 'omega', which is no part of θ")
@dataclass(frozen=True)
class SharesWhatIsNot(Sharing):
    @property
    def names(self) -> frozenset[str]:
        return frozenset({"grid", "omega"})

    def __post_init__(self) -> None:
        """Past the check that a sharing makes of itself."""


@found_by("check_parts", "not a set")
@dataclass(frozen=True)
class SharesAList(Sharing):
    @property
    def names(self) -> frozenset[str]:
        return ["grid"]  # type: ignore[return-value]

    def __post_init__(self) -> None:
        """Past the check that a sharing makes of itself."""


@found_by("check_groups", "a NoneType and no str")
@dataclass(frozen=True)
class NoGroupOutside(Scope):
    def group(self, module_name: str) -> str:
        return "a block" if "layers" in module_name or "block" in module_name else None  # type: ignore[return-value]


@found_by("check_repeatable", "answers differently")
@dataclass(frozen=True)
class GroupsByTurn(Scope):
    calls: ClassVar[itertools.count[int]] = itertools.count()

    def group(self, module_name: str) -> str:
        return str(next(self.calls) % 2)


# -- places -------------------------------------------------------------------------------------------------


@found_by("check_roles", "names holds 'query', which is no role")
@dataclass(frozen=True)
class MisnamedRole(Placement):
    roles: str = "q"

    @property
    def names(self) -> frozenset[str]:
        return frozenset({"query", "v"})

    def __post_init__(self) -> None:
        """Past the check that a placement makes of itself."""


@found_by("check_roles", "not a set of at least 1")
@dataclass(frozen=True)
class NoRole(Placement):
    roles: str = "q"

    @property
    def names(self) -> frozenset[str]:
        return frozenset(set(self.roles.split("+")) - {"q"})

    def __post_init__(self) -> None:
        """Past the check that a placement makes of itself."""


@found_by("check_choice", "is 1, a int and no bool")
@dataclass(frozen=True)
class CountsLayers(LayerChoice):
    def has(self, index: int, num_layers: int) -> bool:
        return index % 2 + 1  # type: ignore[return-value]


@found_by("check_choice", "no layer of any model")
@dataclass(frozen=True)
class BeyondTheLast(LayerChoice):
    def has(self, index: int, num_layers: int) -> bool:
        return index >= num_layers


@found_by("check_repeatable", "answers differently")
@dataclass(frozen=True)
class TossesACoin(LayerChoice):
    generator: ClassVar[random.Random] = random.Random()

    def has(self, index: int, num_layers: int) -> bool:
        return self.generator.random() < 0.5


# -- ranks --------------------------------------------------------------------------------------------------


@found_by("check_ranks", "rank(r=1, role='q', depth=0, num_layers=1) is 0, less than 1")
@dataclass(frozen=True)
class HalfTheRank(RankAllocation):
    def rank(self, r: int, role: str | None, depth: int, num_layers: int) -> int:
        return r // 2


@found_by("check_ranks", "a float and no whole number")
@dataclass(frozen=True)
class FractionalRank(RankAllocation):
    def rank(self, r: int, role: str | None, depth: int, num_layers: int) -> int:
        return max(1, r * (1 - depth / num_layers))  # type: ignore[return-value]


@found_by("check_ranks", "KeyError")
@dataclass(frozen=True)
class LooksTheRoleUp(RankAllocation):
    def rank(self, r: int, role: str | None, depth: int, num_layers: int) -> int:
        return r if role is not None else {"q": r}[role]  # type: ignore[index]


@found_by("check_ranks", "raises ValueError: no roles here")
@dataclass(frozen=True)
class RefusesARole(RankAllocation):
    def rank(self, r: int, role: str | None, depth: int, num_layers: int) -> int:
        if role == "q":
            raise ValueError("no roles here")
        return r


@found_by("check_resolves", "a refusal is one line")
@dataclass(frozen=True)
class NowhereToBeFound(Placement):
    roles: str = "q"

    @property
    def names(self) -> frozenset[str]:
        raise ValueError("nothing\nto be found")

    def __post_init__(self) -> None:
        """Past the check that a placement makes of itself."""
