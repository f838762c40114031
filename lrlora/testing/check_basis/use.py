"""A basis in use: in float32, through the default engine, in a config and its file, and in an adapter that trains."""

from __future__ import annotations

import copy
import tempfile
import warnings
from typing import Any

import torch
from peft import get_peft_model
from torch import Tensor, nn

from lrlora.bases import BASES, Basis
from lrlora.engines import ENGINES
from lrlora.optimizer import parameter_groups
from lrlora.testing.check_basis.contract import evaluate, generic
from lrlora.testing.checks import ConformanceError, one_line
from lrlora.testing.engine_layers import F32, Layer, Step
from lrlora.tuner.config import LRLoraConfig

CASES = ((0.031, 8), (0.97, 50), (2.93, 8))
"""The largest |s_in · BA|, and N: where φ is nearly straight, where it bends, and nearly to the ends of the grid."""
STEPS = 4


def check_float32(basis: Basis) -> None:
    """ΔW by the definition in float32 is within 1e-3 of that in float64."""
    for layer in _layers(basis):
        exact, rounding = layer.definition([leaf.detach() for leaf in layer.leaves(F32)])
        if not bool(exact.float().square().sum().isfinite()):
            raise ConformanceError(f"the definition leaves float32 for {layer}")
        if not rounding <= 1e-3 * float(exact.norm()):
            raise ConformanceError(
                f"float32 makes ΔW {rounding / float(exact.norm()):.1e} off, relative, where 0.001 is the most, "
                f"for {layer}"
            )


def check_engine_auto(basis: Basis) -> None:
    """Engine ``auto``, at its default tolerance, is within that of the definition."""
    engine = ENGINES.create("auto")
    for layer in _layers(basis):
        step = Step(engine, layer, [leaf.detach() for leaf in layer.leaves(F32)])
        exact, _ = layer.definition(step.leaves)
        error = float((step.delta().double() - exact).norm() / exact.norm())
        if not error <= engine.tolerance:
            raise ConformanceError(
                f"engine 'auto': ΔW is {error:.1e} off, relative, where {engine.tolerance:g} is promised, for {layer}"
            )


def check_config_round_trip(basis: Basis) -> None:
    """A config with the basis is written as JSON and read back with the same basis and the same options."""
    if BASES.name_of(basis) is None:
        raise ConformanceError(
            f"{type(basis).__name__} has no registered name, so no adapter with it can be saved: decorate the class "
            'with @register("...") from lrlora.bases'
        )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _config(basis).save_pretrained(folder)
        except TypeError as error:
            raise ConformanceError(f"its options cannot be saved as JSON: {one_line(error)}") from error
        read = LRLoraConfig.from_pretrained(folder).make_basis()
    _check_same(basis, read)
    arguments = generic(7)
    if not torch.equal(evaluate(read, *arguments), evaluate(basis, *arguments)):
        raise ConformanceError(f"{read!r} was read back from a file and has other values than {basis!r}")


def check_adapter_trains_and_merges(basis: Basis) -> None:
    """A few steps train every part of θ, and the output is the same in training, in evaluation and merged."""
    model, x = _trained(basis)
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ConformanceError(f"{STEPS} steps of training make {name} not finite")
    with torch.enable_grad():
        training = model.train()(x).detach()
    with torch.no_grad():
        unmerged = model.eval()(x)
        share = float((unmerged - _base()(x)).norm())  # what the adapter adds, of which engines promise 2e-3 per layer
        merged = model.merge_and_unload()(x)
    for found, where in ((training, "in training"), (merged, "merged")):
        error = float((found - unmerged).norm()) / share
        if not error <= 0.01:
            raise ConformanceError(
                f"the adapter's output {where} is {error:.1%} of what it adds off that in evaluation"
            )


def _layers(basis: Basis) -> list[Layer]:
    return [Layer(basis, largest, num, out=24, inside=20, input_scale=2.0, seed=7) for largest, num in CASES]


def _check_same(basis: Basis, read: Basis) -> None:
    if type(read) is not type(basis):
        raise ConformanceError(f"a saved {type(basis).__name__} is read back as a {type(read).__name__}")
    for name, value in vars(basis).items():
        again = vars(read).get(name)
        if isinstance(value, Basis) and isinstance(again, Basis):  # a part, which need not know when it equals another
            _check_same(value, again)
        elif type(again) is not type(value) or again != value:
            raise ConformanceError(f"its option {name} = {value!r} is read back as {again!r}")


def _base() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))


def _config(basis: Basis, **fields: Any) -> LRLoraConfig:
    grid = "learned" if basis.uses_grid else "uniform"
    return LRLoraConfig(r=2, basis=basis, num_grid_points=8, grid=grid, target_modules=["0", "2"], **fields)


def _trained(basis: Basis) -> tuple[Any, Tensor]:
    """A small adapted model after a few steps, evaluating, its φ bent; and inputs for it."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(12)
        model = get_peft_model(copy.deepcopy(_base()), _config(basis))
        x, target = torch.randn(32, 6), torch.randn(32, 4)
        unreached = {name for name, one in model.named_parameters() if one.requires_grad}
        optimizer = torch.optim.Adam(parameter_groups(model, lr=2e-3))
        for _ in range(STEPS):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), target).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            unreached -= {
                name for name, one in model.named_parameters() if one.grad is not None and bool(one.grad.any())
            }
        with torch.no_grad():  # so few steps leave φ nearly straight, and every basis would do
            for name, one in model.named_parameters():
                if "lrlora_amplitude" in name:
                    one.add_(0.5 * torch.randn_like(one))
    if unreached:
        raise ConformanceError(f"in {STEPS} steps of training no gradient reaches {min(unreached)}")
    return model.eval(), x
