"""A weighted combination is one of updates, and says what it loses."""

from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import nn

from lrlora import LRLoraConfig

RANDOM: dict[str, Any] = {"num_grid_points": 6, "init_weights": False}


def two_adapters() -> PeftModel:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 4), nn.Embedding(7, 5))
    model = get_peft_model(base, LRLoraConfig(r=2, target_modules=["0", "1", "2"], lora_alpha=3.0, **RANDOM))
    model.add_adapter("second", LRLoraConfig(r=1, target_modules=["1"], basis="gaussian", **RANDOM))
    return model


def updates(model: PeftModel, name: str) -> dict[int, torch.Tensor]:
    layers = enumerate(model.base_model.model)
    return {i: layer.get_delta_weight(name).detach() for i, layer in layers if name in layer.r}


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, -2.0)])
def test_a_full_rank_holds_the_sum_of_the_updates(weights: tuple[float, float]) -> None:
    model = two_adapters()
    errors = model.add_weighted_adapter(["default", "second"], list(weights), "both", svd_rank=8)
    first, second, both = (updates(model, name) for name in ("default", "second", "both"))
    assert both.keys() == {0, 1, 2}
    for i, found in both.items():
        expected = weights[0] * first[i] + weights[1] * second.get(i, torch.zeros_like(first[i]))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert errors == pytest.approx({"0": 0, "1": 0, "2": 0}, abs=1e-6)


def test_what_truncation_loses_is_what_is_returned() -> None:
    model = two_adapters()
    errors = model.add_weighted_adapter(["default"], [2.0], "cut", svd_rank=1)
    for i, expected in updates(model, "default").items():
        lost = (updates(model, "cut")[i] - 2 * expected).norm() / (2 * expected).norm()
        assert errors[str(i)] == pytest.approx(float(lost), rel=1e-3)
        assert lost > 0.01, "an update φ(BA) has a rank of more than one"


def test_the_new_adapter_waits_and_can_be_trained_saved_and_loaded(tmp_path: Any) -> None:
    model = two_adapters()
    model.add_weighted_adapter(["default", "second"], [1.0, 1.0], "both")
    assert model.active_adapters == ["default"]
    assert not any(p.requires_grad for name, p in model.named_parameters() if ".both" in name)
    model.set_adapter("both")
    layer = model.base_model.model[0]
    layer.train()(torch.randn(3, 6)).square().sum().backward()
    assert layer.lrlora_amplitude["both"].weight.grad.count_nonzero() > 0
    model.save_pretrained(tmp_path, selected_adapters=["both"])
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 4), nn.Embedding(7, 5))
    loaded = PeftModel.from_pretrained(base, tmp_path / "both")
    for i, found in updates(loaded, "default").items():
        assert torch.equal(found, updates(model, "both")[i])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"adapters": ["third"]}, "no adapter 'third'"),
        ({"adapters": []}, "no adapter to combine"),
        ({"weights": [1.0]}, "2 adapters take as many weights, not 1"),
        ({"adapter_name": "second"}, "'second' already"),
        ({"combination_type": "linear"}, "combined on their updates"),
        ({"svd_rank": -1}, "svd_rank must be >= 1"),
    ],
)
def test_what_cannot_be_combined_adds_nothing(arguments: dict[str, Any], message: str) -> None:
    model = two_adapters()
    given = {"adapters": ["default", "second"], "weights": [1.0, 1.0], "adapter_name": "both", **arguments}
    with pytest.raises(ValueError, match=message):
        model.add_weighted_adapter(**given)
    assert list(model.peft_config) == ["default", "second"]


def test_an_update_that_is_not_finite_is_not_combined() -> None:
    model = two_adapters()
    with torch.no_grad():
        model.base_model.model[1].lrlora_B["second"].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="the update of 1 is not finite"):
        model.add_weighted_adapter(["default", "second"], [1.0, 1.0], "both")
    assert list(model.peft_config) == ["default", "second"]
