"""The ΔW that reports speak of is what the layer really adds, for every method that studies compare."""

from collections.abc import Callable
from itertools import cycle

import pytest
import torch
from baseline_methods import BASELINES, adapt, disturb
from family_models import FAMILIES
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from lrlora.analysis import LayerReport, layer_report, stable_rank, weight_update

PEFT_METHODS = sorted(name for name in BASELINES if name not in ("frozen", "full"))


def adapted_layers(model: nn.Module) -> dict[str, BaseTunerLayer]:
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, BaseTunerLayer)
    }


@torch.no_grad()
def by_function(layer: nn.Module, before: nn.Module, width: int) -> Tensor:
    """ΔW from what goes in and out, which knows nothing of how the method is made."""
    return (layer(torch.eye(width)) - before(torch.eye(width))).T


@pytest.mark.parametrize(("method", "family"), list(zip(PEFT_METHODS, cycle(["bert", "llama"]), strict=False)))
def test_the_update_is_what_the_layer_adds_to_its_output(method: str, family: str) -> None:
    model = adapt(FAMILIES[family].model(), method)
    disturb(model)
    original = FAMILIES[family].model()
    moved = method == "pissa"
    layers = adapted_layers(model.eval())
    assert layers
    for name, layer in layers.items():
        before = original.get_submodule(name)
        update = weight_update(layer, pretrained=before.weight if moved else None)
        expected = by_function(layer, before, layer.in_features)
        assert update.shape == (layer.out_features, layer.in_features)
        assert update.dtype == torch.float64
        assert update.norm() > 1e-3
        torch.testing.assert_close(update.float(), expected, atol=2e-5, rtol=1e-3)
        assert not layer.merged


def test_updates_of_transposed_weights_have_the_same_orientation() -> None:
    model = get_peft_model(FAMILIES["gpt2"].model(), LoraConfig(r=2, fan_in_fan_out=True, target_modules=["c_fc"]))
    disturb(model)
    (layer, *_) = adapted_layers(model).values()
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(weight_update(layer).float(), layer.scaling["default"] * product)


def test_the_update_of_dora_is_that_of_direction_and_magnitude() -> None:
    model = adapt(FAMILIES["bert"].model(), "dora")
    disturb(model)
    layer = next(iter(adapted_layers(model).values()))
    weight = layer.get_base_layer().weight.double()
    product = layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double()
    direction = weight + layer.scaling["default"] * product
    magnitude = layer.lora_magnitude_vector["default"].weight.double()
    merged = magnitude[:, None] * direction / direction.norm(dim=1, keepdim=True)
    torch.testing.assert_close(weight_update(layer), (merged - weight).detach(), atol=1e-7, rtol=1e-6)


def test_a_merged_layer_has_the_update_that_it_had_before() -> None:
    model = adapt(FAMILIES["bert"].model(), "vera")
    disturb(model)
    layer = next(iter(adapted_layers(model).values()))
    before = weight_update(layer)
    layer.merge()
    torch.testing.assert_close(weight_update(layer), before, atol=1e-6, rtol=1e-4)
    assert layer.merged


@pytest.mark.parametrize("method", sorted({*PEFT_METHODS, "lrlora"}))
def test_every_method_has_a_line_for_every_adapted_layer(method: str) -> None:
    family = FAMILIES["bert"]
    model = adapt(family.model(), method)
    disturb(model)
    report = layer_report(model, pretrained=family.model)
    assert {line.module: line.role for line in report} == family.roles()
    assert all(line.stable_rank is not None and line.stable_rank >= 1 - 1e-6 for line in report)
    meaningful = method in ("lora", "rslora", "lrlora")
    assert all((line.nonlinear_fraction is not None) == meaningful for line in report)


def test_what_was_trained_without_an_adapter_is_held_against_the_pretrained_weights() -> None:
    family = FAMILIES["llama"]
    model = adapt(family.model(), "full")
    added = {}
    with torch.no_grad():
        for name in family.roles():
            weight = model.get_submodule(name).weight
            added[name] = torch.outer(torch.arange(1.0, len(weight) + 1), torch.ones(weight.shape[1])) / 100
            weight += added[name]
    report = layer_report(model, pretrained=family.model)
    assert {line.module: line.role for line in report} == family.roles()
    assert all(line.stable_rank == pytest.approx(1, abs=1e-4) for line in report)
    assert layer_report(model) == [], "without the pretrained weights nothing can be said"


def test_the_pretrained_model_is_made_only_where_it_is_needed() -> None:
    def refuse() -> nn.Module:
        raise AssertionError("loaded for nothing")

    build: Callable[[], nn.Module] = FAMILIES["bert"].model
    assert layer_report(adapt(build(), "vera"), pretrained=refuse)
    assert layer_report(build().requires_grad_(False), pretrained=refuse) == []


def test_a_start_that_moves_the_weight_has_no_rank_without_the_pretrained_one() -> None:
    family = FAMILIES["bert"]
    model = adapt(family.model(), "pissa")
    report: list[LayerReport] = layer_report(model)
    assert len(report) == len(family.roles())
    assert all(line.stable_rank is None for line in report)
    assert all(line.stable_rank is not None for line in layer_report(model, pretrained=family.model))


def test_the_rank_of_a_method_that_only_turns_the_weight_is_that_of_the_difference() -> None:
    model = adapt(FAMILIES["bert"].model(), "hra")
    disturb(model)
    layer = next(iter(adapted_layers(model).values()))
    line = layer_report(model)[0]
    assert line.stable_rank == pytest.approx(stable_rank(weight_update(layer)))
