"""What is computed depends on the parameters as they are, and reading changes nothing.

Parameters change behind an optimizer's back: weight averaging, swapped copies, projections. Whatever is kept between
passes has to notice. ``engine="direct"`` keeps nothing, and says what is right.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small import BENT, adapted, mlp, off, rows, run, trained
from torch import Tensor, nn

from lrlora import LRLoraConfig, LRLoraLayer

TOLERANCE = 2e-2
"""Of outputs, of an engine whose tolerance is 2e-3 on ΔW."""


def factors(layer: LRLoraLayer) -> tuple[Tensor, Tensor]:
    """A and B of the adapter, whatever holds them."""
    found = [layer.lrlora_A["default"], layer.lrlora_B["default"]]
    A, B = (getattr(held, "weight", held) for held in found)
    return A, B


def theta(layer: LRLoraLayer) -> tuple[Tensor, Tensor]:
    """The amplitudes and what the bandwidths are made of."""
    return layer.lrlora_amplitude["default"].weight, layer.lrlora_bandwidth["default"].weight


def cancel(layer: LRLoraLayer) -> None:
    """Two columns that all but cancel: BA is small beside the norms of A and B."""
    A, B = factors(layer)
    A[1] = 1.01 * A[0]
    B[:, 1] = -B[:, 0]


def flip(layer: LRLoraLayer) -> None:
    """No norm of A or B changes, and BA grows two hundred times."""
    factors(layer)[1][:, 1].neg_()


def permute(layer: LRLoraLayer) -> None:
    A, _ = factors(layer)
    A.copy_(A.flip(0))


def rotate(layer: LRLoraLayer) -> None:
    """Every row of A keeps its norm."""
    A, _ = factors(layer)
    A.copy_(A.roll(1, dims=1))


def swap_amplitudes(layer: LRLoraLayer) -> None:
    a, _ = theta(layer)
    a.copy_(-a.flip(0))


def widen(layer: LRLoraLayer) -> None:
    theta(layer)[1].sub_(0.7)


def through_data(layer: LRLoraLayer) -> None:
    """Past the counters of versions."""
    factors(layer)[0].data = factors(layer)[0].data * -1.5


def grow(layer: LRLoraLayer) -> None:
    factors(layer)[1].mul_(20)


def shrink(layer: LRLoraLayer) -> None:
    factors(layer)[1].mul_(0.01)


CHANGES = [flip, permute, rotate, swap_amplitudes, widen, through_data, grow, shrink]


def layers(model: nn.Module) -> list[LRLoraLayer]:
    return [module for module in model.modules() if isinstance(module, LRLoraLayer)]


def changed(model: nn.Module, change: Callable[[LRLoraLayer], None]) -> None:
    with torch.no_grad():
        for layer in layers(model):
            change(layer)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    model.zero_grad()
    model(rows()).square().sum().backward()
    return {name: p.grad.clone() for name, p in trained(model).items() if p.grad is not None}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_between_two_passes_is_seen(change: Callable[[LRLoraLayer], None], training: bool) -> None:
    model, reference = adapted(), adapted(engine="direct")
    for each in (model, reference):
        changed(each, cancel)
        each.train(training)
    run(model, rows())
    gradients(model)
    for each in (model, reference):
        changed(each, change)
    assert off(run(model, rows()), run(reference, rows())) < TOLERANCE
    found, expected = gradients(model), gradients(reference)
    for name, gradient in expected.items():
        # The gradient of θ is that of the few functions of the entries that the plan follows.
        near = 0.5 if "amplitude" in name or "bandwidth" in name else 10 * TOLERANCE
        assert off(found[name], gradient) < near or gradient.norm() < 1e-4, name
    merged = copy.deepcopy(model).eval().merge_and_unload()
    assert off(run(model.eval(), rows()), run(merged, rows())) < 1e-5


def test_a_state_that_is_loaded_is_what_is_computed() -> None:
    model, reference = adapted(), adapted(engine="direct")
    run(model.train(), rows())
    other = adapted(init_weights=True)
    changed(other, lambda layer: nn.init.normal_(factors(layer)[1], std=0.3))
    for each in (model, reference):
        each.load_state_dict(other.state_dict(), strict=False)
    assert off(run(model, rows()), run(reference.train(), rows())) < TOLERANCE


def test_averaged_weights_are_swapped_in_and_out() -> None:
    """As evaluation on an exponential moving average does at every epoch."""
    model, reference = adapted().train(), adapted(engine="direct").train()
    before = run(model, rows())
    kept = {name: p.detach().clone() for name, p in trained(model).items()}
    for each in (model, reference):
        for p in trained(each).values():
            p.data = p.data * 0.3
    assert off(run(model, rows()), run(reference, rows())) < TOLERANCE
    for name, p in trained(model).items():
        p.data = kept[name]
    assert off(run(model, rows()), before) < TOLERANCE


def test_a_copy_is_not_computed_from_the_state_of_the_first() -> None:
    model = adapted().train()
    run(model, rows())
    other = copy.deepcopy(model)
    changed(other, flip)
    changed(other, grow)
    reference = adapted(engine="direct").train()
    changed(reference, flip)
    changed(reference, grow)
    assert off(run(other, rows()), run(reference, rows())) < TOLERANCE
    assert off(run(model, rows()), run(adapted(engine="direct").train(), rows())) < TOLERANCE


# -- reading changes nothing --------------------------------------------------------------------------------


def read_state(model: nn.Module) -> None:
    model.state_dict()


def look(model: nn.Module) -> None:
    list(model.named_parameters())
    repr(model)
    copy.deepcopy(model)
    model.get_layer_status()  # type: ignore[operator]


def evaluate(model: nn.Module) -> None:
    model.eval()
    run(model, 3 * rows())
    model.train()


def run_other_rows(model: nn.Module) -> None:
    run(model, 10 * rows(3))


def merge_and_unmerge(model: nn.Module) -> None:
    model.merge_adapter()  # type: ignore[operator]
    run(model, rows())
    model.unmerge_adapter()  # type: ignore[operator]


def disable(model: nn.Module) -> None:
    with model.disable_adapter():  # type: ignore[operator]
        run(model, rows())


def read_updates(model: nn.Module) -> None:
    for layer in layers(model):
        layer.get_delta_weight("default").sum()


READING = [read_state, look, evaluate, run_other_rows, merge_and_unmerge, disable, read_updates]


def steps(model: nn.Module, between: Callable[[nn.Module], Any]) -> dict[str, Tensor]:
    """Parameters after some steps of training, with something done between them."""
    model.train()
    optimizer = torch.optim.AdamW(trained(model).values(), lr=3e-2)
    for _ in range(15):
        optimizer.zero_grad()
        (model(rows()) - 1).square().mean().backward()
        optimizer.step()
        between(model)
    return {name: p.detach() for name, p in trained(model).items()}


@pytest.mark.parametrize("engine", ["auto", "polynomial"])
@pytest.mark.parametrize("reading", READING, ids=lambda reading: reading.__name__)
def test_reading_between_steps_leaves_training_as_it_is(reading: Callable[[nn.Module], Any], engine: str) -> None:
    expected = steps(adapted(engine=engine), lambda _: None)
    found = steps(adapted(engine=engine), reading)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_one_model_in_two_threads_of_work() -> None:
    """Adapters of one model, and of two models of one config, do not see each other's state."""
    config = LRLoraConfig(**BENT, target_modules=["inside", "out", "head"])
    model, alone = adapted(), adapted()
    torch.manual_seed(5)
    model.add_adapter("second", config)
    changes = steps(alone, lambda _: None)

    def use_second(model: nn.Module) -> None:
        model.set_adapter("second")  # type: ignore[operator]
        run(model, 5 * rows())
        model.set_adapter("default")  # type: ignore[operator]

    found = steps(model, use_second)
    assert all(torch.equal(found[name], value) for name, value in changes.items())


def test_an_evaluation_depends_on_the_parameters_alone() -> None:
    """And not on how they came to be: a loaded adapter computes what the saved one did."""
    model = adapted()
    steps(model, lambda _: None)
    fresh = adapted()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(run(fresh.eval(), rows()), run(model.eval(), rows()))


def test_one_token_unmerged_equals_merged() -> None:
    """Decoding: what a few rows get does not depend on which way they are computed."""
    model = adapted(mlp())
    merged = copy.deepcopy(model).merge_and_unload()
    many = run(model, rows(64))
    for count in (1, 2, 5):
        few = run(model, rows(64)[:count])
        assert off(few, run(merged, rows(64)[:count])) < 1e-5
        assert off(few, many[:count]) < 1e-5
