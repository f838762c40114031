"""Half precision: the update is computed in float32, and rounded once, where it meets x."""

import pytest
import torch
from peft import get_peft_model
from torch import Tensor, nn

from lrlora import LRLoraConfig
from lrlora.tuner.layer import LRLoraLayer

IN, OUT, TOKENS = 48, 32, 200


def layer_and_x(dtype: torch.dtype, dropout: float = 0.0) -> tuple[nn.Module, LRLoraLayer, Tensor]:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(IN, OUT)).to(dtype)
    model = get_peft_model(base, LRLoraConfig(r=4, target_modules=["0"], init_weights=False, lora_dropout=dropout))
    (layer,) = (module for module in model.modules() if isinstance(module, LRLoraLayer))
    with torch.no_grad():
        layer.lrlora_B["default"].weight.mul_(0.05)
    return model, layer, torch.randn(TOKENS, IN)


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm())


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("autocast", [True, False], ids=["autocast", "half base"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_layer_in_half_precision_is_that_in_full_precision_but_for_rounding(
    dtype: torch.dtype, autocast: bool
) -> None:
    exact, _, x = layer_and_x(torch.float32)
    incoming = torch.randn(TOKENS, OUT)
    expected = exact(x)
    expected.backward(incoming)
    model, _, _ = layer_and_x(torch.float32 if autocast else dtype)
    # A base in half precision is another function; so the same rounding for the exact one.
    if not autocast:
        with torch.no_grad():
            base = exact.base_model.model[0].base_layer
            base.weight.copy_(base.weight.to(dtype))
            base.bias.copy_(base.bias.to(dtype))
            expected = exact(x)
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        found = model(x if autocast else x.to(dtype))
    assert found.dtype == dtype
    found.backward(incoming.to(dtype))
    unit = torch.finfo(dtype).eps
    assert relative(found, expected) < 2 * unit
    of_exact = gradients(exact)
    for name, gradient in gradients(model).items():
        assert relative(gradient, of_exact[name]) < 4 * unit, name


def test_an_update_smaller_than_the_steps_of_a_bfloat16_weight_is_not_lost() -> None:
    model, layer, x = layer_and_x(torch.bfloat16)
    with torch.no_grad():
        layer.base_layer.weight.fill_(1.0)
        layer.base_layer.bias.zero_()
        layer.lrlora_B["default"].weight.mul_(0.01)
        x = torch.cat([x[:, : IN // 2], -x[:, : IN // 2]], dim=1)  # whose product with the weight is zero, exactly
        found = model(x.bfloat16()).double() - layer.base_layer(x.bfloat16()).double()
        update = layer.get_delta_weight("default")
    assert float(update.abs().max()) < torch.finfo(torch.bfloat16).eps / 2
    expected = x.bfloat16().double() @ update.double().T
    assert relative(found, expected) < 0.1


def test_dropout_falls_on_the_adapters_path_alone() -> None:
    model, layer, x = layer_and_x(torch.float32, dropout=0.5)
    model.train()
    torch.manual_seed(3)
    found = model(x)
    torch.manual_seed(3)
    dropped = layer.lrlora_dropout["default"](x)
    expected = layer.base_layer(x) + dropped @ layer.get_delta_weight("default").T
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("engine", ["monomials", "polynomial", "tabulated"])
def test_a_backward_pass_under_autocast_is_that_outside(engine: str) -> None:
    torch.manual_seed(0)
    config = LRLoraConfig(r=2, target_modules=["0"], init_weights=False, engine=engine, input_scale=5.0)
    model, x = get_peft_model(nn.Sequential(nn.Linear(IN, OUT)), config).train(), torch.randn(TOKENS, IN)
    found = []
    for inside in (False, True):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(x).float().square().mean()
        with torch.autocast("cpu", torch.bfloat16, enabled=inside):
            loss.backward()
        found.append(gradients(model))
        model.zero_grad()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=0, atol=0, msg=name)
