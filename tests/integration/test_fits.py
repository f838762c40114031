"""Layers are fitted together, when a parameter has changed, and only then."""

import copy
import io
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor, nn

from lrlora import LRLoraConfig
from lrlora.engines.auto import AutoEngine
from lrlora.engines.layers import Layers
from lrlora.tuner.layer import LRLoraLayer

LAYERS = 5


def adapted(**fields: Any) -> nn.Module:
    torch.manual_seed(0)
    base = nn.Sequential(*[nn.Linear(12, 12) for _ in range(LAYERS)])
    names = [str(i) for i in range(LAYERS)]
    return get_peft_model(base, LRLoraConfig(r=2, target_modules=names, init_weights=False, **fields))


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many layers each fit took."""
    counts: list[int] = []
    fit = AutoEngine.fit

    def counting(self: AutoEngine, layers: Layers) -> Any:
        counts.append(len(layers))
        return fit(self, layers)

    monkeypatch.setattr(AutoEngine, "fit", counting)
    return counts


def layers(model: nn.Module) -> list[LRLoraLayer]:
    return [module for module in model.modules() if isinstance(module, LRLoraLayer)]


def expected(model: nn.Module, x: Tensor) -> Tensor:
    """Layer by layer, each with a fit of its own."""
    for layer in layers(model):
        x = layer.base_layer(x) + x @ layer.get_delta_weight("default").T
    return x


def test_a_training_step_fits_all_layers_at_once(fitted: list[int]) -> None:
    model = adapted().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(3):
        model(torch.randn(4, 12)).square().sum().backward()
        optimizer.step()
    assert fitted == [LAYERS] * 3


def test_evaluation_fits_nothing_twice(fitted: list[int]) -> None:
    model = adapted().eval()
    with torch.no_grad():
        first = model(torch.ones(4, 12))
        second = model(torch.ones(4, 12))
    assert fitted == [LAYERS]
    assert torch.equal(first, second)


@pytest.mark.parametrize("part", ["lrlora_A", "lrlora_B", "lrlora_amplitude", "lrlora_bandwidth"])
def test_a_change_behind_autograds_back_is_noticed(part: str) -> None:
    # As optimizers and weight averaging make it: through .data, which moves no version counter.
    model = adapted().eval()
    x = torch.randn(4, 12)
    with torch.no_grad():
        before = model(x)
        for name, parameter in model.named_parameters():
            if part in name:
                parameter.data.add_(0.3)
        after = model(x)
        torch.testing.assert_close(after, expected(model, x), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, after)


def test_what_a_training_fit_forgives_an_evaluation_does_not_see() -> None:
    # The same parameters give the same output, whatever was computed with them before.
    model, fresh = adapted(), adapted()
    x = torch.randn(4, 12)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(4):
        model.train()(x).square().sum().backward()
        optimizer.step()
    fresh.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model.eval()(x), fresh.eval()(x))


def test_a_copied_or_pickled_model_fits_itself(fitted: list[int]) -> None:
    model = adapted().eval()
    x = torch.randn(4, 12)
    with torch.no_grad():
        before = model(x)
        twin = copy.deepcopy(model)
        stream = io.BytesIO()
        torch.save(model, stream)
        stream.seek(0)
        loaded = torch.load(stream, weights_only=False)
        for other in (twin, loaded):
            assert torch.equal(other(x), before)
            for layer in layers(other):
                layer.lrlora_B["default"].mul_(2)
            assert not torch.allclose(other(x), before)
        assert torch.equal(model(x), before), "the original is left as it was"


def test_a_deleted_layer_is_not_fitted(fitted: list[int]) -> None:
    model = adapted().eval()
    with torch.no_grad():
        model(torch.ones(4, 12))
        model.base_model.model[4] = nn.Identity()
        layers(model)[0].lrlora_B["default"].mul_(2)
        layers(model)[1].lrlora_B["default"].mul_(2)
        model(torch.ones(4, 12))
    assert fitted == [LAYERS, 2]


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_checkpointed_layer_has_the_same_gradients(use_reentrant: bool) -> None:
    from torch.utils.checkpoint import checkpoint

    x = torch.randn(4, 12)
    found = []
    for checkpointed in (False, True):
        model = adapted().train()
        hidden = x.clone().requires_grad_()
        for layer in layers(model):
            hidden = checkpoint(layer, hidden, use_reentrant=use_reentrant) if checkpointed else layer(hidden)
        hidden.square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=0, atol=0)


def test_an_output_does_not_depend_on_whether_autograd_is_on_or_theta_is_trained() -> None:
    model = adapted().eval()
    x = torch.randn(4, 12)
    with_graph = model(x).detach()
    with torch.no_grad():
        assert torch.equal(model(x), with_graph)
        model.requires_grad_(False)
        assert torch.equal(model(x), with_graph)
        merged = model.merge_and_unload()
        torch.testing.assert_close(merged(x), with_graph, rtol=0, atol=1e-6)
