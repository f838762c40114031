"""Adapters on quantised bases: their output is the base layer's own plus x ΔWᵀ, and they merge where PEFT can write."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from peft import PeftModel, get_peft_model
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


def _import(library: str) -> Any:
    """The library, or a skip that says what was not tested. Importing one may warn of its own deprecations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(library, reason=f"{library} is not installed: real layers of it were not tested")


def _torchao(configuration: str) -> Callable[[Path], nn.Module]:
    def load(saved: Path) -> nn.Module:
        quantization = _import("torchao.quantization")
        how = hf.TorchAoConfig(getattr(quantization, configuration)())
        return hf.LlamaForCausalLM.from_pretrained(saved, quantization_config=how, dtype=torch.float32)

    return load


def _bitsandbytes(**options: Any) -> Callable[[Path], nn.Module]:
    def load(saved: Path) -> nn.Module:
        _import("bitsandbytes")
        how = hf.BitsAndBytesConfig(**options)
        return hf.LlamaForCausalLM.from_pretrained(saved, quantization_config=how, dtype=torch.float32)

    return load


def _hqq(saved: Path) -> nn.Module:
    hqq = _import("hqq.core.quantize")
    model = hf.LlamaForCausalLM.from_pretrained(saved, dtype=torch.float32)
    how = hqq.BaseQuantizeConfig(nbits=4, group_size=16)
    for name, module in list(model.model.named_modules()):
        if isinstance(module, nn.Linear):
            new = hqq.HQQLinear(module, how, compute_dtype=torch.float32, device="cpu")
            model.model.set_submodule(name, new)
    return model


NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32}
LIBRARIES: dict[str, tuple[Callable[[Path], nn.Module], float]] = {
    "torchao int8 weights": (_torchao("Int8WeightOnlyConfig"), 0.01),
    "torchao int8 activations": (_torchao("Int8DynamicActivationInt8WeightConfig"), 0.01),
    "bitsandbytes 8 bit": (_bitsandbytes(load_in_8bit=True), 0.01),
    "bitsandbytes 4 bit": (_bitsandbytes(**NF4), 0.15),
    "bitsandbytes 4 bit double": (_bitsandbytes(**NF4, bnb_4bit_use_double_quant=True), 0.15),
    "hqq 4 bit": (_hqq, 0.15),
}
"""How a library quantises a saved model, and by how much quantising anew may change a weight, relative to it."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # bitsandbytes wants widths in multiples of 64.
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    hf.LlamaForCausalLM(hf.LlamaConfig(**sizes, vocab_size=64)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_model_that_a_library_quantised(library: str, saved: Path, tmp_path: Path) -> None:
    load, tolerance = LIBRARIES[library]
    config = LRLoraConfig(**RANDOM)
    torch.manual_seed(1)
    model = get_peft_model(load(saved), config).train()
    layers = [module for module in model.modules() if isinstance(module, LRLoraLayer)]
    assert len(layers) == 7
    assert all(layer.quantization_backend is not None for layer in layers)

    ids = {"input_ids": torch.arange(12).view(2, 6)}
    x = torch.randn(3, 64, requires_grad=True)
    torch.testing.assert_close(
        layers[0](x), layers[0].base_layer(x) + x @ layers[0].get_delta_weight("default").T, rtol=1e-3, atol=1e-4
    )
    model(**ids, labels=ids["input_ids"]).loss.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 7 * 4
    assert all(p.grad.isfinite().all() and p.grad.count_nonzero() > 0 for p in trained.values())

    # In training mode throughout, where fits agree to a tolerance: bitsandbytes changes layouts in evaluation.
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(load(saved), tmp_path).train()
    with torch.no_grad():
        expected = model(**ids).logits
        assert (loaded(**ids).logits - expected).norm() < 0.01 * expected.norm()
        lean = PeftModel.from_pretrained(load(saved), tmp_path, low_cpu_mem_usage=True).train()
        assert (lean(**ids).logits - expected).norm() < 0.01 * expected.norm()
        wanted = [layer.get_base_weight() + layer.get_delta_weight("default") for layer in layers]
        model.merge_adapter(safe_merge=True)
        for layer, weight in zip(layers, wanted, strict=True):
            assert (layer.get_base_weight() - weight).norm() < tolerance * weight.norm()
        model.unmerge_adapter()
        torch.testing.assert_close(model(**ids).logits, expected, rtol=0, atol=0)
        merged = model.merge_and_unload()
        assert not any(isinstance(module, LRLoraLayer) for module in merged.modules())
        assert (merged(**ids).logits - expected).norm() < 5 * tolerance * expected.norm()


def test_torchao_without_its_configuration_trains_and_says_what_merging_needs(saved: Path) -> None:
    torchao = _import("torchao.quantization")
    base = hf.LlamaForCausalLM.from_pretrained(saved, dtype=torch.float32)
    torchao.quantize_(base.model, torchao.Int8WeightOnlyConfig())
    model = get_peft_model(base, LRLoraConfig(**RANDOM))
    model(input_ids=torch.arange(6).view(1, 6)).logits.sum().backward()
    with pytest.raises(ValueError, match="by torchao without a TorchAoConfig in from_pretrained"):
        model.merge_and_unload()


def test_a_weight_that_was_laid_out_anew_for_the_processor_is_not_merged_into(saved: Path) -> None:
    model = get_peft_model(_bitsandbytes(**NF4)(saved), LRLoraConfig(**RANDOM)).eval()
    with torch.no_grad():
        model(input_ids=torch.arange(6).view(1, 6))
    layer = layer_of(model).get_base_layer()
    if not layer.support_avx512bf16_for_cpu:
        pytest.skip("this processor has no AVX512-BF16, for which bitsandbytes lays weights out anew")
    for _ in range(2):  # and so it stays when the model was saved in between
        with pytest.raises(ValueError, match="bitsandbytes laid the 4-bit weight out anew"):
            model.merge_adapter()
        model.state_dict()
