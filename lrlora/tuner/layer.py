"""What every adapted layer has, whatever it is a layer of: the adapters' parameters, ΔW from them, and merging."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn

from lrlora.bases import Basis
from lrlora.engines import Engine
from lrlora.engines.differentiation import transforms_active
from lrlora.transfer import TransferFunction
from lrlora.tuner.config import LRLoraConfig
from lrlora.tuner.planning import Plans
from lrlora.tuner.quantized import Kept, check_mergeable, keep, put_back
from lrlora.tuner.theta import FACTORS, THETA, Factor, Part, value_of


class LRLoraLayer(BaseTunerLayer):
    """A frozen layer with one or several adapters beside it.

    ΔW is computed as ``(out, in)``; a subclass says what that is in the layout of its weight. An adapter of rank 0 in
    this layer adds nothing to it.

    Attributes:
        in_features, out_features: Of ΔW as a matrix.
        fan_in_fan_out: Whether the weight is laid out as the transpose of ΔW.
        lrlora_A: By adapter, a module with ``weight``, ``(r, in)``.
        lrlora_B: By adapter, a module with ``weight``, ``(out, r)``.
        lrlora_amplitude, lrlora_bandwidth, lrlora_grid, lrlora_shape: By adapter, the parts of θ, which adapters may
            share.
        lrlora_plan: By adapter, how φ is evaluated.
    """

    base_layer: nn.Module
    active_adapters: list[str]
    frozen_peft_weight_names: dict[str, tuple[str, ...]]
    quantization_backend: Any  # of PEFT; None where the weight is of plain numbers
    adapter_layer_names = (*FACTORS, *THETA)
    other_param_names = (
        "r",
        "lora_alpha",
        "lrlora_dropout",
        "lrlora_config",
        "lrlora_basis",
        "lrlora_engine",
        "lrlora_plan",
        "scaling",
        "input_scale",
    )

    def __init__(self, base_layer: nn.Module) -> None:
        self.base_layer = base_layer
        self.r: dict[str, int] = {}
        self.lora_alpha: dict[str, float | None] = {}
        self.scaling: dict[str, float] = {}
        self.input_scale: dict[str, float] = {}
        self.lrlora_config: dict[str, LRLoraConfig] = {}
        self.lrlora_basis: dict[str, Basis] = {}
        self.lrlora_engine: dict[str, Engine] = {}
        self.lrlora_dropout = nn.ModuleDict()
        self.lrlora_A = nn.ModuleDict()
        self.lrlora_B = nn.ModuleDict()
        self.lrlora_amplitude = nn.ModuleDict()
        self.lrlora_bandwidth = nn.ModuleDict()
        self.lrlora_grid = nn.ModuleDict()
        self.lrlora_shape = nn.ModuleDict()
        self.lrlora_plan = nn.ModuleDict()
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._base_before_merge: Kept | None = None
        self.in_features, self.out_features, self.fan_in_fan_out = self._dimensions(self.get_base_layer())

    @staticmethod
    def _dimensions(base: nn.Module) -> tuple[int, int, bool]:
        """Columns and rows of ΔW, and whether the weight is its transpose."""
        raise NotImplementedError

    def update_layer(
        self,
        adapter_name: str,
        config: LRLoraConfig,
        *,
        r: int,
        lora_alpha: float | None,
        theta: Mapping[str, Part],
    ) -> None:
        """Add an adapter.

        Args:
            adapter_name: Its name.
            config: Its configuration.
            r: Rank here; 0: the adapter leaves this layer as it is.
            lora_alpha: Scaling here, times r; None for a scaling of 1.
            theta: The parts of θ by their names in :data:`~lrlora.tuner.theta.THETA`, new or shared.
        """
        self.r[adapter_name] = r
        self.lora_alpha[adapter_name] = lora_alpha
        self.scaling[adapter_name] = 1.0 if lora_alpha is None or r == 0 else lora_alpha / r
        scale = config.policy("input_scale").value(self.in_features, self.out_features, max(r, 1))
        self.input_scale[adapter_name] = scale
        self.lrlora_config[adapter_name] = config
        self.lrlora_basis[adapter_name] = config.make_basis()
        self.lrlora_engine[adapter_name] = config.make_engine()
        self.lrlora_dropout[adapter_name] = nn.Dropout(config.lora_dropout) if config.lora_dropout else nn.Identity()
        self.lrlora_A[adapter_name] = Factor(r, self.in_features)
        self.lrlora_B[adapter_name] = Factor(self.out_features, r)
        for part, module in theta.items():
            getattr(self, part)[adapter_name] = module
        self.lrlora_plan[adapter_name] = Plans()
        self.reset_lrlora_parameters(adapter_name, config.init_weights)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        frozen = [part for part, module in theta.items() if not module.learned]
        if r == 0:
            # No gradient comes here, for which DistributedDataParallel would wait. What is shared has one from others.
            shared = {f"lrlora_{part}" for part in config.policy("sharing").names}
            frozen += [*FACTORS, *(part for part in theta if part not in shared)]
        if frozen:
            self.frozen_peft_weight_names = {**self.frozen_peft_weight_names, adapter_name: tuple(frozen)}
        self.set_adapter(self.active_adapters)

    @torch.no_grad()
    def reset_lrlora_parameters(self, adapter_name: str, init_weights: bool) -> None:
        """Start A and B: as LoRA does, or (``init_weights=False``) so that the adapter is no identity."""
        if self.r[adapter_name] == 0:
            return
        zero = self._init_factors(adapter_name)
        if init_weights:
            nn.init.zeros_(zero)
        else:
            nn.init.normal_(zero, std=0.1)
            amplitude: Any = self.lrlora_amplitude[adapter_name]
            nn.init.normal_(amplitude.weight, std=0.1)

    def _init_factors(self, adapter_name: str) -> Tensor:
        """Samples one factor of BA and returns the other one, which starts at zero."""
        A, B = self.held_factors(adapter_name)
        nn.init.kaiming_uniform_(A, a=math.sqrt(5))
        return B

    def unmerged_adapters(self) -> list[str]:
        """The adapters that are to be added to the base layer's output; none while disabled or merged."""
        if self.disable_adapters:
            if self.merged:
                self.unmerge()
            return []
        if self.merged:
            return []
        return [name for name in self.active_adapters if self.r.get(name)]

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        # PEFT moves an adapter to the dtype of the base layer and casts it back up later. For A and B that rounds a
        # random start; for θ it would round a grid. θ keeps its precision and only changes device.
        theta = self.theta(adapter_name)
        kept = {name: part.weight.dtype for name, part in theta.items()}
        data = {name: part.weight.data for name, part in theta.items()}
        super()._move_adapter_to_device_of_base_layer(adapter_name, device)
        for name, part in theta.items():
            if part.weight.dtype != kept[name]:
                part.weight.data = data[name].to(part.weight.device)

    def transfer(self, adapter_name: str) -> TransferFunction:
        """The transfer function of an adapter at its present parameters."""
        config = self.lrlora_config[adapter_name]
        scale = self.input_scale[adapter_name]
        return TransferFunction(
            basis=self.lrlora_basis[adapter_name],
            amplitude=value_of(self.lrlora_amplitude[adapter_name]),
            bandwidth=value_of(self.lrlora_bandwidth[adapter_name]),
            grid=value_of(self.lrlora_grid[adapter_name]),
            input_scale=scale,
            output_scale=self.scaling[adapter_name] / scale,
            residual=bool(config.residual),
            centered=bool(config.centered),
            shape=value_of(self.lrlora_shape[adapter_name]) if adapter_name in self.lrlora_shape else {},
        )

    def get_delta_weight(self, adapter: str) -> Tensor:
        """Returns ΔW of an adapter in the layout of the base layer's weight and the dtype of the adapter."""
        delta = self.delta_matrix(adapter)
        return delta.T if self.fan_in_fan_out else delta

    def delta_matrix(self, adapter: str) -> Tensor:
        """Returns ΔW of an adapter as a matrix, ``(out, in)``, in the dtype of the adapter."""
        A, B = self.factors(adapter)
        dtype = self.held_factors(adapter)[0].dtype
        if self.r[adapter] == 0:
            return torch.zeros(self.out_features, self.in_features, dtype=dtype, device=A.device)
        transfer = self.transfer(adapter)
        plan = self.plan(adapter, A, B, transfer, training=False)
        with torch.autocast(A.device.type, enabled=False):
            return self.lrlora_engine[adapter].delta(A, B, transfer, plan).to(dtype)

    def factors(self, adapter: str) -> tuple[Tensor, Tensor]:
        """Returns A and B in float32 at least: half precision would lose the small entries of BA."""
        A, B = (value_of(getattr(self, name)[adapter]) for name in FACTORS)
        if A.dtype in (torch.float32, torch.float64):
            return A, B
        return A.float(), B.float()

    def describe_evaluation(self, adapter: str) -> str:
        """Returns how an adapter of rank > 0 is evaluated at its present parameters, in a few words."""
        A, B = self.factors(adapter)
        plan = self.plan(adapter, A, B, self.transfer(adapter), training=False)
        return type(self.lrlora_engine[adapter]).__name__ if plan is None else plan.describe()

    def held_factors(self, adapter: str) -> tuple[Tensor, Tensor]:
        """Returns A and B as they are held, in the dtype of the adapter."""
        A, B = (getattr(self, name)[adapter].weight for name in FACTORS)
        return A, B

    def theta(self, adapter: str) -> dict[str, Part]:
        """Returns the parts of θ that an adapter has, by their names in :data:`~lrlora.tuner.theta.THETA`."""
        return {part: getattr(self, part)[adapter] for part in THETA if adapter in getattr(self, part)}

    def plan(
        self, adapter: str, A: Tensor, B: Tensor, transfer: TransferFunction, *, training: bool | None = None
    ) -> Any:
        """Returns the plan that an adapter is evaluated with now; ``training``: in that mode instead of the layer's."""
        engine = self.lrlora_engine[adapter]
        if not engine.plans or transforms_active():
            return None
        parameters = [*self.held_factors(adapter), *(part.weight for part in self.theta(adapter).values())]
        plans: Any = self.lrlora_plan[adapter]
        return plans.current(
            engine, A, B, transfer, parameters, training=self.training if training is None else training
        )

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add ΔW of the adapters to the base weight, which is kept aside so that :meth:`unmerge` is exact.

        Args:
            safe_merge: Check that the result is finite first.
            adapter_names: Which; None for the active ones.

        Raises:
            ValueError: ``safe_merge`` and a merged weight would not be finite, or a quantised weight cannot be written;
                nothing is merged.
        """
        names = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.lrlora_A]
        if not names:
            return
        check_mergeable(self)
        with torch.no_grad():
            weight = self.get_base_weight()
            merged = weight.to(torch.promote_types(weight.dtype, torch.float32), copy=True)
            for name in names:
                merged += self.get_delta_weight(name).to(merged.dtype)
            merged = merged.to(weight.dtype)
        if safe_merge and not merged.isfinite().all():
            raise ValueError(
                f"NaNs detected in the merged weights. The adapter {', '.join(names)} seems to be broken: "
                "it would merge to weights that are not finite; nothing was merged"
            )
        if self._base_before_merge is None:
            self._base_before_merge = keep(self)
        self.set_base_weight(merged)
        self.merged_adapters.extend(names)

    def unmerge(self) -> None:
        """Put the base weight back, bit by bit."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        assert self._base_before_merge is not None
        put_back(self, self._base_before_merge)
        self._base_before_merge = None
        self.merged_adapters.clear()

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """True: the update is additive, so PEFT can approximate it by a LoRA adapter."""
        return True


class AdaptedModule(nn.Module, LRLoraLayer):
    """An adapted layer as a module, which takes the place of its base layer."""

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: LRLoraConfig, **kwargs: Any) -> None:
        nn.Module.__init__(self)
        LRLoraLayer.__init__(self, base_layer)
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config, **kwargs)

    def __repr__(self) -> str:
        return "lrlora." + super().__repr__()


def layers_with(model: nn.Module, adapter_name: str) -> dict[str, LRLoraLayer]:
    """The layers that an adapter is in, with whatever rank, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, LRLoraLayer) and adapter_name in module.r
    }
