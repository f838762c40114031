"""Snapshots of the layers during a run: early, half-way and at the end, as in Appendix I of the LR-LoRA paper.

The paper takes them after 100, 1000 and 2000 of 2000 steps, which is 5, 50 and 100 per cent here. A snapshot reads the
adapter and changes nothing: a run with snapshots is bit by bit the run without them.
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
"""Shares of a run after which snapshots are taken."""

Snapshot = dict[str, Any]
"""``step``; ``share`` of the run; ``stable_rank`` by module; ``curves``: of the chosen modules, with where they are."""


class Snapshots(TrainerCallback):
    """Collects a :data:`Snapshot` at each of :data:`SHARES` of a run, at the end of a step.

    Args:
        model: The model that is trained.
        limits: Of the run; must precede this one among the callbacks.
        taken: Receives the snapshots.
    """

    def __init__(self, model: torch.nn.Module, limits: Limits, taken: list[Snapshot]) -> None:
        self._model, self._limits, self._taken = model, limits, taken
        self._waiting = list(SHARES)

    def state(self) -> dict[str, Any]:
        """Returns what :meth:`restore` takes."""
        return {"taken": self._taken, "waiting": self._waiting}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of an earlier process."""
        self._taken[:], self._waiting = state["taken"], state["waiting"]

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Take a snapshot, if one is due."""
        reached = [share for share in self._waiting if self._limits.share >= share - 1e-9]
        if reached:
            self._waiting = self._waiting[len(reached) :]
            self._taken.append({"step": state.global_step, "share": reached[-1], **snapshot_of(self._model)})


def snapshot_of(model: torch.nn.Module) -> Snapshot:
    """Returns the stable rank of every layer of an adapted model, and φ of a few."""
    from lrlora.analysis import stable_ranks

    ranks = {name: _rounded(rank) for name, rank in stable_ranks(model).items()}
    return {"stable_rank": ranks, "curves": representative_curves(model, list(ranks))}


def representative_curves(model: torch.nn.Module, modules: list[str]) -> list[dict[str, Any]]:
    """Returns the curves of φ in representative modules, each with its place; none for methods without φ.

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
    """Returns for each projection the modules in the first, the middle and the last layer in which it is adapted.

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
