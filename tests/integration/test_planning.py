"""When plans are made: in training by a schedule and when parameters change otherwise, in evaluation by the values."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor, nn

from lrlora import LRLoraConfig
from lrlora.engines.direct import DirectEngine
from lrlora.engines.select import AutoEngine
from lrlora.tuner.layer import LRLoraLayer

LAYERS = 3


def adapted(**fields: Any) -> nn.Module:
    torch.manual_seed(0)
    base = nn.Sequential(*[nn.Linear(12, 12) for _ in range(LAYERS)])
    names = [str(i) for i in range(LAYERS)]
    return get_peft_model(base, LRLoraConfig(r=2, target_modules=names, init_weights=False, **fields))


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every plan that is made."""
    made: list[int] = []
    plan = AutoEngine.plan

    def counting(self: AutoEngine, *args: Any, **kwargs: Any) -> Any:
        made.append(1)
        return plan(self, *args, **kwargs)

    monkeypatch.setattr(AutoEngine, "plan", counting)
    return made


def layers(model: nn.Module) -> list[LRLoraLayer]:
    return [module for module in model.modules() if isinstance(module, LRLoraLayer)]


def expected(model: nn.Module, x: Tensor) -> Tensor:
    """Layer by layer, each with a plan of its own."""
    for layer in layers(model):
        x = layer.base_layer(x) + x @ layer.get_delta_weight("default").T
    return x


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, first: int = 0) -> list[float]:
    losses = []
    for i in range(first, first + steps):
        x = torch.randn(8, 12, generator=torch.Generator().manual_seed(i))
        loss = model.train()(x).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def test_a_few_plans_keep_a_growing_update_accurate(planned: list[int]) -> None:
    """ΔW is within a few times the tolerance of the definition also just before a plan is replaced."""
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(48, 40))
    model = get_peft_model(layer, LRLoraConfig(r=4, target_modules=["0"]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    x = torch.randn(256, 48)
    y = layer(x).detach() + torch.tanh(x @ torch.randn(48, 4) / 7) @ torch.randn(4, 40)
    (adapter,) = layers(model)
    errors = []
    for _ in range(100):
        optimizer.zero_grad()
        (model.train()(x) - y).square().mean().backward()
        optimizer.step()
        with torch.no_grad():  # as the next forward pass finds it
            A, B = adapter.factors("default")
            transfer = adapter.transfer("default")
            plan = adapter.lrlora_plan["default"].current(
                adapter.lrlora_engine["default"], A, B, transfer, list(adapter.held_factors("default")), training=True
            )
            exact = DirectEngine().delta(A, B, transfer)
            errors.append(float((plan.delta(A, B, transfer) - exact).norm() / exact.norm()))
    assert max(errors) <= 3 * adapter.lrlora_engine["default"].tolerance
    assert 5 <= len(planned) <= 20


def test_accumulated_gradients_keep_the_plan(planned: list[int]) -> None:
    model = adapted().train()
    for _ in range(7):
        model(torch.randn(4, 12)).sum().backward()
    plans = len(planned)
    model(torch.randn(4, 12))
    model(torch.randn(4, 12))
    assert len(planned) == plans, "nothing changed between two forward passes"


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "a sign": lambda model: layers(model)[0].lrlora_B["default"].weight[:, 1].neg_(),
    "a scale": lambda model: [layer.lrlora_B["default"].weight.mul_(30) for layer in layers(model)],
    "loaded": lambda model: model.load_state_dict(
        {k: v * 3 for k, v in model.state_dict().items() if v.is_floating_point()}, strict=False
    ),
}


@pytest.mark.parametrize("after_a_step", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_other_than_by_training_is_noticed_in_training(change: str, after_a_step: bool) -> None:
    model = adapted(input_scale=3.0, lora_alpha=2, amplitude_init="small:0.3", num_grid_points=8)
    with torch.no_grad():
        for layer in layers(model):
            A, B = layer.lrlora_A["default"].weight, layer.lrlora_B["default"].weight
            A[1], B[:, 1] = 1.01 * A[0], -B[:, 0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    train(model, optimizer, 15)
    model.train()
    x = torch.randn(4, 12)
    if after_a_step:
        train(model, optimizer, 1, first=15)
    else:
        model(x)
    with torch.no_grad():
        CHANGES[change](model)
        torch.testing.assert_close(
            model(x), expected(model, x), rtol=5e-3, atol=5e-3 * float(expected(model, x).norm()) / 7
        )


@pytest.mark.filterwarnings("ignore:engine=:RuntimeWarning")
@pytest.mark.parametrize("engine", ["auto", "monomials", "polynomial", "tabulated"])
def test_a_step_between_plans_reads_no_value(engine: str, host_reads: Any) -> None:
    model = adapted(engine=engine)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    train(model, optimizer, 7)
    model.train()
    with host_reads:
        model(torch.randn(4, 12)).square().mean().backward()
    assert host_reads.found == []


@pytest.mark.parametrize("at", [1, 5, 7])
def test_a_resumed_run_goes_on_to_the_bit(at: int) -> None:
    whole = adapted()
    optimizer = torch.optim.AdamW(whole.parameters(), lr=1e-2)
    train(whole, optimizer, at)
    state, of_optimizer = copy.deepcopy(whole.state_dict()), copy.deepcopy(optimizer.state_dict())
    expected = train(whole, optimizer, 6, first=at)
    resumed = adapted()
    resumed.load_state_dict(state)
    again = torch.optim.AdamW(resumed.parameters(), lr=1e-2)
    again.load_state_dict(of_optimizer)
    assert train(resumed, again, 6, first=at) == expected


def test_a_damaged_plan_is_refused() -> None:
    model = adapted()
    plans = layers(model)[0].lrlora_plan["default"]
    with pytest.raises(ValueError, match="plan of an adapted layer is damaged"):
        plans.set_extra_state(torch.tensor([1, 2, 3], dtype=torch.uint8))


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


def test_a_copied_or_pickled_model_fits_itself() -> None:
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
                layer.lrlora_B["default"].weight.mul_(2)
            assert not torch.allclose(other(x), before)
        assert torch.equal(model(x), before), "the original is left as it was"


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
