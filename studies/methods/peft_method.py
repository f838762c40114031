"""What PEFT's methods share: they adapt exactly the modules that an LR-LoRA variant of the same placement does."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from lrlora.studies.methods.method import Method
from lrlora.studies.spec.schema import Strict, validate

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn


class PlacedSettings(Strict):
    """Where the adapter goes: LR-LoRA's placement in place of module names."""

    target_modules: list[str] | str | None = None
    placement: str = Field("all", description="Which modules, by role, where target_modules is not given.")
    layers: str | list[int] = Field("all", description="In which layers, where target_modules is not given.")


class PeftMethod(Method):
    """A method of PEFT with checked settings.

    Attributes:
        name: How studies call it.
        Settings: Its fields.
        settings: Their values.
        rank_step: Its ranks are the multiples of this.
        scales_with_rank: Settings that keep their ratio to r when another r is looked for.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[PlacedSettings]]
    settings: PlacedSettings
    rank_step: ClassVar[int] = 1
    scales_with_rank: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **fields: Any) -> None:
        self.settings = validate(self.Settings, fields, f"method {self.name}")

    @classmethod
    def fields(cls) -> list[str]:
        """The fields of its settings."""
        return list(cls.Settings.model_fields)

    def resolved(self) -> dict[str, Any]:
        """See :meth:`Method.resolved`."""
        return self.settings.model_dump(mode="json")

    def adapt(self, model: nn.Module, task_type: str | None = "SEQ_CLS") -> nn.Module:
        """Inject PEFT's adapter."""
        from peft import get_peft_model

        config = self.config(model, self._targets(model))
        config.task_type = task_type
        return get_peft_model(model, config)  # type: ignore[arg-type]  # any module will do

    @abstractmethod
    def config(self, model: nn.Module, targets: list[str] | str) -> PeftConfig:
        """The configuration for PEFT, a new one at each call: PEFT writes into what it is given.

        Args:
            model: The backbone, not adapted yet; on the meta device when parameters are only counted.
            targets: What ``target_modules`` is to be.
        """

    def _targets(self, model: nn.Module) -> list[str] | str:
        from lrlora.policies import resolve_target_modules

        settings = self.settings
        if settings.target_modules is not None:
            return settings.target_modules
        return resolve_target_modules(model, settings.placement, settings.layers)

    def _own(self) -> dict[str, Any]:
        """The settings without those that say where the adapter goes."""
        return self.settings.model_dump(exclude=set(PlacedSettings.model_fields))


def is_meta(model: nn.Module) -> bool:
    """Whether the model has shapes only, so that nothing can be computed from its weights."""
    return any(parameter.is_meta for parameter in model.parameters())
