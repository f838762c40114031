"""Matched budgets: the rank at which a method trains as many parameters as another, so that size alone wins nothing."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lrlora.studies.errors import StudyError
from lrlora.studies.methods import make_method

if TYPE_CHECKING:
    from torch import nn

LARGEST_RANK = 4096


class Match(NamedTuple):
    """A configuration of matched size.

    Attributes:
        config: The method's configuration, with the rank that was found.
        parameters: How many parameters its adapter trains.
    """

    config: dict[str, Any]
    parameters: int


def adapter_parameters(config: Mapping[str, Any], model: nn.Module, where: str) -> int:
    """How many parameters a method's adapter trains in a model; heads and what else PEFT trains beside it not counted.

    Args:
        config: ``{"method": name, field: value, ...}``.
        model: The backbone, which stays as it is; on the meta device, nothing is computed.
        where: What the configuration is called in messages.

    Raises:
        StudyError: The configuration cannot be, or not on this model.
    """
    from lrlora.analysis import count_parameters

    method = make_method(config, where)
    try:
        return count_parameters(method.adapt(copy.deepcopy(model), task_type=None)).adapter
    except ValueError as error:
        raise StudyError(f"{where}: {' '.join(str(error).split())}") from None


def match_parameters(config: Mapping[str, Any], target: int, model: nn.Module, where: str = "matching") -> Match:
    """The configuration of a method whose adapter's parameters come nearest to a number, by its ``r`` alone.

    What scales with r by the method's own rule keeps its ratio to it: AdaLoRA's ``init_r``, RandLoRA's
    ``randlora_alpha``. Of ranks that come equally near, the smallest is taken. The search halves, which finds the best
    rank where parameters grow with r, or shrink as RandLoRA's do; LoKr's fall where a factor becomes a full matrix, and
    there it is the best of those tried.

    Args:
        config: ``{"method": name, field: value, ...}``; its ``r`` is replaced.
        target: The number of parameters, of the adapter alone.
        model: The backbone, as for :func:`adapter_parameters`.
        where: What the configuration is called in messages.

    Raises:
        StudyError: The method has no ``r``, its configuration cannot be, or not on this model.
    """
    method = make_method(config, where)
    if "r" not in method.fields():
        raise StudyError(f"{where}: method {config['method']} has no r, by which its parameters could be matched")
    if target < 1:
        raise StudyError(f"{where}: the number of parameters to match is at least 1, not {target}")
    step = getattr(method, "rank_step", 1)
    scaled = [key for key in getattr(method, "scales_with_rank", ()) if config.get(key) is not None]
    found: dict[int, Match | None] = {}

    def parameters(multiple: int) -> int | None:
        """None where the rank is too large for the model, as MiSS has it."""
        if multiple not in found:
            r = step * multiple
            chosen = {**config, "r": r}
            for key in scaled:
                chosen[key] = max(1, round(config[key] * r / method.resolved()["r"]))
            try:
                found[multiple] = Match(chosen, adapter_parameters(chosen, model, where))
            except StudyError:
                if multiple == 1:
                    raise
                found[multiple] = None
        match = found[multiple]
        return None if match is None else match.parameters

    low, high = 1, 2
    while high < LARGEST_RANK // step and _is_beyond(target, parameters(low), parameters(high)):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _is_beyond(target, parameters(low), parameters(middle)):
            low = middle
        else:
            high = middle
    for multiple in (low, high):
        parameters(multiple)
    matches = [match for match in found.values() if match is not None]
    return min(matches, key=lambda match: (abs(match.parameters - target), match.config["r"]))


def _is_beyond(target: int, low: int | None, high: int | None) -> bool:
    """Whether a number lies past both of two, in the direction from the first to the second."""
    if low is None or high is None or min(low, high) <= target <= max(low, high):
        return False
    return abs(high - target) <= abs(low - target)
