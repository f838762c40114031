"""Looks at the layers while a run goes on: early, half-way and at the end, as the LR-LoRA paper's Appendix I has them.

The paper looks after 100, 1000 and 2000 of 2000 steps, which is 5, 50 and 100 per cent here. A look reads the adapter
and changes nothing: a run with looks is bit by bit the run without them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lrlora.policies.roles import depth_of, role_of
from lrlora.studies.training.limits import Limits

if TYPE_CHECKING:
    from lrlora.analysis import TransferCurve

SHARES = (0.05, 0.5, 1.0)
"""Of a run, after which it is looked at."""

Snapshot = dict[str, Any]
"""``step``; ``share`` of the run; ``stable_rank`` by module; ``curves``: of the chosen modules, with where they are."""


class Snapshots(TrainerCallback):
    """Collects a :data:`Snapshot` at each of :data:`SHARES` of a run, or as soon after it as a step ends.

    Args:
        model: What is trained.
        limits: Of the run; it has to come before this one among the callbacks.
        taken: Where the snapshots go.
    """

    def __init__(self, model: torch.nn.Module, limits: Limits, taken: list[Snapshot]) -> None:
        self._model, self._limits, self._taken = model, limits, taken
        self._waiting = list(SHARES)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Look, if it is time."""
        reached = [share for share in self._waiting if self._limits.share >= share - 1e-9]
        if reached:
            self._waiting = self._waiting[len(reached) :]
            self._taken.append({"step": state.global_step, "share": reached[-1], **look_at(self._model)})


def look_at(model: torch.nn.Module) -> Snapshot:
    """What is recorded of an adapted model at one time: the stable rank of every layer, and the φ of a few."""
    from lrlora.analysis import stable_ranks

    ranks = {name: _rounded(rank) for name, rank in stable_ranks(model).items()}
    return {"stable_rank": ranks, "curves": representative_curves(model, list(ranks))}


def representative_curves(model: torch.nn.Module, modules: list[str]) -> list[dict[str, Any]]:
    """The curves of φ in the modules that stand for the others, each with where it is; none of other methods.

    Args:
        model: An adapted model.
        modules: Full names of its adapted modules.
    """
    from lrlora.analysis import layer_curves

    chosen = representative(modules, getattr(getattr(model, "config", None), "model_type", None))
    curves = layer_curves(model, modules=chosen)
    drawn = {name: dataclasses.asdict(curve) for name, curve in curves.items() if _is_finite(curve)}
    return [{"module": name, **chosen[name], **curve} for name, curve in drawn.items()]


def representative(modules: list[str], model_type: str | None) -> dict[str, dict[str, Any]]:
    """Of each projection the module in the first, the middle and the last layer that it is adapted in.

    Args:
        modules: Full names.
        model_type: Of the model's configuration, by which roles are known.

    Returns:
        By module: ``role``, ``depth`` and ``place``, which is ``"early"``, ``"middle"`` or ``"late"``. Modules without
        a role or outside the layers are left out.
    """
    by_role: dict[str, dict[int, str]] = {}
    for name in modules:
        role, depth = role_of(name, model_type), depth_of(name)
        if role is not None and depth is not None:
            by_role.setdefault(role, {}).setdefault(depth, name)  # the first of several stacks or attentions
    chosen: dict[str, dict[str, Any]] = {}
    for role, found in by_role.items():
        depths = sorted(found)
        places = {depths[0]: "early", depths[len(depths) // 2]: "middle", depths[-1]: "late"}
        for depth, place in places.items():
            chosen[found[depth]] = {"role": role, "depth": depth, "place": place}
    return chosen


def _is_finite(curve: TransferCurve) -> bool:
    return all(map(math.isfinite, (*curve.values, curve.slope)))


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None  # JSON has no NaN
