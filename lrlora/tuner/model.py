"""The PEFT tuner: which modules are adapted, with what rank and which θ."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from peft.config import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, _maybe_include_all_linear_layers
from peft.utils.constants import INCLUDE_LINEAR_LAYERS_SHORTHAND, MIN_TARGET_MODULES_FOR_OPTIMIZATION
from peft.utils.other import get_pattern_key
from torch import Tensor, nn

from lrlora.policies import Start, allocate_ranks, resolve_target_modules
from lrlora.policies.placements import layer_counts, linear_module_names, relative_depth, warn_of_bare_weights
from lrlora.tuner.checkpoint import state_to_load, state_to_save, with_present_keys
from lrlora.tuner.config import LRLoraConfig
from lrlora.tuner.fsdp import check_units
from lrlora.tuner.layer import LRLoraLayer, layers_with
from lrlora.tuner.names import check_adapter_name
from lrlora.tuner.quantized import backend_of, check_mergeable
from lrlora.tuner.targets import check_is_called, layer_class
from lrlora.tuner.theta import Amplitude, Bandwidth, GridPoints, Part, Shape
from lrlora.tuner.weighted import add_weighted_adapter


class LRLoraModel(BaseTuner):
    """Adapts a model with LR-LoRA. Made by ``peft.get_peft_model``; see :class:`LRLoraConfig` for the options."""

    prefix: str = "lrlora_"
    tuner_layer_cls = LRLoraLayer
    # Where no targets are named the placement decides, by role, and not a table of names.
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def _prepare_adapter_config(self, peft_config: LRLoraConfig, model_config: dict[str, Any]) -> LRLoraConfig:
        """Resolve placement, layers and rank allocation into target modules and a rank pattern.

        The caller's object is not changed, so that it serves for another model: a copy takes its place in this model,
        and is what is saved. Resolving the copy again, as loading does, changes nothing.
        """
        targets = peft_config.target_modules
        all_linear = isinstance(targets, str) and targets.lower() == INCLUDE_LINEAR_LAYERS_SHORTHAND
        if all_linear:
            warn_of_bare_weights(self.model)
        resolved = self._resolved(peft_config)
        # PEFT writes to what it is given for all linear layers, and to shorten long lists.
        shortened = not isinstance(targets, str) and len(targets or ()) >= MIN_TARGET_MODULES_FOR_OPTIMIZATION
        if resolved == peft_config and not all_linear and not shortened:
            return peft_config
        self.peft_config.update(
            {adapter: resolved for adapter, config in self.peft_config.items() if config is peft_config}
        )
        return resolved

    def _resolved(self, config: LRLoraConfig) -> LRLoraConfig:
        config = copy.deepcopy(config)
        placement, layers = config.placement, config.layers
        if config.target_modules is None:
            names = self._in_layers(config, resolve_target_modules(self.model, placement, layers))
            config.target_modules = set(names)  # type: ignore[assignment]  # a set, as in PEFT's own configs
        elif not (_is_all(placement) and _is_all(layers)):
            among = self._named_by_targets(config)
            config.target_modules = set(resolve_target_modules(self.model, placement, layers, among))  # type: ignore[assignment]
        if config.rank_allocation != "uniform":
            names, own = self._named_by_targets(config), config.rank_pattern
            allocated = allocate_ranks(self.model, names, config.r, config.policy("rank_allocation"))
            new = {name: r for name, r in allocated.items() if get_pattern_key(list(own), name) not in own}
            config.rank_pattern = {**own, **new}
        return config

    def _in_layers(self, config: LRLoraConfig, names: list[str]) -> list[str]:
        """Those of ``names`` that ``layers_to_transform`` and ``layers_pattern`` leave, counted as PEFT counts."""
        if config.layers_to_transform is None:
            return names
        # PEFT counts layers under endings of names alone; a full name is a target in any layer.
        endings = copy.copy(config)
        endings.target_modules = {name.rpartition(".")[2] for name in names}  # type: ignore[assignment]
        left = [name for name in names if self._check_target_module_exists(endings, name)]
        if not left:
            raise ValueError(
                f"no module is left to adapt: none of {len(names)} modules is in layers_to_transform="
                f"{config.layers_to_transform} (layers_pattern={config.layers_pattern!r})"
            )
        return left

    def _named_by_targets(self, config: LRLoraConfig) -> list[str]:
        config = _maybe_include_all_linear_layers(config, self.model)
        return [name for name in linear_module_names(self.model) if self._check_target_module_exists(config, name)]

    def _prepare_model(self, peft_config: LRLoraConfig, model: nn.Module) -> None:
        super()._prepare_model(peft_config, model)
        self._check_targets(peft_config, model)
        self._layer_counts = layer_counts([name for name, _ in model.named_modules()])
        self._shared: dict[tuple[str, str], Part] = {}  # of the adapter that is added, by part and group of the scope

    def _check_targets(self, peft_config: LRLoraConfig, model: nn.Module) -> None:
        """Refuse what cannot be adapted before the first module is replaced."""
        peft_config = _maybe_include_all_linear_layers(peft_config, model)
        adapted = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, BaseTunerLayer))
        for name, module in model.named_modules():
            if name.startswith(adapted) or not name or not self._check_target_module_exists(peft_config, name):
                continue
            layer_class(module.get_base_layer() if isinstance(module, BaseTunerLayer) else module, name)
            check_is_called(model, name)

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Add an adapter to a model, as PEFT does.

        Raises:
            ValueError: The name or a target is refused. No module was replaced.
        """
        try:
            check_adapter_name(model, adapter_name, self.peft_config, LRLoraLayer.adapter_layer_names)
        except ValueError:
            self.peft_config.pop(adapter_name)
            raise
        super().inject_adapter(model, adapter_name, *args, **kwargs)

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
        ranks, alphas = peft_config.rank_pattern, peft_config.alpha_pattern
        r = ranks.get(get_pattern_key(ranks.keys(), current_key), peft_config.r)
        alpha = alphas.get(get_pattern_key(alphas.keys(), current_key), peft_config.lora_alpha)
        theta = self._theta(peft_config, current_key)
        if isinstance(target, LRLoraLayer):
            target.update_layer(adapter_name, peft_config, r=r, lora_alpha=alpha, theta=theta)
            return
        base = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
        adapted_class, backend = layer_class(base, current_key), backend_of(base, current_key, self)
        new_module = adapted_class(target, adapter_name, peft_config, r=r, lora_alpha=alpha, theta=theta)
        new_module.quantization_backend = backend
        if adapter_name not in self.active_adapters:
            new_module.requires_grad_(False)  # an adapter that is added to others does not train until it is set active
        self._replace_module(parent, target_name, new_module, target)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        # PEFT's own sets a weight that not all quantised layers have, and moves layers that are empty still. Adapters
        # are where their base is already, but for HQQ's, whose weight has another name.
        setattr(parent, child_name, new_module)
        if isinstance(new_module, LRLoraLayer):
            weight = getattr(new_module.get_base_layer(), "W_q", None)
            if isinstance(weight, Tensor):
                for adapter in new_module.lrlora_A:
                    new_module._move_adapter_to_device_of_base_layer(adapter, weight.device)

    def _check_merge_allowed(self) -> None:
        super()._check_merge_allowed()
        for module in self.modules():  # before the first of them is merged
            if isinstance(module, LRLoraLayer):
                check_mergeable(module)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        if autocast_adapter_dtype:
            return
        # The caller wants no part of an adapter in another dtype than the base; θ goes with A and B.
        for module in layers_with(self, adapter_name).values():
            for part in module.theta(adapter_name).values():
                part.to(module.held_factors(adapter_name)[0].dtype)

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        # PEFT enters this with what a call says beside the inputs, and would go on without what it does not know.
        for name in ("adapter_names", "alora_offsets"):
            if kwargs.get(name) is not None:
                raise ValueError(f"LR-LoRA takes no {name}: all rows of a batch go through the active adapters")
        in_parts = dist.is_available() and dist.is_initialized()
        if in_parts and any(config.policy("sharing").names for config in self.peft_config.values()):
            check_units(self.model)
        yield

    add_weighted_adapter = add_weighted_adapter

    @classmethod
    def _get_adapter_state_dict(
        cls,
        model: nn.Module,
        config: PeftConfig,
        adapter_name: str,
        state_dict: dict[str, Tensor],
        unwanted_adapter_names: list[str],
    ) -> dict[str, Tensor]:
        return state_to_save(model, adapter_name, state_dict, unwanted_adapter_names)

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: PeftConfig, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        state = with_present_keys(state_dict)
        state = super()._remap_adapter_state_dict_for_load(model, config, adapter_name, state)
        return state_to_load(model, adapter_name, state)

    def _pre_injection_hook(self, model: nn.Module, config: PeftConfig, adapter_name: str) -> None:
        self._trained_before = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def restore_base(self) -> None:
        """Put the base model back into the state from before its first adapter."""
        self.unload()
        for parameter in self._trained_before:
            parameter.requires_grad_(True)

    def _theta(self, config: LRLoraConfig, module_name: str) -> dict[str, Part]:
        """Returns the parts of θ for one adapted weight: those that its group shares, if they exist, else new ones."""
        depth = relative_depth(module_name, self._layer_counts)
        n = config.num_grid_points
        grid_policy, positive = config.policy("grid"), config.policy("bandwidth_parameterization")

        # In float64 on the CPU, also where PEFT makes empty weights: an initialisation computes with them.
        with torch.device("cpu"):
            points = grid_policy.points(n, config.grid_bound)
            omega = torch.full((n,), config.policy("bandwidth_init").value(depth), dtype=torch.float64)
            start = Start(config.make_basis(), points, omega, config.grid_bound, depth)
            values = config.policy("amplitude_init").values(start)

        theta: dict[str, Part] = {
            "amplitude": Amplitude(values, config.learn_amplitude),
            "bandwidth": Bandwidth(omega, positive, config.learn_bandwidth),
            "grid": GridPoints(points, grid_policy.learned),
        }
        if starts := getattr(start.basis, "shape_parameters", {}):
            theta["shape"] = Shape(starts, n)
        group = config.policy("sharing_scope").group(module_name)
        for part in config.policy("sharing").names & theta.keys():
            theta[part] = self._shared.setdefault((part, group), theta[part])
        return {f"lrlora_{part}": module for part, module in theta.items()}


def _is_all(value: object) -> bool:
    return isinstance(value, str) and value == "all"
