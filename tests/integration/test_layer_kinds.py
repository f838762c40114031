"""Embeddings and convolutions: what the definition says, in value and gradient, merged and not."""

from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor, nn

from lrlora import LRLoraConfig
from lrlora.tuner.convolution import Convolution
from lrlora.tuner.embedding import Embedding

RANDOM: dict[str, Any] = {"r": 2, "num_grid_points": 6, "init_weights": False, "engine": "direct"}


class Scaled(nn.Embedding):
    """As Gemma's, which multiplies what it looks up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.embed_scale = torch.tensor(3.0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.embed_scale


def adapted(layer: nn.Module, **fields: Any) -> Any:
    torch.manual_seed(1)
    model = get_peft_model(nn.Sequential(layer), LRLoraConfig(target_modules=["0"], **{**RANDOM, **fields}))
    return model.double().eval()


LAYERS: dict[str, tuple[Any, Any]] = {
    "embedding": (lambda: nn.Embedding(11, 5), lambda: torch.tensor([[1, 4, 4], [0, 10, 1]])),
    "padded": (lambda: nn.Embedding(11, 5, padding_idx=4), lambda: torch.tensor([[1, 4, 4], [0, 10, 1]])),
    "scaled": (lambda: Scaled(11, 5), lambda: torch.tensor([3, 3])),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), lambda: torch.randn(2, 4, 9)),
    "conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), stride=2), lambda: torch.randn(2, 4, 8, 9)),
    "grouped": (
        lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1, padding_mode="reflect"),
        lambda: torch.randn(1, 4, 5, 6),
    ),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), lambda: torch.randn(1, 2, 4, 4, 4)),
}


@pytest.fixture(params=LAYERS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    make, inputs = LAYERS[request.param]
    layer, x = make(), inputs()
    return layer, x.double() if x.is_floating_point() else x


def test_the_layer_is_the_base_layer_with_another_weight(case: tuple[nn.Module, Tensor]) -> None:
    layer, x = case
    model = adapted(layer)
    module = model.base_model.model[0]
    found = model(x)
    weight = module.get_base_layer().weight
    with torch.no_grad():
        weight += module.get_delta_weight("default")
        expected = module.get_base_layer()(x)
        weight -= module.get_delta_weight("default")
    torch.testing.assert_close(found, expected)
    merged = model.merge_and_unload()
    torch.testing.assert_close(merged(x), expected)


def test_every_parameter_takes_its_gradient(case: tuple[nn.Module, Tensor]) -> None:
    layer, x = case
    model = adapted(layer, grid="learned")
    module = model.base_model.model[0]
    incoming = torch.randn_like(model(x))

    def gradients(y: Tensor) -> list[Tensor]:
        found = [p for _, p in model.named_parameters() if p.requires_grad]
        assert len(found) == 5
        return list(torch.autograd.grad((y * incoming).sum(), found))

    delta = module.get_delta_weight("default")
    if isinstance(module, Embedding):
        scale = getattr(module.get_base_layer(), "embed_scale", 1.0)
        update = torch.nn.functional.embedding(x, delta, padding_idx=module.get_base_layer().padding_idx) * scale
    else:
        assert isinstance(module, Convolution)
        update = module.get_base_layer()._conv_forward(x, delta, None)
    found, expected = gradients(model(x)), gradients(update)
    padding = getattr(module.get_base_layer(), "padding_idx", None)
    for one, other, (name, _) in zip(
        found, expected, [i for i in model.named_parameters() if i[1].requires_grad], strict=True
    ):
        if padding is not None and "lrlora_A" not in name:
            continue  # as in LoRA, B and θ see the padding token, whose column of A is left alone
        torch.testing.assert_close(one, other)


def test_the_padding_token_is_left_alone() -> None:
    model = adapted(nn.Embedding(11, 5, padding_idx=4))
    model(torch.tensor([4, 4, 2])).square().sum().backward()
    gradient = model.base_model.model[0].lrlora_A["default"].weight.grad
    assert gradient[:, 4].count_nonzero() == 0
    assert gradient[:, 2].count_nonzero() > 0


def test_a_new_adapter_is_the_identity_and_learns(case: tuple[nn.Module, Tensor]) -> None:
    layer, x = case
    model = adapted(layer, init_weights=True, engine="auto").float()
    x = x.float() if x.is_floating_point() else x
    with model.disable_adapter():
        expected = model(x)
    assert torch.equal(model(x), expected)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for _ in range(5):
        loss = (model.train()(x) - 1).square().mean()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]


def test_two_adapters_add_up(case: tuple[nn.Module, Tensor]) -> None:
    layer, x = case
    model = adapted(layer)
    model.add_adapter("second", LRLoraConfig(target_modules=["0"], **RANDOM))
    model.double()
    plain = []
    for names in (["default"], ["second"], ["default", "second"]):
        model.base_model.set_adapter(names)
        plain.append(model(x))
    with model.disable_adapter():
        base = model(x)
    torch.testing.assert_close(plain[2] - base, plain[0] - base + plain[1] - base)


def test_what_cannot_be_adapted_is_named() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.norm = nn.MultiheadAttention(4, 1), nn.LayerNorm(4)

    with pytest.raises(ValueError, match="MultiheadAttention reads its weight and never calls it"):
        get_peft_model(Attention(), LRLoraConfig(target_modules=["out_proj"]))
    with pytest.raises(ValueError, match="'norm' is a LayerNorm; LR-LoRA adapts"):
        get_peft_model(Attention(), LRLoraConfig(target_modules=["norm"]))
    sharded = nn.Sequential(nn.Linear(4, 4))
    sharded[0]._hf_tp_plan = "colwise"
    with pytest.raises(ValueError, match="sharded by tensor parallelism"):
        get_peft_model(sharded, LRLoraConfig(target_modules=["0"]))
