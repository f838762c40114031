"""Adapters on quantised bases: their output is the base layer's own plus x ΔWᵀ, and they merge where PEFT can write."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import get_peft_model
from peft.utils.quantization_utils import ForwardOnlyQuantizationBackend, QuantizationBackend
from torch import Tensor, nn

from lrlora import LRLoraConfig, LRLoraLayer
from lrlora.policies.placements import linear_module_names
from lrlora.tuner import quantized

RANDOM = {"r": 2, "init_weights": False, "num_grid_points": 6}
IN, OUT = 12, 10


class Rounded(nn.Module):
    """A quantised linear layer of no library: int8, one step for all entries. No nn.Linear, as HQQ's and GPTQ's are."""

    def __init__(self, weight: Tensor, step: float = 0.01) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.step = step
        self.register_buffer("weight", (weight / step).round().clamp(-128, 127).to(torch.int8))

    def dequantize(self) -> Tensor:
        return self.weight.float() * self.step

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.dequantize().T


class RoundedBackend(QuantizationBackend):
    layer_type = "linear"
    supports_merge = True
    backend_name = "rounding"

    def get_base_weight(self, base_layer: nn.Module) -> Tensor:
        return base_layer.dequantize()

    def set_base_weight(self, peft_layer: Any, weight_data: Tensor) -> None:
        peft_layer.base_layer = Rounded(weight_data, step=0.02)  # a new layer and new steps, as in libraries


def rounded_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Rounded(torch.randn(OUT, IN) * 0.3), nn.Tanh(), nn.Linear(OUT, 4))


def adapted(model: nn.Module, **fields: Any) -> nn.Module:
    torch.manual_seed(1)
    return get_peft_model(model, LRLoraConfig(**{**RANDOM, "target_modules": ["0"], **fields}))


def layer_of(model: nn.Module) -> LRLoraLayer:
    return next(module for module in model.modules() if isinstance(module, LRLoraLayer))


@pytest.fixture
def known_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[QuantizationBackend], None]:
    """Make PEFT know the layers above by a backend."""

    def know(backend: QuantizationBackend) -> None:
        monkeypatch.setattr(
            quantized, "resolve_quantization_backend", lambda base, **_: backend if isinstance(base, Rounded) else None
        )

    return know


class TestAnyLibrary:
    """What holds whatever quantised the base; a layer of these tests' own stands for it."""

    def test_a_layer_that_nobody_knows_is_refused_by_its_name(self) -> None:
        with pytest.raises(ValueError, match=r"'0' is a .*Rounded, whose weight is neither .* known to PEFT") as error:
            adapted(rounded_model())
        assert "bitsandbytes" in str(error.value)
        assert "exclude_modules" in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_quantised_layer_is_a_linear_module_whatever_its_class(self) -> None:
        assert linear_module_names(rounded_model()) == ["0", "2"]

    @pytest.mark.parametrize("dropout", [0.0, 0.5])
    def test_the_update_is_added_to_the_layers_own_output(self, known_as: Any, dropout: float) -> None:
        known_as(RoundedBackend())
        model = adapted(rounded_model(), lora_dropout=dropout).eval()
        layer = layer_of(model)
        x = torch.randn(5, IN, requires_grad=True)
        found = layer(x)
        expected = layer.base_layer(x) + x @ layer.get_delta_weight("default").T
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        found.square().sum().backward()
        assert x.grad is not None
        for name, parameter in layer.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name
                assert parameter.grad.count_nonzero() > 0, name

    def test_merging_quantises_anew_and_unmerging_puts_the_very_weight_back(self, known_as: Any) -> None:
        known_as(RoundedBackend())
        model = adapted(rounded_model()).eval()
        layer, x = layer_of(model), torch.randn(5, IN)
        with torch.no_grad():
            before, weight = model(x), layer.base_layer.weight.clone()
            wanted = layer.base_layer.dequantize() + layer.get_delta_weight("default")
            model.merge_adapter(safe_merge=True)
            assert layer.base_layer.weight.dtype is torch.int8
            assert (layer.base_layer.dequantize() - wanted).abs().max() <= 0.01 + 1e-6
            assert layer.base_layer.step == 0.02
            model.unmerge_adapter()
            assert torch.equal(layer.base_layer.weight, weight)
            assert layer.base_layer.step == 0.01
            assert torch.equal(model(x), before)
            merged = model.merge_and_unload()
        assert isinstance(merged[0], Rounded)

    def test_where_the_weight_cannot_be_written_nothing_is_merged(self, known_as: Any) -> None:
        known_as(ForwardOnlyQuantizationBackend("gptq"))
        model = adapted(rounded_model(), target_modules=["0", "2"])
        before = model.base_model.model[2].base_layer.weight.clone()
        for merge in (model.merge_adapter, model.merge_and_unload, layer_of(model).merge):
            with pytest.raises(ValueError, match=r"nothing was merged: PEFT has no way to write .* by gptq"):
                merge()
        assert torch.equal(model.base_model.model[2].base_layer.weight, before), "the layer beside it is as it was"
        assert not any(layer.merged for layer in model.modules() if isinstance(layer, LRLoraLayer))

    def test_a_quantised_embedding_is_refused(self) -> None:
        model = nn.Sequential(nn.Embedding(8, 4))
        model[0].weight = nn.Parameter(torch.zeros(8, 4, dtype=torch.int8), requires_grad=False)
        with pytest.raises(ValueError, match=r"'0' is a torch\.nn\..*\.Embedding, whose weight is neither"):
            adapted(model)
