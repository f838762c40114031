"""Checks of a rank allocation: whole numbers that LoRA and LR-LoRA both take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from peft import LoraConfig

from lrlora.policies import RANKS, RankAllocation, allocate_ranks, resolve_target_modules
from lrlora.policies.roles import ROLES
from lrlora.testing.checks import Check, ConformanceError, Outcome, checks_of
from lrlora.testing.policies.adapters import BLOCKS, adapted, adapter_config
from lrlora.testing.policies.policy import policy_checks, require_conforming
from lrlora.testing.policies.tiny_models import TinyModel

LAYERS = (1, 2, 3, 12, 40)


def check_rank_allocation(
    allocation: str | RankAllocation, expected_failures: Mapping[str, str] | None = None
) -> list[Outcome]:
    """Run all checks of a rank allocation: its name, its spec, or itself.

    Raises:
        ConformanceError: With a line per failure.
    """
    return require_conforming(RANKS, allocation, expected_failures)


def check_ranks(allocation: RankAllocation) -> None:
    """A whole number of at least 1, for every r from 1 to 64, role and depth."""
    for r in range(1, 65):
        for role in ROLES:
            for layers in LAYERS:
                for depth in range(layers):
                    _check_rank(allocation.rank(r, role, depth, layers), r, role, depth, layers)


def check_unknown_roles(allocation: RankAllocation) -> None:
    """Where the role is not known it gives a rank, or says so in one line."""
    for r in (1, 8, 64):
        for layers in LAYERS:
            try:
                rank = allocation.rank(r, None, layers - 1, layers)
            except ValueError as error:
                if "\n" in str(error) or not str(error):
                    raise ConformanceError(
                        "where the role is None it raises a ValueError, but not of one line"
                    ) from error
            else:
                _check_rank(rank, r, None, layers - 1, layers)


def check_adapters_get_the_ranks(allocation: RankAllocation) -> None:
    """LR-LoRA and PEFT's LoRA have, in every adapted module, the rank that it gives."""
    for tiny in (BLOCKS, TinyModel("t5", layers=1)):
        base = tiny.build()
        names = resolve_target_modules(base)
        pattern = allocate_ranks(base, names, 8, allocation)
        wanted = {name: pattern.get(name, 8) for name in names}
        lora = LoraConfig(r=8, target_modules=names, rank_pattern=pattern)
        for method, config, factor in (
            ("LR-LoRA", adapter_config(tiny, r=8, rank_allocation=allocation), "lrlora_A"),
            ("LoRA", lora, "lora_A"),
        ):
            model = adapted(tiny, config)
            got = _ranks(model, factor)
            for name, rank in wanted.items():
                if got.get(name) != rank:
                    raise ConformanceError(f"{method} has rank {got.get(name)} in {name} of {tiny}, not {rank}")


def _ranks(model: Any, factor: str) -> dict[str, int]:
    found = {}
    for name, parameter in model.named_parameters():
        module, _, rest = name.removeprefix("base_model.model.").partition(f".{factor}.")
        if rest:
            found[module] = parameter.shape[0]
    return found


def _check_rank(rank: Any, r: int, role: str | None, depth: int, layers: int) -> None:
    if type(rank) is int and rank >= 1:  # the frequent case, of some ten thousand
        return
    where = f"rank(r={r}, role={role!r}, depth={depth}, num_layers={layers})"
    if not isinstance(rank, int) or isinstance(rank, bool):
        raise ConformanceError(f"{where} is {rank!r}, a {type(rank).__name__} and no whole number")
    raise ConformanceError(f"{where} is {rank}, less than 1")


def _probe(allocation: RankAllocation) -> dict[str, Any]:
    return {
        f"rank({r}, {role!r}, {depth}, 12)": allocation.rank(r, role, depth, 12)
        for r in (1, 8)
        for role in ROLES
        for depth in range(12)
    }


@checks_of.register(RankAllocation)
def _(allocation: RankAllocation) -> Iterator[Check]:
    own = [check_ranks, check_unknown_roles, check_adapters_get_the_ranks]
    return policy_checks(allocation, RANKS, _probe, BLOCKS, own)
