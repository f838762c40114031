"""The PEFT tuner: which modules are adapted, with what rank and which θ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, _maybe_include_all_linear_layers
from peft.utils.other import get_pattern_key
from torch import nn
from transformers.pytorch_utils import Conv1D

from lrlora.policies import Start, allocate_ranks, depth_of, resolve_target_modules
from lrlora.policies.placements import count_layers, linear_module_names
from lrlora.tuner.config import LRLoraConfig
from lrlora.tuner.fits import FitGroup
from lrlora.tuner.layer import Linear, LRLoraLayer
from lrlora.tuner.theta import Amplitude, Bandwidth, GridPoints

M = TypeVar("M", bound=nn.Module)


class LRLoraModel(BaseTuner):
    """Adapts a model with LR-LoRA. Made by ``peft.get_peft_model``; see :class:`LRLoraConfig` for the options."""

    prefix: str = "lrlora_"
    tuner_layer_cls = LRLoraLayer
    # Where no targets are named the placement decides, by role, and not a table of names.
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def _prepare_adapter_config(self, peft_config: LRLoraConfig, model_config: dict[str, Any]) -> LRLoraConfig:
        """Turn placement, layers and rank allocation into target modules and a rank pattern.

        Doing so once more, as loading does, changes nothing: what was resolved is intersected with itself.
        """
        placement, layers = peft_config.policy("placement"), peft_config.policy("layers")
        targets = peft_config.target_modules
        if targets is None:
            names = resolve_target_modules(self.model, placement, layers)
            if (wanted := peft_config.layers_to_transform) is not None:
                indices = [wanted] if isinstance(wanted, int) else wanted
                names = [name for name in names if depth_of(name) in indices]
            peft_config.target_modules = set(names)  # type: ignore[assignment]  # a set, as in PEFT's own configs
        elif not (_is_all(peft_config.placement) and _is_all(peft_config.layers)):
            among = self._named_by_targets(peft_config)
            peft_config.target_modules = set(resolve_target_modules(self.model, placement, layers, among))  # type: ignore[assignment]
        if peft_config.rank_allocation != "uniform":
            allocated = allocate_ranks(
                self.model, self._named_by_targets(peft_config), peft_config.r, peft_config.policy("rank_allocation")
            )
            given = peft_config.rank_pattern
            new = {name: r for name, r in allocated.items() if get_pattern_key(list(given), name) not in given}
            peft_config.rank_pattern = {**given, **new}
        return peft_config

    def _named_by_targets(self, config: LRLoraConfig) -> list[str]:
        config = _maybe_include_all_linear_layers(config, self.model)
        return [name for name in linear_module_names(self.model) if self._check_target_module_exists(config, name)]

    def _prepare_model(self, peft_config: LRLoraConfig, model: nn.Module) -> None:
        super()._prepare_model(peft_config, model)
        self._injection = _Injection(count_layers(linear_module_names(model)))

    def _create_and_replace(
        self,
        peft_config: LRLoraConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        r = peft_config.rank_pattern.get(get_pattern_key(peft_config.rank_pattern.keys(), current_key), peft_config.r)
        alpha = peft_config.alpha_pattern.get(
            get_pattern_key(peft_config.alpha_pattern.keys(), current_key), peft_config.lora_alpha
        )
        theta = self._theta(peft_config, current_key)
        fits = self._injection.fits = self._injection.fits or FitGroup(adapter_name)
        if isinstance(target, LRLoraLayer):
            target.update_layer(adapter_name, peft_config, r=r, lora_alpha=alpha, theta=theta, fits=fits)
            return
        base = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
        if not (isinstance(base, Conv1D) or (hasattr(base, "in_features") and hasattr(base, "out_features"))):
            raise ValueError(
                f"target module {current_key!r} is a {type(base).__name__}; LR-LoRA adapts linear modules "
                "(torch.nn.Linear and transformers' Conv1D)"
            )
        new_module = Linear(target, adapter_name, peft_config, r=r, lora_alpha=alpha, theta=theta, fits=fits)
        if adapter_name not in self.active_adapters:
            new_module.requires_grad_(False)  # an adapter that is added to others does not train until it is set active
        self._replace_module(parent, target_name, new_module, target)

    # -- θ, which adapters may share ------------------------------------------------------------------------

    def _theta(self, config: LRLoraConfig, module_name: str) -> tuple[Amplitude, Bandwidth, GridPoints]:
        """The modules of θ for one adapted weight: those its group shares, where there are any yet, else new ones."""
        depth = (depth_of(module_name) or 0) / max(1, self._injection.num_layers - 1)
        n = config.num_grid_points
        grid_policy, positive = config.policy("grid"), config.policy("bandwidth_parameterization")

        # Made in float64 on the CPU, whatever the defaults are and also where PEFT makes empty weights: an
        # initialisation computes with them.
        with torch.device("cpu"):
            points = grid_policy.points(n, config.grid_bound)
            omega = torch.full((n,), config.policy("bandwidth_init").value(depth), dtype=torch.float64)
            start = Start(config.make_basis(), points, omega, config.grid_bound, depth)
            values = config.policy("amplitude_init").values(start)

        def shared(part: str, make: Callable[[], M]) -> M:
            if part not in config.policy("sharing").names:
                return make()
            group = config.policy("sharing_scope").group(module_name)
            key = (part, group)
            if key not in self._injection.shared:
                self._injection.shared[key] = make()
            return self._injection.shared[key]  # type: ignore[return-value]

        return (
            shared("amplitude", lambda: Amplitude(values)),
            shared("bandwidth", lambda: Bandwidth(omega, positive)),
            shared("grid", lambda: GridPoints(points, grid_policy.learned)),
        )


@dataclass
class _Injection:
    """What the layers of the adapter that is being added have in common.

    Attributes:
        num_layers: Of the model.
        fits: What they are fitted in.
        shared: Modules of θ by part and by group of the sharing scope.
    """

    num_layers: int
    fits: FitGroup | None = None
    shared: dict[tuple[str, str], nn.Module] = field(default_factory=dict)


def _is_all(value: object) -> bool:
    return isinstance(value, str) and value == "all"
