"""How the rank r is spread over the adapted weights (Adaptive LoRA, Section 3.1), for plain LoRA too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from lrlora.bases.options import integer
from lrlora.policies.kind import PolicyKind
from lrlora.policies.placements import layer_counts, linear_module_names
from lrlora.policies.roles import ATTENTION, depth_of, model_type_of, role_of, stack_of


class RankAllocation(ABC):
    """Gives each adapted weight its rank."""

    @abstractmethod
    def rank(self, r: int, role: str | None, depth: int, num_layers: int) -> int:
        """The rank of a weight, at least 1.

        Args:
            r: The base rank.
            role: The weight's role, or None where the family is not known.
            depth: Its layer, from 0.
            num_layers: The number of layers of its stack: an encoder and a decoder count apart.
        """


RANKS: PolicyKind[RankAllocation] = PolicyKind(
    RankAllocation,
    field="rank_allocation",
    group="lrlora.ranks",
    check="check_rank_allocation",
    default="uniform",
    about="How r is spread over the modules; rank_pattern goes first.",
)


@RANKS.builtin("uniform")
@dataclass(frozen=True)
class Uniform(RankAllocation):
    """r everywhere."""

    def rank(self, r: int, role: str | None, depth: int, num_layers: int) -> int:
        return r


@RANKS.builtin("linear_decay")
@dataclass(frozen=True)
class LinearDecay(RankAllocation):
    """From r in the first layer down to ``r_min`` in the last.

    Args:
        r_min: The least rank; r itself where that is less.
    """

    r_min: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "r_min", integer("r_min of rank_allocation 'linear_decay'", self.r_min, least=1))

    def rank(self, r: int, role: str | None, depth: int, num_layers: int) -> int:
        least = min(self.r_min, r)
        return max(least, round(r - (r - least) * depth / max(1, num_layers - 1)))


@RANKS.builtin("attention_heavy")
@dataclass(frozen=True)
class AttentionHeavy(RankAllocation):
    """r in the attention, half of it in the MLP.

    Args:
        r_min: The least rank in the MLP; r itself where that is less.
    """

    r_min: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "r_min", integer("r_min of rank_allocation 'attention_heavy'", self.r_min, least=1))

    def rank(self, r: int, role: str | None, depth: int, num_layers: int) -> int:
        if role is None:
            raise ValueError("rank_allocation='attention_heavy' needs the roles of modules, which are not known here")
        return r if role in ATTENTION else max(min(self.r_min, r), r // 2)


@RANKS.builtin("empirical")
@dataclass(frozen=True)
class Empirical(RankAllocation):
    """0.6 r in the first 30 % of the layers, 1.2 r in the next 40 %, r in the rest."""

    def rank(self, r: int, role: str | None, depth: int, num_layers: int) -> int:
        factor = 0.6 if depth < 0.3 * num_layers else 1.2 if depth < 0.7 * num_layers else 1.0
        return max(1, round(r * factor))


def allocate_ranks(
    model: nn.Module, module_names: Sequence[str], r: int, allocation: str | RankAllocation = "uniform"
) -> dict[str, int]:
    """Returns a ``rank_pattern`` for any PEFT config: full module names to ranks, for those whose rank is not r.

    Args:
        model: The base model.
        module_names: The adapted modules, from :func:`resolve_target_modules`.
        r: The base rank.
        allocation: The policy.
    """
    policy = RANKS.create(allocation)
    model_type = model_type_of(model)
    counts = layer_counts(linear_module_names(model))
    ranks = {
        name: policy.rank(r, role_of(name, model_type), depth_of(name) or 0, counts.get(stack_of(name), 1))
        for name in module_names
    }
    return {name: rank for name, rank in ranks.items() if rank != r}
