"""(IA)³ (Liu et al. 2022): one trained factor per feature of a module's output, or of its input in the MLP's last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrlora.studies.methods.peft_method import PeftMethod, PlacedSettings

if TYPE_CHECKING:
    from peft import IA3Config
    from torch import nn


class IA3(PeftMethod):
    """(IA)³ on all placed modules: more of them than the three per layer that the paper scales."""

    name = "ia3"
    Settings = PlacedSettings

    def config(self, model: nn.Module, targets: list[str] | str) -> IA3Config:
        """See :meth:`PeftMethod.config`."""
        from peft import IA3Config

        from lrlora.policies.placements import linear_module_names
        from lrlora.policies.roles import role_of

        model_type = getattr(getattr(model, "config", None), "model_type", None)
        down = [name for name in linear_module_names(model) if role_of(name, model_type) == "down"]
        if isinstance(targets, str):
            return IA3Config(target_modules=targets, feedforward_modules=down)
        # PEFT wants these among the targets, by the same names.
        within = [name for name in targets if any(f".{full}".endswith(f".{name}") for full in down)]
        return IA3Config(target_modules=targets, feedforward_modules=within)
