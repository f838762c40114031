"""The adapted layer: a frozen linear map with one or several LR-LoRA adapters beside it."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lrlora.bases import Basis
from lrlora.engines import Engine
from lrlora.transfer import TransferFunction
from lrlora.tuner.config import LRLoraConfig
from lrlora.tuner.theta import Amplitude, Bandwidth, GridPoints


class LRLoraLayer(BaseTunerLayer):
    """What every adapted layer has: the adapters' parameters, and ΔW from them.

    Attributes:
        lrlora_A: By adapter, ``(r, in)``.
        lrlora_B: By adapter, ``(out, r)``.
        lrlora_amplitude, lrlora_bandwidth, lrlora_grid: By adapter, modules that adapters may share.
    """

    base_layer: nn.Module
    active_adapters: list[str]
    adapter_layer_names = ("lrlora_A", "lrlora_B", "lrlora_amplitude", "lrlora_bandwidth", "lrlora_grid")
    other_param_names = (
        "r",
        "lora_alpha",
        "lrlora_dropout",
        "lrlora_config",
        "lrlora_basis",
        "lrlora_engine",
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
        self.lrlora_A = nn.ParameterDict()
        self.lrlora_B = nn.ParameterDict()
        self.lrlora_amplitude = nn.ModuleDict()
        self.lrlora_bandwidth = nn.ModuleDict()
        self.lrlora_grid = nn.ModuleDict()
        self.frozen_peft_weight_names: dict[str, tuple[str, ...]] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._weight_before_merge: Tensor | None = None
        base = self.get_base_layer()
        if isinstance(base, Conv1D):
            self.in_features, self.out_features = base.weight.shape
        else:
            self.in_features, self.out_features = base.in_features, base.out_features
        self.fan_in_fan_out = isinstance(base, Conv1D)

    def update_layer(
        self,
        adapter_name: str,
        config: LRLoraConfig,
        *,
        r: int,
        lora_alpha: float | None,
        theta: tuple[Amplitude, Bandwidth, GridPoints],
    ) -> None:
        """Add an adapter.

        Args:
            adapter_name: Its name.
            config: Its configuration.
            r: Rank here.
            lora_alpha: Scaling here, times r; None for a scaling of 1.
            theta: The parameters of φ, new or shared.
        """
        self.r[adapter_name] = r
        self.lora_alpha[adapter_name] = lora_alpha
        self.scaling[adapter_name] = 1.0 if lora_alpha is None else lora_alpha / r
        scale = config.policy("input_scale").value(self.in_features, self.out_features, r)
        self.input_scale[adapter_name] = scale
        self.lrlora_config[adapter_name] = config
        self.lrlora_basis[adapter_name] = config.make_basis()
        self.lrlora_engine[adapter_name] = config.make_engine()
        self.lrlora_dropout[adapter_name] = nn.Dropout(config.lora_dropout) if config.lora_dropout else nn.Identity()
        self.lrlora_A[adapter_name] = nn.Parameter(torch.empty(r, self.in_features))
        self.lrlora_B[adapter_name] = nn.Parameter(torch.empty(self.out_features, r))
        self.lrlora_amplitude[adapter_name], self.lrlora_bandwidth[adapter_name], self.lrlora_grid[adapter_name] = theta
        frozen = [
            name
            for name, learned in (
                ("lrlora_amplitude", config.learn_amplitude),
                ("lrlora_bandwidth", config.learn_bandwidth),
                ("lrlora_grid", theta[2].learned),
            )
            if not learned
        ]
        self.frozen_peft_weight_names[adapter_name] = tuple(frozen)
        self.reset_lrlora_parameters(adapter_name, config.init_weights)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters)

    @torch.no_grad()
    def reset_lrlora_parameters(self, adapter_name: str, init_weights: bool) -> None:
        """Start A and B: as LoRA does, or (``init_weights=False``) so that the adapter is no identity."""
        nn.init.kaiming_uniform_(self.lrlora_A[adapter_name], a=math.sqrt(5))
        if init_weights:
            nn.init.zeros_(self.lrlora_B[adapter_name])
        else:
            nn.init.normal_(self.lrlora_B[adapter_name], std=0.1)
            nn.init.normal_(self.lrlora_amplitude[adapter_name].get_parameter("weight"), std=0.1)

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        # PEFT moves an adapter to the dtype of the base layer and casts it back up later. For A and B that rounds a
        # random start; for θ it would round a grid. θ keeps its precision and only changes device.
        theta = {name: getattr(self, name)[adapter_name] for name in self.adapter_layer_names[2:]}
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
            amplitude=self.lrlora_amplitude[adapter_name](),
            bandwidth=self.lrlora_bandwidth[adapter_name](),
            grid=self.lrlora_grid[adapter_name](),
            input_scale=scale,
            output_scale=self.scaling[adapter_name] / scale,
            residual=bool(config.residual),
            centered=bool(config.centered),
        )

    def get_delta_weight(self, adapter: str) -> Tensor:
        """ΔW of an adapter in the layout and dtype of the adapter: ``(out, in)``, or ``(in, out)`` for Conv1D."""
        delta = self._delta(adapter)
        return delta.T if self.fan_in_fan_out else delta

    def _delta(self, adapter: str) -> Tensor:
        A, B = self.lrlora_A[adapter], self.lrlora_B[adapter]
        # Half precision would lose the small entries of BA; φ is evaluated in float32 at least.
        wide = torch.promote_types(A.dtype, torch.float32)
        with torch.autocast(A.device.type, enabled=False):
            delta = self.lrlora_engine[adapter].delta(A.to(wide), B.to(wide), self.transfer(adapter).to(wide))
        return delta.to(A.dtype)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add ΔW of the adapters to the base weight, which is kept aside so that :meth:`unmerge` is exact.

        Args:
            safe_merge: Check that the result is finite first.
            adapter_names: Which; None for the active ones.

        Raises:
            ValueError: ``safe_merge`` and a merged weight would not be finite; nothing is merged.
        """
        names = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.lrlora_A]
        if not names:
            return
        weight = self.get_base_layer().weight
        with torch.no_grad():
            merged = weight.data.to(torch.promote_types(weight.dtype, torch.float32), copy=True)
            for name in names:
                merged += self.get_delta_weight(name).to(merged.dtype)
            merged = merged.to(weight.dtype)
        if safe_merge and not merged.isfinite().all():
            raise ValueError(
                f"adapter {', '.join(names)} would merge to weights that are not finite; nothing was merged"
            )
        if self._weight_before_merge is None:
            self._weight_before_merge = weight.data.clone()
        weight.data = merged
        self.merged_adapters.extend(names)

    def unmerge(self) -> None:
        """Put the base weight back, bit by bit."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        weight = self.get_base_layer().weight
        assert self._weight_before_merge is not None
        weight.data = self._weight_before_merge.to(weight.device)
        self._weight_before_merge = None
        self.merged_adapters.clear()

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """True: the update is additive, so PEFT can approximate it by a LoRA adapter."""
        return True


class Linear(nn.Module, LRLoraLayer):
    """LR-LoRA on an ``nn.Linear`` or a transformers ``Conv1D``."""

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: LRLoraConfig, **kwargs: Any) -> None:
        nn.Module.__init__(self)
        LRLoraLayer.__init__(self, base_layer)
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config, **kwargs)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x (W + Σ ΔW)ᵀ + b, ``(..., in)`` to ``(..., out)``."""
        if self.disable_adapters:
            if self.merged:
                self.unmerge()
            return self.base_layer(x, *args, **kwargs)  # type: ignore[no-any-return]
        active = [name for name in self.active_adapters if name in self.lrlora_A]
        if self.merged or not active:
            return self.base_layer(x, *args, **kwargs)  # type: ignore[no-any-return]
        if self._can_fuse(x, active, args, kwargs):
            base = self.get_base_layer()  # type: ignore[operator]  # PEFT is untyped here, so nn.Module answers for its methods
            weight = base.weight.T if self.fan_in_fan_out else base.weight
            A, B = self.lrlora_A[active[0]], self.lrlora_B[active[0]]
            return self.lrlora_engine[active[0]].linear(x, weight, base.bias, A, B, self.transfer(active[0]))
        result = self.base_layer(x, *args, **kwargs)
        dtype = result.dtype
        for name in active:
            delta = self._delta(name)
            adapted = self._cast_input_dtype(x, delta.dtype)  # type: ignore[operator]
            result = result + F.linear(self.lrlora_dropout[name](adapted), delta)
        return result.to(dtype)  # type: ignore[no-any-return]

    def _can_fuse(self, x: Tensor, active: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether W and ΔW may be added before they meet x: one adapter, nothing between x and it, one dtype."""
        base = self.base_layer
        dropout = self.lrlora_dropout[active[0]]
        weight = getattr(base, "weight", None)
        return (
            len(active) == 1
            and not args
            and not kwargs
            and type(base) in (nn.Linear, Conv1D)
            and not (self.training and isinstance(dropout, nn.Dropout))
            and weight is not None
            and weight.dtype == x.dtype == self.lrlora_A[active[0]].dtype
            and weight.dtype in (torch.float32, torch.float64)
            and not torch.is_autocast_enabled(x.device.type)
        )

    def __repr__(self) -> str:
        return "lrlora." + super().__repr__()
