"""The adapted layer: a frozen linear map with one or several LR-LoRA adapters beside it."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lrlora.bases import Basis
from lrlora.engines import Engine
from lrlora.transfer import TransferFunction
from lrlora.tuner.config import LRLoraConfig
from lrlora.tuner.fits import FitGroup
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
        "lrlora_fits",
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
        self.lrlora_fits: dict[str, FitGroup] = {}
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
        fits: FitGroup,
    ) -> None:
        """Add an adapter.

        Args:
            adapter_name: Its name.
            config: Its configuration.
            r: Rank here.
            lora_alpha: Scaling here, times r; None for a scaling of 1.
            theta: The parameters of φ, new or shared.
            fits: What the layers of this adapter are fitted in.
        """
        self.r[adapter_name] = r
        self.lora_alpha[adapter_name] = lora_alpha
        self.scaling[adapter_name] = 1.0 if lora_alpha is None else lora_alpha / r
        scale = config.policy("input_scale").value(self.in_features, self.out_features, r)
        self.input_scale[adapter_name] = scale
        self.lrlora_config[adapter_name] = config
        self.lrlora_basis[adapter_name] = config.make_basis()
        self.lrlora_engine[adapter_name] = config.make_engine()
        self.lrlora_fits[adapter_name] = fits
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
        fits.join(self)

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
        A, B = self.wide_factors(adapter)
        with torch.autocast(A.device.type, enabled=False):
            delta = self.lrlora_engine[adapter].delta(A, B, self.transfer(adapter))
        return delta.to(self.lrlora_A[adapter].dtype)

    def wide_factors(self, adapter: str) -> tuple[Tensor, Tensor]:
        """A and B in float32 at least: half precision would lose the small entries of BA."""
        A, B = self.lrlora_A[adapter], self.lrlora_B[adapter]
        wide = torch.promote_types(A.dtype, torch.float32)
        return A.to(wide), B.to(wide)

    def trains_theta(self, adapter: str) -> bool:
        """Whether any part of θ takes a gradient."""
        return any(getattr(self, name)[adapter].weight.requires_grad for name in self.adapter_layer_names[2:])

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
            return self._through(active[0], x, weight, base.bias)
        result = self.base_layer(x, *args, **kwargs)
        dtype = result.dtype
        for name in active:
            # The update is computed in float32 at least, and rounded to bfloat16 if that is what it meets; not to
            # float16, whose smallest numbers are not much smaller than an update's entries.
            in_bfloat16 = x.dtype == torch.bfloat16
            adapted = x if in_bfloat16 else self._cast_input_dtype(x, self.lrlora_A[name].dtype)  # type: ignore[operator]
            result = result + self._through(name, self.lrlora_dropout[name](adapted), None, None)
        return result.to(dtype)  # type: ignore[no-any-return]

    def _through(self, adapter: str, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """x (W + ΔW)ᵀ + b, or x ΔWᵀ."""
        A, B = self.wide_factors(adapter)
        device = x.device.type
        if torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        elif x.dtype not in (A.dtype, torch.bfloat16):
            x = x.to(A.dtype)
        if bias is not None:
            bias = bias.to(x.dtype)
        fitted = self.lrlora_fits[adapter].fitted(self)
        with torch.autocast(device, enabled=False):
            return self.lrlora_engine[adapter].linear(x, weight, bias, A, B, self.transfer(adapter), fitted)

    def _can_fuse(self, x: Tensor, active: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether W and ΔW may be added before they meet x: one adapter, and nothing between x and it.

        A weight in half precision is not added to: rounding the sum would lose what is small beside the weight. Under
        autocast the weight itself is rounded when it meets x, and the sum loses no more than that.
        """
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
            and weight.dtype == self.lrlora_A[active[0]].dtype
            and weight.dtype in (torch.float32, torch.float64)
            and (weight.dtype == x.dtype or torch.is_autocast_enabled(x.device.type))
        )

    def __repr__(self) -> str:
        return "lrlora." + super().__repr__()
