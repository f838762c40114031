"""AdaLoRA (Zhang et al. 2023): ΔW = BΛA, whose singular values are pruned while it trains, over all modules at once."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator
from transformers import TrainerCallback

from lrlora.studies.methods.peft_method import PeftMethod, PlacedSettings

if TYPE_CHECKING:
    from peft import AdaLoraConfig
    from torch import nn
    from transformers import TrainerControl, TrainerState, TrainingArguments


class AdaLoRASettings(PlacedSettings):
    """The fields of ``peft.AdaLoraConfig``, with the phases of its schedule as fractions of the run."""

    r: int = Field(8, ge=1, description="The average rank that is left: PEFT's target_r.")
    init_r: int | None = Field(None, ge=1, description="The rank at the start; without one, 1.5 r rounded up.")
    lora_alpha: float = Field(8.0, gt=0)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    exclude_modules: list[str] | str | None = None
    tinit: float = Field(0.1, ge=0, lt=1, description="The fraction of the steps before the first pruning.")
    tfinal: float = Field(0.3, ge=0, lt=1, description="The fraction of the steps after the last pruning.")
    deltaT: int = Field(1, ge=1, description="Steps from one pruning to the next.")  # PEFT's name
    beta1: float = Field(0.85, gt=0, lt=1)
    beta2: float = Field(0.85, gt=0, lt=1)
    orth_reg_weight: float = Field(0.5, ge=0)

    @model_validator(mode="after")
    def _has_a_schedule(self) -> AdaLoRASettings:
        if self.tinit + self.tfinal >= 1:
            raise ValueError(f"tinit + tfinal is below 1, or nothing is pruned (given: {self.tinit} + {self.tfinal})")
        if self.start_r < self.r:
            raise ValueError(f"init_r is at least r, from which it shrinks (given: init_r={self.init_r}, r={self.r})")
        return self

    @property
    def start_r(self) -> int:
        """The rank at the start."""
        return math.ceil(1.5 * self.r) if self.init_r is None else self.init_r


class AdaLoRA(PeftMethod):
    """AdaLoRA. The regulariser that keeps A and B orthogonal is part of the training loss, and of no other."""

    name = "adalora"
    Settings: ClassVar[type[AdaLoRASettings]] = AdaLoRASettings
    scales_with_rank = ("init_r",)
    settings: AdaLoRASettings

    def resolved(self) -> dict[str, Any]:
        """See :meth:`Method.resolved`."""
        return super().resolved() | {"init_r": self.settings.start_r}

    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        """Inject the adapter."""
        adapted = super().adapt(model, task_type)
        for name, parameter in adapted.named_parameters():
            if ".ranknum." in name:  # on the meta device PEFT makes this constant anew, as if it were trained
                parameter.requires_grad_(False)
        _regularise_training_alone(adapted, self.settings.orth_reg_weight)
        return adapted

    def config(self, model: nn.Module, targets: list[str] | str) -> AdaLoraConfig:
        """See :meth:`PeftMethod.config`. The schedule is set by :meth:`callbacks`, which knows the steps."""
        from peft import AdaLoraConfig

        own = self._own()
        del own["r"], own["init_r"], own["tinit"], own["tfinal"]
        return AdaLoraConfig(
            target_modules=targets, target_r=self.settings.r, init_r=self.settings.start_r, total_step=1, **own
        )

    def callbacks(self, model: nn.Module, steps: int) -> list[TrainerCallback]:
        """Set the schedule, and allocate ranks after every optimizer step."""
        config: Any = model.peft_config["default"]  # type: ignore[union-attr,index]
        config.total_step = steps
        config.tinit, config.tfinal = int(self.settings.tinit * steps), int(self.settings.tfinal * steps)
        return [_Allocation()]

    def training_state(self, model: nn.Module) -> dict[str, Any]:
        """See :meth:`Method.training_state`: the importance of singular values, and which are left."""
        config: Any = model.peft_config["default"]  # type: ignore[union-attr,index]
        allocator: Any = model.base_model.rankallocator  # type: ignore[union-attr]
        kept = {name: getattr(allocator, name) for name in _IMPORTANCE}
        return kept | {"rank_pattern": config.rank_pattern}

    def restore_training_state(self, model: nn.Module, state: dict[str, Any]) -> None:
        """See :meth:`Method.restore_training_state`."""
        config: Any = model.peft_config["default"]  # type: ignore[union-attr,index]
        config.rank_pattern = state["rank_pattern"]
        devices = {name: parameter.device for name, parameter in model.base_model.named_parameters()}  # type: ignore[union-attr]
        allocator: Any = model.base_model.rankallocator  # type: ignore[union-attr]
        for name in _IMPORTANCE:
            values = {key: value.to(devices.get(key, value.device)) for key, value in state[name].items()}
            setattr(allocator, name, values)

    def save(self, model: nn.Module, folder: Path) -> None:
        """See :meth:`Method.save`. The ranks that are left are in the configuration, as ``rank_pattern``."""
        with warnings.catch_warnings():
            # PEFT takes the matrices of a module that was pruned to rank 0 for those of a shard.
            warnings.filterwarnings("ignore", r".* LoRA tensor\(s\) have invalid shape")
            super().save(model, folder)


_IMPORTANCE = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""What PEFT's allocator keeps of each parameter, by the parameter's name."""


def _regularise_training_alone(model: nn.Module, weight: float) -> None:
    """PEFT adds the regulariser to every loss; that of an evaluation is to be the task's, as it is for all methods."""
    config: Any = model.peft_config["default"]  # type: ignore[union-attr,index]

    def before(module: nn.Module, _: Any) -> None:
        config.orth_reg_weight = weight if module.training else 0.0

    def after(*_: Any) -> None:
        config.orth_reg_weight = weight

    model.base_model.register_forward_pre_hook(before)  # type: ignore[union-attr,operator]
    model.base_model.register_forward_hook(after, always_call=True)  # type: ignore[union-attr,operator]


class _Allocation(TrainerCallback):  # type: ignore[misc]
    """Calls what PEFT leaves to the training loop, where the gradients are still there."""

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Judge the singular values and prune. Steps count from 1, so that the last one can end the pruning."""
        model.base_model.update_and_allocate(state.global_step + 1)  # type: ignore[union-attr,operator]
