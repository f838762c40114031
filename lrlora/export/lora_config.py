"""A LoRA configuration that means exactly these modules with these ranks.

PEFT matches names by their ends: a target ``"0"`` is also ``"block.0"``. Where a full name is the end of another
module's name, an expression that cannot be misread takes its place.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from peft import LoraConfig
from peft.utils.other import get_pattern_key


class Rank(NamedTuple):
    """Rank and ``lora_alpha`` of one module; LoRA's factor on the product is ``alpha / r``."""

    r: int
    alpha: float


def make_lora_config(ranks: Mapping[str, Rank], all_modules: Collection[str], **fields: Any) -> LoraConfig:
    """The configuration.

    The ranks and alphas that most modules have become the defaults, and the others patterns: with ``alpha = r``
    everywhere, a server that reads the defaults alone still scales by 1.

    Args:
        ranks: By full name of the module.
        all_modules: Names of all modules of the base model, which the targets are told apart from.
        fields: Further fields of ``LoraConfig``.
    """
    r, alpha = Counter(ranks.values()).most_common(1)[0][0]
    return LoraConfig(
        r=r,
        lora_alpha=_plain(alpha),
        target_modules=_targets(ranks, all_modules),
        rank_pattern=pattern_of({name: rank.r for name, rank in ranks.items()}, r),
        alpha_pattern=pattern_of({name: _plain(rank.alpha) for name, rank in ranks.items()}, _plain(alpha)),
        **fields,
    )


def _plain(alpha: float) -> Any:
    """A whole number where it is one: some readers expect no other."""
    return int(alpha) if float(alpha).is_integer() else float(alpha)


def _targets(names: Collection[str], all_modules: Collection[str]) -> list[str] | str:
    ends = {name.split(".", start)[-1] for name in all_modules for start in range(1, name.count(".") + 1)}
    if not ends & set(names):
        return sorted(names)
    return "(?:" + "|".join(re.escape(name) for name in sorted(names)) + ")"


def pattern_of(values: Mapping[str, Any], default: Any) -> dict[str, Any]:
    """What ``rank_pattern`` or ``alpha_pattern`` has to hold so that every module gets its value.

    Args:
        values: By full name of the module.
        default: What a module gets that no pattern fits.
    """
    pattern = {name: value for name, value in values.items() if value != default}
    if all(pattern.get(get_pattern_key(list(pattern), name), default) == value for name, value in values.items()):
        return pattern
    # "^" is what PEFT's own documentation has; the pattern is an expression, and the dots in it are meant literally.
    return {f"^{re.escape(name)}": value for name, value in pattern.items()}
