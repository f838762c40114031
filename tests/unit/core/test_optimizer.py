"""θ trains in a group of its own, at the learning rate that the config says."""

import pytest
import torch
from peft import get_peft_model

from lrlora import LRLoraConfig, parameter_groups


def adapted(**fields: object) -> torch.nn.Module:
    return get_peft_model(torch.nn.Sequential(torch.nn.Linear(6, 6)), LRLoraConfig(r=2, target_modules=["0"], **fields))


def test_theta_has_its_learning_rate_and_is_not_decayed() -> None:
    groups = {
        group["name"]: group for group in parameter_groups(adapted(transfer_lr_scale=0.5), 1e-2, weight_decay=0.1)
    }
    assert set(groups) == {"adapter", "transfer"}
    assert (groups["adapter"]["lr"], groups["adapter"]["weight_decay"]) == (1e-2, 0.1)
    assert (groups["transfer"]["lr"], groups["transfer"]["weight_decay"]) == (5e-3, 0.0)
    assert sum(p.numel() for p in groups["transfer"]["params"]) == 100
    assert sum(p.numel() for p in groups["adapter"]["params"]) == 24


def test_the_argument_goes_before_the_config() -> None:
    transfer = parameter_groups(adapted(), 1.0, transfer_lr_scale=0.0)[1]
    assert transfer["lr"] == 0.0


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_a_scale_of_zero_freezes_theta(scale: float) -> None:
    torch.manual_seed(0)
    model = adapted(init_weights=False, transfer_lr_scale=scale)
    before = model.base_model.model[0].lrlora_amplitude["default"].weight.clone()
    optimizer = torch.optim.SGD(parameter_groups(model, 0.1))
    model(torch.randn(5, 6)).square().sum().backward()
    optimizer.step()
    moved = not torch.equal(before, model.base_model.model[0].lrlora_amplitude["default"].weight)
    assert moved == (scale > 0)
