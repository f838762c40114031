"""What PEFT does with an adapter works with this one: on every family, and for every way in which θ may be made."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.utils.peft_types import PeftType
from safetensors.torch import load_file
from torch import nn

from lrlora import LRLoraConfig, LRLoraLayer, parameter_groups
from lrlora.analysis import count_parameters, layer_report

Make = Callable[[str], nn.Module]
Inputs = Callable[[str], dict[str, Any]]
RANDOM = {"r": 2, "init_weights": False, "num_grid_points": 6}
"""A start that is no identity, so that there is something to lose."""


def logits(model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs).logits


def layers_of(model: nn.Module) -> dict[str, LRLoraLayer]:
    return {name: module for name, module in model.named_modules() if isinstance(module, LRLoraLayer)}


@pytest.mark.parametrize("preset", ["default", "identity"])
@pytest.mark.parametrize("basis", ["sinc", "gaussian", "bspline", "fourier", "polynomial"])
@pytest.mark.filterwarnings("ignore:amplitude_init='identity':UserWarning")
def test_a_new_adapter_changes_nothing(preset: str, basis: str, make_model: Make, inputs_of: Inputs) -> None:
    model, inputs = make_model("bert"), inputs_of("bert")
    before = logits(model, inputs)
    adapted = get_peft_model(model, LRLoraConfig(r=2, preset=preset, basis=basis))
    for layer in layers_of(adapted).values():
        assert layer.get_delta_weight("default").count_nonzero() == 0
    torch.testing.assert_close(logits(adapted, inputs), before, rtol=0, atol=0)


def test_the_paper_preset_starts_at_zero_too_and_then_moves_as_a_constant(make_model: Make, inputs_of: Inputs) -> None:
    # With a = 0 and B = 0 the gradient of a is the same for all entries: the first step adds a constant matrix. It is
    # kept as published, so that this can be studied.
    model, inputs = get_peft_model(make_model("bert"), LRLoraConfig(r=2, preset="paper")), inputs_of("bert")
    before = logits(model, inputs)
    torch.testing.assert_close(logits(model.base_model.model, inputs), before)
    optimizer = torch.optim.SGD(parameter_groups(model, lr=1e-2))
    model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    optimizer.step()
    layer = next(iter(layers_of(model).values()))
    delta = layer.get_delta_weight("default")
    assert delta.abs().max() > 0
    torch.testing.assert_close(delta, delta.mean().expand_as(delta))


def test_save_load_merge_and_unload_compute_the_same(make_model: Make, inputs_of: Inputs, tmp_path: Path) -> None:
    family = "bert"  # the others are in test_families.py
    inputs = inputs_of(family)
    model = get_peft_model(make_model(family), LRLoraConfig(**RANDOM)).eval()
    expected = logits(model, inputs)
    assert not torch.allclose(expected, logits(make_model(family), inputs))
    model.save_pretrained(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").is_file()
    json.loads((tmp_path / "adapter_config.json").read_text())

    loaded = PeftModel.from_pretrained(make_model(family), tmp_path).eval()
    torch.testing.assert_close(logits(loaded, inputs), expected, rtol=0, atol=0)
    with loaded.disable_adapter():
        torch.testing.assert_close(logits(loaded, inputs), logits(make_model(family), inputs), rtol=0, atol=0)
    lean = PeftModel.from_pretrained(make_model(family), tmp_path, low_cpu_mem_usage=True).eval()
    torch.testing.assert_close(logits(lean, inputs), expected, rtol=0, atol=0)

    weights = {name: p.clone() for name, p in loaded.named_parameters() if "base_layer" in name}
    loaded.merge_adapter(safe_merge=True)
    torch.testing.assert_close(logits(loaded, inputs), expected, rtol=1e-4, atol=1e-5)
    loaded.unmerge_adapter()
    assert all(torch.equal(p, weights[name]) for name, p in loaded.named_parameters() if name in weights)
    merged = loaded.merge_and_unload()
    assert not layers_of(merged)
    torch.testing.assert_close(logits(merged, inputs), expected, rtol=1e-4, atol=1e-5)


VARIANTS: dict[str, dict[str, Any]] = {
    "learned grid": {"grid": "learned"},
    "random grid": {"grid": "random"},
    "chebyshev grid": {"grid": "chebyshev"},
    "fixed bandwidth": {"learn_bandwidth": False, "bandwidth_init": 2.5},
    "fixed amplitude": {"learn_amplitude": False, "amplitude_init": "small:0.1"},
    "softplus": {"bandwidth_parameterization": "softplus"},
    "by depth": {"amplitude_init": "by_depth:0,0.2", "bandwidth_init": "by_depth:0.5,2"},
    "scale by width": {"input_scale": "width:3"},
    "degree": {"basis": "bspline", "basis_kwargs": {"degree": 2}},
    "ranks": {"rank_allocation": "empirical"},
    "patterns": {"rank_pattern": {"query": 1}, "alpha_pattern": {"key": 3.0}},
    "direct": {"engine": "direct"},
    "tabulated": {"engine": "tabulated"},
    "paper": {"preset": "paper"},
    "attention": {"placement": "attention", "layers": "first_last:1"},
    "shared all": {"sharing": "all"},
    "shared grid by layer": {"sharing": "grid", "sharing_scope": "layer", "grid": "learned"},
    "shared parts by projection": {"sharing": "parts:bandwidth+amplitude", "sharing_scope": "projection"},
}


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_policy_trains_and_survives_saving(
    fields: dict[str, Any], make_model: Make, inputs_of: Inputs, tmp_path: Path
) -> None:
    inputs = inputs_of("bert")
    model = get_peft_model(make_model("bert"), LRLoraConfig(**{**RANDOM, **fields}))
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=1e-2))
    labels = torch.tensor([0, 1])
    losses = []
    for _ in range(4):
        loss = model(**inputs, labels=labels).loss
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    model.eval()
    expected = logits(model, inputs)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make_model("bert"), tmp_path).eval()
    torch.testing.assert_close(logits(loaded, inputs), expected, rtol=0, atol=0)
    assert LRLoraConfig.from_pretrained(tmp_path).to_dict() == loaded.peft_config["default"].to_dict()
    assert [line.module for line in layer_report(loaded)] == [line.module for line in layer_report(model)]


@pytest.mark.parametrize(
    ("fields", "frozen"),
    [
        ({}, {"lrlora_grid"}),
        ({"grid": "learned"}, set()),
        ({"learn_bandwidth": False}, {"lrlora_grid", "lrlora_bandwidth"}),
        ({"learn_amplitude": False}, {"lrlora_grid", "lrlora_amplitude"}),
    ],
)
def test_what_is_fixed_does_not_train(fields: dict[str, Any], frozen: set[str], make_model: Make) -> None:
    model = get_peft_model(make_model("bert"), LRLoraConfig(**{**RANDOM, **fields}))
    model.set_adapter("default")  # PEFT turns everything on here
    theta = {"lrlora_amplitude", "lrlora_bandwidth", "lrlora_grid"}
    trained = {name.split(".")[-3] for name, p in model.named_parameters() if "lrlora" in name and p.requires_grad}
    assert trained & theta == theta - frozen
    held = {name.split(".")[-3] for name, p in model.named_parameters() if "lrlora" in name and not p.requires_grad}
    assert held == frozen, "what is held fixed is a parameter, so that what copies parameters copies it"
    assert all(f".{part}." in " ".join(get_peft_model_state_dict(model)) for part in theta)


def test_each_adapted_weight_has_2n_scalars_of_its_own_as_the_paper_counts(make_model: Make) -> None:
    count = count_parameters(get_peft_model(make_model("llama"), LRLoraConfig(r=2)))
    assert count.transfer == 2 * 50 * 3 * 7


class TestSharing:
    """Shared parts of θ are one tensor, and stay one through everything that is done to a model."""

    @pytest.mark.parametrize(
        ("sharing", "scope", "distinct", "how"),
        [
            ("none", "all", (18, 18, 18), "new"),
            ("all", "all", (1, 1, 1), "loaded"),
            ("all", "all", (1, 1, 1), "cast"),
            ("amplitude", "all", (1, 18, 18), "loaded lean"),
            ("bandwidth", "layer", (18, 3, 18), "bf16 base"),
            ("bandwidth", "layer", (18, 3, 18), "loaded lean"),
            ("grid", "projection", (18, 18, 6), "cast"),
            ("grid", "projection", (18, 18, 6), "new"),
        ],
    )
    def test_sharing_shares(
        self, sharing: str, scope: str, distinct: tuple[int, int, int], how: str, make_model: Make, tmp_path: Path
    ) -> None:
        base = make_model("bert")
        if how == "bf16 base":
            base = base.to(torch.bfloat16)
        model = get_peft_model(base, LRLoraConfig(**RANDOM, sharing=sharing, sharing_scope=scope))
        if how.startswith("loaded"):
            model.save_pretrained(tmp_path)
            lean = how == "loaded lean"
            model = PeftModel.from_pretrained(make_model("bert"), tmp_path, low_cpu_mem_usage=lean, is_trainable=True)
        if how == "cast":
            model = model.to(torch.float64)
        found = []
        for part in ("lrlora_amplitude", "lrlora_bandwidth", "lrlora_grid"):
            weights = [getattr(layer, part)["default"].weight for layer in layers_of(model).values()]
            found.append(len({id(weight) for weight in weights}))
            assert len({weight.data_ptr() for weight in weights}) == found[-1]
        assert tuple(found) == distinct
        wanted = torch.float64 if how == "cast" else torch.float32
        assert {p.dtype for name, p in model.named_parameters() if "lrlora_" in name} == {wanted}

    def test_a_step_moves_all_who_share(self, make_model: Make, inputs_of: Inputs) -> None:
        model = get_peft_model(make_model("bert"), LRLoraConfig(**RANDOM, sharing="all"))
        groups = parameter_groups(model, lr=0.1)
        assert [(group["name"], len(group["params"])) for group in groups] == [("adapter", 36), ("transfer", 2)]
        model(**inputs_of("bert"), labels=torch.tensor([0, 1])).loss.backward()
        before = next(iter(layers_of(model).values())).lrlora_amplitude["default"].weight.clone()
        torch.optim.SGD(groups).step()
        after = {layer.lrlora_amplitude["default"].weight.sum().item() for layer in layers_of(model).values()}
        assert len(after) == 1
        assert after != {before.sum().item()}

    def test_adapters_of_one_model_share_each_in_its_own_way(self, make_model: Make) -> None:
        model = get_peft_model(make_model("bert"), LRLoraConfig(**RANDOM, sharing="all"))
        model.add_adapter("apart", LRLoraConfig(**RANDOM))
        ids = {
            name: {id(layer.lrlora_amplitude[name]) for layer in layers_of(model).values()}
            for name in ("default", "apart")
        }
        assert (len(ids["default"]), len(ids["apart"])) == (1, 18)


def test_a_merge_to_nan_is_refused_and_leaves_the_weights(make_model: Make) -> None:
    model = get_peft_model(make_model("bert"), LRLoraConfig(**RANDOM))
    layer = next(iter(layers_of(model).values()))
    before = layer.get_base_layer().weight.clone()
    with torch.no_grad():
        layer.lrlora_B["default"].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite; nothing was merged"):
        layer.merge(safe_merge=True)
    assert torch.equal(layer.get_base_layer().weight, before)
    assert not layer.merged


def test_dropout_acts_in_training_only(make_model: Make, inputs_of: Inputs) -> None:
    torch.manual_seed(0)
    model = get_peft_model(make_model("llama"), LRLoraConfig(**RANDOM, lora_dropout=0.5))
    inputs = inputs_of("llama")
    model.eval()
    torch.testing.assert_close(logits(model, inputs), logits(model, inputs), rtol=0, atol=0)
    model.train()
    assert not torch.allclose(logits(model, inputs), logits(model, inputs))


def test_importing_lrlora_is_enough_to_load_an_adapter(make_model: Make, tmp_path: Path) -> None:
    get_peft_model(make_model("bert"), LRLoraConfig(**RANDOM)).save_pretrained(tmp_path)
    for order in ("import lrlora, peft", "import peft, lrlora"):
        code = f"{order}; print(peft.PeftConfig.from_pretrained({str(tmp_path)!r}).r)"
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "2", done.stderr


def test_any_part_can_be_imported_first() -> None:
    code = """
import importlib, sys
for part in ("policies", "engines", "analysis", "optimizer", "tuner.config", "tuner.layer"):
    for name in [name for name in sys.modules if name.partition(".")[0] == "lrlora"]:
        del sys.modules[name]
    importlib.import_module(f"lrlora.{part}")
import peft
assert "LRLORA" in peft.PeftType.__members__
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_the_method_is_a_member_of_pefts_enumeration() -> None:
    assert PeftType("LRLORA") is PeftType.LRLORA
    assert PeftType.LRLORA in list(PeftType)
    assert PeftType.LRLORA == "LRLORA"


def test_a_checkpoint_names_its_tensors_as_lora_does(make_model: Make, tmp_path: Path) -> None:
    get_peft_model(make_model("bert"), LRLoraConfig(**RANDOM)).save_pretrained(tmp_path)
    assert isinstance(PeftConfig.from_pretrained(tmp_path), LRLoraConfig)
    names = {
        name.rsplit("query.", 1)[1] for name in load_file(tmp_path / "adapter_model.safetensors") if "query" in name
    }
    assert names == {
        "lrlora_A.weight",
        "lrlora_B.weight",
        "lrlora_amplitude.weight",
        "lrlora_bandwidth.weight",
        "lrlora_grid.weight",
    }


def test_a_module_that_is_no_matrix_is_refused(make_model: Make) -> None:
    with pytest.raises(ValueError, match="is a LayerNorm; LR-LoRA adapts"):
        get_peft_model(make_model("bert"), LRLoraConfig(target_modules=["LayerNorm"]))
