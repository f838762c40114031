"""Exported adapters compute what the original does, in processes that know nothing of this package."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.tuners.lora.conversion import convert_to_lora
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM
from transformers.quantizers.quantizer_gguf import GgufHfQuantizer
from transformers.utils.quantization_config import GgufConfig

from lrlora import LRLoraConfig, parameter_groups
from lrlora.export import ExportError, from_lora, load_adapted, save_as_lora, save_from_lora, save_merged, to_lora
from lrlora.export.to_lora import adapted_layers

Make = Callable[[str], nn.Module]
Inputs = Callable[[str], dict[str, Any]]
BENT: dict[str, Any] = {
    "r": 2, "lora_alpha": 200, "init_weights": False, "num_grid_points": 6, "residual": False,
    "amplitude_init": "small:0.1",
}  # fmt: skip
"""An adapter that is not zero, and whose φ bends: ΔW is of a much higher rank than BA."""


def logits(model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs).logits


def train_factors(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every B and A entries, and leave φ a straight line."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name and parameter.ndim > 1 and "amplitude" not in name:
                nn.init.normal_(parameter, std=0.1)
    return model


def without_lrlora(code: str) -> str:
    """Run code in a process that cannot import this package, and return what it printed."""
    guard = "import sys; sys.modules['lrlora'] = None; import warnings; warnings.simplefilter('error')\n"
    ignore = "warnings.filterwarnings('ignore', category=FutureWarning)\n"
    done = subprocess.run([sys.executable, "-c", guard + ignore + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestMerged:
    """The merged model is a model like any other."""

    def test_transformers_loads_it_without_lrlora_and_peft(
        self, make_model: Make, inputs_of: Inputs, tmp_path: Path
    ) -> None:
        inputs = inputs_of("bert")
        model = get_peft_model(make_model("bert"), LRLoraConfig(**BENT, task_type="SEQ_CLS")).eval()
        with torch.no_grad():
            model.base_model.model.classifier.modules_to_save["default"].weight.normal_()
        expected = logits(model, inputs)
        save_merged(model, tmp_path / "out")
        torch.testing.assert_close(logits(model, inputs), expected, rtol=0, atol=0)  # the model was left as it was

        code = f"""
import torch
sys.modules['peft'] = None
from transformers import AutoModelForSequenceClassification
model, info = AutoModelForSequenceClassification.from_pretrained({str(tmp_path / "out")!r}, output_loading_info=True)
assert not any(info.values()), info
with torch.no_grad():
    logits = model.eval()(input_ids=torch.tensor({inputs["input_ids"].tolist()})).logits
print(logits.flatten().tolist())
"""
        found = torch.tensor(json.loads(without_lrlora(code))).view_as(expected)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_every_family_merges(self, family: str, make_model: Make, inputs_of: Inputs, tmp_path: Path) -> None:
        inputs = inputs_of(family)
        model = get_peft_model(make_model(family), LRLoraConfig(**BENT)).eval()
        expected = logits(model, inputs)
        save_merged(model, tmp_path / "out", keep_model=False)
        loaded = type(make_model(family)).from_pretrained(tmp_path / "out").eval()
        torch.testing.assert_close(logits(loaded, inputs), expected, rtol=1e-4, atol=1e-5)
        assert not [path for path in (tmp_path / "out").iterdir() if path.suffix in (".bin", ".pt", ".pkl")]

    def test_the_tokenizer_comes_along(self, make_model: Make, tmp_path: Path) -> None:
        make_model("bert").save_pretrained(tmp_path / "base")
        (tmp_path / "base" / "vocab.txt").write_text("[PAD]\n")
        (tmp_path / "base" / "training_args.bin").write_text("a pickle")
        base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
        copied = save_merged(get_peft_model(base, LRLoraConfig(**BENT)), tmp_path / "out")
        assert copied == ["vocab.txt"]
        assert not (tmp_path / "out" / "training_args.bin").exists()

    def test_of_several_adapters_one_is_merged(self, make_model: Make, inputs_of: Inputs, tmp_path: Path) -> None:
        inputs = inputs_of("llama")
        model = get_peft_model(make_model("llama"), LRLoraConfig(**BENT)).eval()
        model.add_adapter("second", LRLoraConfig(**{**BENT, "r": 3}))
        model.set_adapter("second")
        expected = logits(model, inputs)
        model.set_adapter("default")
        save_merged(model, tmp_path / "out", adapter_name="second")
        loaded = LlamaForCausalLM.from_pretrained(tmp_path / "out").eval()
        torch.testing.assert_close(logits(loaded, inputs), expected, rtol=1e-4, atol=1e-5)
        assert model.active_adapter == "default"

    def test_a_tied_weight_is_not_merged_silently(self, tmp_path: Path) -> None:
        # The head shares its weight with the embedding; merging would put the head's update into the embedding.
        config = LlamaConfig(
            vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
            tie_word_embeddings=True,
        )  # fmt: skip
        with pytest.warns(UserWarning, match="tie"):
            model = get_peft_model(LlamaForCausalLM(config), LRLoraConfig(**BENT, target_modules=["lm_head"]))
        with pytest.raises(ExportError, match=r"lm_head is also .*embed_tokens"):
            save_merged(model, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_model_from_a_gguf_file_is_saved_as_the_plain_one_it_is(self, make_model: Make, tmp_path: Path) -> None:
        # transformers leaves the mark of the format on a model that it dequantised, and then would not save it.
        base = make_model("llama")
        base.hf_quantizer = GgufHfQuantizer(GgufConfig())
        save_merged(get_peft_model(base, LRLoraConfig(**BENT)), tmp_path / "out")
        assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())

    def test_what_is_no_model_of_transformers_is_refused(self, tmp_path: Path) -> None:
        model = get_peft_model(nn.Sequential(nn.Linear(3, 3)), LRLoraConfig(**BENT, target_modules=["0"]))
        with pytest.raises(ExportError, match="is a Sequential and no model of transformers"):
            save_merged(model, tmp_path / "out")

    def test_weights_that_are_not_finite_are_refused(self, make_model: Make, tmp_path: Path) -> None:
        model = get_peft_model(make_model("bert"), LRLoraConfig(**BENT))
        with torch.no_grad():
            next(iter(adapted_layers(model, "default").values())).lrlora_B["default"][0, 0] = float("nan")
        with pytest.raises(ExportError, match="not finite"):
            save_merged(model, tmp_path / "out")
        with pytest.raises(ExportError, match="not finite"):
            save_as_lora(model, tmp_path / "out", rank=2)
        assert not (tmp_path / "out").exists()


class TestAsLora:
    """The LoRA adapter computes with B'A' in place of ΔW, and says how far that is off."""

    def test_at_full_rank_every_family_computes_the_same(
        self, family: str, make_model: Make, inputs_of: Inputs, tmp_path: Path
    ) -> None:
        inputs = inputs_of(family)
        model = get_peft_model(make_model(family), LRLoraConfig(**BENT)).eval()
        export = save_as_lora(model, tmp_path / "out", error=1e-5)
        assert max(row.error for row in export.rows) <= 2e-5
        loaded = PeftModel.from_pretrained(make_model(family), tmp_path / "out").eval()
        torch.testing.assert_close(logits(loaded, inputs), logits(model, inputs), rtol=1e-3, atol=1e-4)

    def test_a_process_without_lrlora_serves_it(self, make_model: Make, inputs_of: Inputs, tmp_path: Path) -> None:
        inputs = inputs_of("bert")
        make_model("bert").save_pretrained(tmp_path / "base")
        base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base").eval()
        model = get_peft_model(base, LRLoraConfig(**BENT, task_type="SEQ_CLS")).eval()
        with torch.no_grad():
            model.base_model.model.classifier.modules_to_save["default"].weight.normal_()
        export = save_as_lora(model, tmp_path / "out", rank=3)

        # What it should compute: W + B'A' in place of W + ΔW.
        truncated = copy.deepcopy(model).merge_and_unload()
        for name, layer in adapted_layers(model, "default").items():
            product = (
                export.state_dict[f"base_model.model.{name}.lora_B.weight"]
                @ export.state_dict[f"base_model.model.{name}.lora_A.weight"]
            )
            truncated.get_submodule(name).weight.data = layer.get_base_layer().weight.data + product
        expected = logits(truncated, inputs)
        assert not torch.allclose(expected, logits(model, inputs), atol=1e-4), "rank 3 keeps everything"

        code = f"""
import torch
from peft import AutoPeftModelForSequenceClassification
model = AutoPeftModelForSequenceClassification.from_pretrained({str(tmp_path / "out")!r})
with torch.no_grad():
    logits = model.eval()(input_ids=torch.tensor({inputs["input_ids"].tolist()})).logits
print(logits.flatten().tolist())
"""
        found = torch.tensor(json.loads(without_lrlora(code))).view_as(expected)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("family", ["bert", "gpt2"])
    def test_it_agrees_with_pefts_own_conversion(self, family: str, make_model: Make) -> None:
        # gpt2 for Conv1D, whose weight is stored transposed.
        model = get_peft_model(make_model(family), LRLoraConfig(**BENT))
        config, state = convert_to_lora(model, rank=3)
        export = to_lora(model, rank=3)
        assert state.keys() == export.state_dict.keys()
        assert (config.r, config.lora_alpha) == (export.config.r, export.config.lora_alpha)
        for name in adapted_layers(model, "default"):
            key = f"base_model.model.{name}.lora_"
            theirs = state[f"{key}B.weight"] @ state[f"{key}A.weight"]
            ours = export.state_dict[f"{key}B.weight"] @ export.state_dict[f"{key}A.weight"]
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)

    def test_a_head_of_several_layers_survives(self, make_model: Make, inputs_of: Inputs, tmp_path: Path) -> None:
        # RoBERTa's classifier has two layers, whose weights PEFT's own conversion writes under one name.
        inputs = inputs_of("roberta")
        model = get_peft_model(make_model("roberta"), LRLoraConfig(**BENT, task_type="SEQ_CLS")).eval()
        for part in ("dense", "out_proj"):
            nn.init.normal_(model.base_model.model.classifier.modules_to_save["default"].get_submodule(part).weight)
        save_as_lora(model, tmp_path / "out", error=1e-5)
        loaded = PeftModel.from_pretrained(make_model("roberta"), tmp_path / "out").eval()
        torch.testing.assert_close(logits(loaded, inputs), logits(model, inputs), rtol=1e-3, atol=1e-4)

    def test_ranks_by_error_are_a_pattern_and_within_the_error(self, make_model: Make, tmp_path: Path) -> None:
        model = get_peft_model(make_model("llama"), LRLoraConfig(**BENT))
        export = save_as_lora(model, tmp_path / "out", error=0.3)
        assert all(row.error <= 0.3 + 1e-6 for row in export.rows)
        ranks = {row.module: row.rank for row in export.rows}
        assert len(set(ranks.values())) > 1, "the ranks are all the same, and no pattern is tested"
        loaded = PeftModel.from_pretrained(make_model("llama"), tmp_path / "out")
        for name, rank in ranks.items():
            layer = loaded.base_model.model.get_submodule(name)
            assert (layer.r["default"], layer.scaling["default"]) == (rank, 1.0)

    def test_caps_that_servers_have(self, make_model: Make) -> None:
        model = get_peft_model(make_model("llama"), LRLoraConfig(**BENT))
        free = to_lora(model, error=0.1)
        capped = to_lora(model, error=0.1, max_rank=4)
        assert max(row.rank for row in capped.rows) == 4 < max(row.rank for row in free.rows)
        assert max(row.error for row in capped.rows) > 0.1, "and the table says that the error was missed"
        equal = to_lora(model, error=0.3, equal_ranks=True)
        plain = to_lora(model, error=0.3)
        assert not equal.config.rank_pattern
        assert not equal.config.alpha_pattern
        for name in adapted_layers(model, "default"):
            key = f"base_model.model.{name}.lora_"
            A, B = equal.state_dict[f"{key}A.weight"], equal.state_dict[f"{key}B.weight"]
            assert A.shape[0] == B.shape[1] == equal.config.r == equal.config.lora_alpha
            torch.testing.assert_close(B @ A, plain.state_dict[f"{key}B.weight"] @ plain.state_dict[f"{key}A.weight"])

    def test_a_straight_line_is_exact_and_keeps_its_factors(self, make_model: Make, inputs_of: Inputs) -> None:
        inputs = inputs_of("gpt2")
        fields = {"r": 3, "lora_alpha": 7.5, "rank_pattern": {"c_fc": 2}, "alpha_pattern": {"c_attn": 4}}
        model = train_factors(get_peft_model(make_model("gpt2"), LRLoraConfig(**fields))).eval()
        export = to_lora(model)
        assert all(row.exact and row.error == 0 for row in export.rows)
        lora = get_peft_model(make_model("gpt2"), export.config).eval()
        set_peft_model_state_dict(lora, export.state_dict)
        torch.testing.assert_close(logits(lora, inputs), logits(model, inputs), rtol=1e-4, atol=1e-5)
        # A rank below the adapter's is a truncation all the same.
        assert max(row.error for row in to_lora(model, rank=1).rows) > 0.1

    def test_equal_ranks_of_exact_factors(self, make_model: Make, inputs_of: Inputs) -> None:
        inputs = inputs_of("bert")
        config = LRLoraConfig(r=3, lora_alpha=6, rank_pattern={"query": 1}, alpha_pattern={"key": 2})
        model = train_factors(get_peft_model(make_model("bert"), config)).eval()
        export = to_lora(model, equal_ranks=True)
        assert (export.config.r, export.config.rank_pattern, export.config.alpha_pattern) == (3, {}, {})
        lora = get_peft_model(make_model("bert"), export.config).eval()
        set_peft_model_state_dict(lora, export.state_dict)
        torch.testing.assert_close(logits(lora, inputs), logits(model, inputs), rtol=1e-4, atol=1e-5)

    def test_a_bent_phi_is_never_called_exact(self, make_model: Make) -> None:
        model = get_peft_model(make_model("bert"), LRLoraConfig(**BENT))
        with pytest.raises(ExportError, match="φ bends in 18 of 18 layers"):
            to_lora(model)

    def test_the_tables_lie_beside_the_adapter(self, make_model: Make, tmp_path: Path) -> None:
        model = get_peft_model(make_model("bert"), LRLoraConfig(**BENT))
        seen: list[tuple[str, int, int]] = []
        export = save_as_lora(
            model, tmp_path / "out", rank=2, on_layer=lambda row, done, total: seen.append((row.module, done, total))
        )
        found = json.loads((tmp_path / "out" / "truncation.json").read_text())
        stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
        for row, (name, layer) in zip(found["layers"], adapted_layers(model, "default").items(), strict=True):
            delta = layer.delta_matrix("default").detach().double()
            key = f"base_model.model.{name}.lora_"
            product = stored[f"{key}B.weight"].double() @ stored[f"{key}A.weight"].double()
            assert row["module"] == name
            assert row["error"] == pytest.approx(float((delta - product).norm() / delta.norm()), rel=1e-6)
        assert "| encoder.layer.0" in (tmp_path / "out" / "truncation.md").read_text().replace("bert.", "")
        assert seen == [(row.module, index + 1, 18) for index, row in enumerate(export.rows)]

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"rank": 0}, "rank is a whole number of at least 1"),
            ({"error": 0.0}, "error is relative"),
            ({"error": 1.0}, "error is relative"),
            ({"rank": 2, "error": 0.1}, "not both"),
            ({"rank": 2, "max_rank": 4}, "max_rank caps the ranks that error asks for"),
            ({"error": 0.1, "randomized": True}, "randomized needs a rank"),
            ({"rank": 2, "adapter_name": "gone"}, "there is no adapter 'gone'"),
        ],
    )
    def test_wishes_that_cannot_be(self, options: dict[str, Any], says: str) -> None:
        model = get_peft_model(nn.Sequential(nn.Linear(3, 3)), LRLoraConfig(**BENT, target_modules=["0"]))
        with pytest.raises(ExportError, match=says):
            to_lora(model, **options)

    def test_other_methods_are_not_exported(self) -> None:
        model = get_peft_model(nn.Sequential(nn.Linear(3, 3)), LoraConfig(target_modules=["0"]))
        with pytest.raises(ExportError, match="is LORA, not LRLORA"):
            to_lora(model, rank=1)


class Kinds(nn.Module):
    """An embedding, a convolution, and linear layers of which one has the other's name for an end."""

    def __init__(self, **convolution: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(11, 6)
        self.conv = nn.Conv2d(1, 5, 3, stride=2, padding=1, **convolution)
        self.head = nn.Linear(5, 4)
        self.inner = nn.ModuleDict({"head": nn.Linear(4, 3)})

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.inner["head"](self.head(self.conv(self.tokens(ids)[:, None]).mean((2, 3))))


KIND_TARGETS = ["tokens", "conv", "head"]
IDS = torch.randint(0, 11, (3, 8), generator=torch.Generator().manual_seed(2))


def adapt_kinds(**convolution: Any) -> PeftModel:
    config = LRLoraConfig(**BENT, target_modules=KIND_TARGETS, exclude_modules=["inner.head"])
    return get_peft_model(Kinds(**convolution), config).eval()


def test_embeddings_and_convolutions_are_exported_as_pefts_lora_writes_them(tmp_path: Path) -> None:
    model = adapt_kinds()
    export = save_as_lora(model, tmp_path, error=1e-5)
    assert [row.module for row in export.rows] == KIND_TARGETS
    loaded = PeftModel.from_pretrained(Kinds(), tmp_path).eval()
    torch.testing.assert_close(loaded(IDS), model(IDS), rtol=1e-3, atol=1e-4)
    merged = loaded.merge_and_unload()
    torch.testing.assert_close(merged(IDS), model(IDS), rtol=1e-3, atol=1e-4)


def test_embeddings_and_convolutions_are_taken_over(tmp_path: Path) -> None:
    config = LoraConfig(r=2, target_modules=KIND_TARGETS, exclude_modules=["inner.head"])
    lora = train_factors(get_peft_model(Kinds(), config)).eval()
    save_from_lora(lora, tmp_path, num_grid_points=6)
    loaded = PeftModel.from_pretrained(Kinds(), tmp_path).eval()
    torch.testing.assert_close(loaded(IDS), lora(IDS), rtol=1e-4, atol=1e-5)


def test_a_token_embedding_and_a_head_are_exported_both_ways(
    make_model: Make, inputs_of: Inputs, tmp_path: Path
) -> None:
    inputs = inputs_of("llama")
    targets = ["embed_tokens", "lm_head", "q_proj"]
    config = LRLoraConfig(**BENT, target_modules=targets, rank_pattern={"layers.0.self_attn.q_proj": 0})
    model = get_peft_model(make_model("llama"), config).eval()
    export = save_as_lora(model, tmp_path / "lora", error=1e-5)
    assert "model.layers.0.self_attn.q_proj" not in {row.module for row in export.rows}, "its rank is 0"
    loaded = PeftModel.from_pretrained(make_model("llama"), tmp_path / "lora").eval()
    torch.testing.assert_close(logits(loaded, inputs), logits(model, inputs), rtol=1e-3, atol=1e-4)
    save_merged(model, tmp_path / "merged")
    merged = LlamaForCausalLM.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(logits(merged, inputs), logits(model, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("convolution", [{"dilation": 2}, {"padding_mode": "circular"}])
def test_a_convolution_that_lora_cannot_write_is_refused(convolution: dict[str, Any]) -> None:
    with pytest.raises(ExportError, match=f"^conv: .*{next(iter(convolution))}"):
        to_lora(adapt_kinds(**convolution), rank=2)


class TestFromLora:
    """A LoRA adapter goes on as LR-LoRA from the same function."""

    FIELDS: tuple[dict[str, Any], ...] = (
        {},
        {"use_rslora": True},
        {"rank_pattern": {"query": 5}, "alpha_pattern": {"key": 3}},
        {"rank_pattern": {"query": 5}, "alpha_pattern": {"key": 3}, "use_rslora": True},
        {"modules_to_save": ["pooler"], "layers_to_transform": [0, 2]},
    )

    @pytest.mark.parametrize(
        "fields", FIELDS, ids=["plain", "rslora", "patterns", "rslora patterns", "modules to save"]
    )
    def test_it_computes_the_same_and_theta_trains(
        self, fields: dict[str, Any], make_model: Make, inputs_of: Inputs, tmp_path: Path
    ) -> None:
        inputs = inputs_of("bert")
        config = LoraConfig(r=2, lora_alpha=5, target_modules=["query", "key"], task_type="SEQ_CLS", **fields)
        lora = train_factors(get_peft_model(make_model("bert"), config)).eval()
        with torch.no_grad():
            lora.base_model.model.classifier.modules_to_save["default"].weight.normal_()
        lora.save_pretrained(tmp_path / "lora")
        expected = logits(lora, inputs)

        save_from_lora(tmp_path / "lora", tmp_path / "out", basis="gaussian", num_grid_points=6)
        model = PeftModel.from_pretrained(make_model("bert"), tmp_path / "out", is_trainable=True).eval()
        torch.testing.assert_close(logits(model, inputs), expected, rtol=1e-4, atol=1e-5)

        optimizer = torch.optim.AdamW(parameter_groups(model, lr=1e-3))
        model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
        amplitudes = [layer.lrlora_amplitude["default"].weight for layer in adapted_layers(model, "default").values()]
        assert len(amplitudes) == (4 if "layers_to_transform" in fields else 6)
        assert all(a.grad is not None and a.grad.abs().max() > 0 for a in amplitudes)
        optimizer.step()
        assert all(a.abs().max() > 0 for a in amplitudes)

    @pytest.mark.parametrize("sharing", ["none", "all", "amplitude"])
    def test_theta_may_be_shared(self, sharing: str, make_model: Make, inputs_of: Inputs, tmp_path: Path) -> None:
        lora = train_factors(get_peft_model(make_model("gpt2"), LoraConfig(r=2, fan_in_fan_out=True))).eval()
        save_from_lora(lora, tmp_path, sharing=sharing, num_grid_points=6, bandwidth_init="by_depth:0.5,2")
        model = PeftModel.from_pretrained(make_model("gpt2"), tmp_path).eval()
        torch.testing.assert_close(
            logits(model, inputs_of("gpt2")), logits(lora, inputs_of("gpt2")), rtol=1e-4, atol=1e-5
        )
        distinct = {id(layer.lrlora_amplitude["default"]) for layer in adapted_layers(model, "default").values()}
        assert len(distinct) == (3 if sharing == "none" else 1)

    def test_a_model_takes_what_is_returned(self, make_model: Make, inputs_of: Inputs) -> None:
        lora = train_factors(get_peft_model(make_model("llama"), LoraConfig(r=2))).eval()
        config, state = from_lora(lora, num_grid_points=6)
        model = get_peft_model(make_model("llama"), config).eval()
        result = set_peft_model_state_dict(model, state)
        assert not [key for key in result.missing_keys if "lrlora" in key]
        assert not result.unexpected_keys
        assert any(parameter.requires_grad for parameter in model.parameters())
        inputs = inputs_of("llama")
        torch.testing.assert_close(logits(model, inputs), logits(lora, inputs), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"use_dora": True}, "is DoRA, which also rescales the base weight"),
            ({"init_lora_weights": "pissa"}, "changes the base weight"),
            ({"lora_bias": True}, "has lora_bias=True; only plain LoRA"),
            ({"bias": "all"}, "has bias='all'; only plain LoRA"),
        ],
    )
    def test_other_kinds_of_lora_are_refused(self, fields: dict[str, Any], says: str) -> None:
        lora = get_peft_model(nn.Sequential(nn.Linear(4, 4)), LoraConfig(r=2, target_modules=["0"], **fields))
        with pytest.raises(ExportError, match=says):
            from_lora(lora)

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"bsis": "sinc"}, "did you mean 'basis'?"),
            ({"r": 4}, "r follows from the LoRA adapter"),
            ({"placement": "attention"}, "placement follows from the LoRA adapter"),
            ({"learn_amplitude": False}, "that is LoRA"),
            ({"basis": "snc"}, "did you mean 'sinc'"),
            ({"num_grid_points": 0}, "num_grid_points is a whole number"),
        ],
    )
    def test_fields_that_cannot_be(self, fields: dict[str, Any], says: str) -> None:
        lora = get_peft_model(nn.Sequential(nn.Linear(4, 4)), LoraConfig(r=2, target_modules=["0"]))
        with pytest.raises(ExportError, match=says.replace("?", r"\?")):
            from_lora(lora, **fields)

    def test_files_that_cannot_be(self, tmp_path: Path) -> None:
        lora = get_peft_model(nn.Sequential(nn.Linear(4, 4)), LoraConfig(r=2, target_modules=["0"]))
        folder = tmp_path / "lora"
        lora.save_pretrained(folder)
        with pytest.raises(ExportError, match=r"no such folder; did you mean .*lora"):
            from_lora(tmp_path / "lorra")
        with pytest.raises(ExportError, match="would replace"):
            save_from_lora(folder, folder, force=True)

        state = load_file(folder / "adapter_model.safetensors")
        key = "base_model.model.0.lora_A.weight"
        save_file({**state, key: torch.zeros(3, 4)}, folder / "adapter_model.safetensors")
        with pytest.raises(ExportError, match="no product of rank 3"):
            from_lora(folder)
        save_file({key: state[key]}, folder / "adapter_model.safetensors")
        with pytest.raises(ExportError, match=r"0: has lora_A\.weight, where LoRA has"):
            from_lora(folder)
        (folder / "adapter_model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
        with pytest.raises(ExportError, match="damaged or cut short"):
            from_lora(folder)
        (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
        with pytest.raises(ExportError, match="is a pickle, which is never loaded"):
            from_lora(folder)
        (folder / "adapter_config.json").write_text("{")
        with pytest.raises(ExportError, match="is no configuration of an adapter"):
            from_lora(folder)


class TestLoading:
    """An adapter finds the model it was trained on."""

    def test_the_base_model_is_the_one_it_was_adapted_as(
        self, make_model: Make, inputs_of: Inputs, tmp_path: Path
    ) -> None:
        for family in ("llama", "bert"):  # a language model, and a classifier without a task type
            make_model(family).save_pretrained(tmp_path / family)
            base = type(make_model(family)).from_pretrained(tmp_path / family)
            model = get_peft_model(base, LRLoraConfig(**BENT)).eval()
            model.save_pretrained(tmp_path / f"{family}-adapter")
            loaded = load_adapted(tmp_path / f"{family}-adapter")
            inputs = inputs_of(family)
            torch.testing.assert_close(logits(loaded, inputs), logits(model, inputs), rtol=0, atol=0)

    def test_the_number_of_labels_is_that_of_the_saved_head(
        self, make_model: Make, inputs_of: Inputs, tmp_path: Path
    ) -> None:
        make_model("bert").bert.save_pretrained(tmp_path / "base")
        base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=5)
        model = get_peft_model(base, LRLoraConfig(**BENT, task_type="SEQ_CLS")).eval()
        model.save_pretrained(tmp_path / "adapter")
        loaded = load_adapted(tmp_path / "adapter")
        inputs = inputs_of("bert")
        torch.testing.assert_close(logits(loaded, inputs), logits(model, inputs), rtol=0, atol=0)

    def test_weights_that_nobody_has_are_told(self, make_model: Make, tmp_path: Path) -> None:
        make_model("bert").bert.save_pretrained(tmp_path / "base")
        base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
        get_peft_model(base, LRLoraConfig(**BENT)).save_pretrained(tmp_path / "adapter")
        with pytest.warns(UserWarning, match="weights for classifier.bias, classifier.weight: they are random"):
            load_adapted(tmp_path / "adapter")

    def test_a_base_model_that_moved_or_does_not_fit(self, make_model: Make, tmp_path: Path) -> None:
        make_model("bert").save_pretrained(tmp_path / "base")
        base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
        get_peft_model(base, LRLoraConfig(**BENT)).save_pretrained(tmp_path / "adapter")
        make_model("llama").save_pretrained(tmp_path / "other")
        with pytest.raises(ExportError, match="does not fit on the base model"):
            load_adapted(tmp_path / "adapter", base=tmp_path / "other")
        (tmp_path / "base").rename(tmp_path / "moved")
        with pytest.raises(ExportError, match=r"no such folder.*name its place with --base"):
            load_adapted(tmp_path / "adapter")
        load_adapted(tmp_path / "adapter", base=tmp_path / "moved")
