"""A basis in use: in float32, through the default engine, in a config and its file, and in an adapter that trains."""

from __future__ import annotations

import tempfile

import torch

from lrlora.bases import BASES, Basis
from lrlora.engines import ENGINES
from lrlora.testing.basis_checks.arguments import evaluate, generic
from lrlora.testing.checks import ConformanceError, demand, one_line
from lrlora.testing.engine_layers import F32, Layer, Step
from lrlora.testing.tiny_models import TinyModel, adapted, adapter_config, seeded, train
from lrlora.tuner.config import LRLoraConfig

TINY = TinyModel("linear", layers=2)


def check_float32(basis: Basis) -> None:
    """ΔW by the definition in float32 is within 1e-3 of that in float64."""
    for layer in _layers(basis):
        exact, rounding = layer.definition([leaf.detach() for leaf in layer.leaves(F32)])
        demand(exact.float().square().sum().isfinite(), f"the definition leaves float32 for {layer}")
        said = f"float32 makes ΔW {rounding / float(exact.norm()):.1e} off, relative, where 0.001 is the most"
        demand(rounding <= 1e-3 * float(exact.norm()), f"{said}, for {layer}")


def check_engine_auto(basis: Basis) -> None:
    """Engine ``auto``, at its default tolerance, is within that of the definition."""
    engine = ENGINES.create("auto")
    for layer in _layers(basis):
        step = Step(engine, layer, [leaf.detach() for leaf in layer.leaves(F32)])
        exact, _ = layer.definition(step.leaves)
        error = float((step.delta().double() - exact).norm() / exact.norm())
        said = f"engine 'auto': ΔW is {error:.1e} off, relative, where {engine.tolerance:g} is promised, for {layer}"
        demand(error <= engine.tolerance, said)


def check_config_round_trip(basis: Basis) -> None:
    """A config with the basis is written as JSON and read back with the same basis and the same options."""
    demand(
        BASES.name_of(basis) is not None,
        f"{type(basis).__name__} has no registered name, so no adapter with it can be saved: decorate the class with "
        '@register("...") from lrlora.bases',
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            _config(basis).save_pretrained(folder)
        except TypeError as error:
            raise ConformanceError(f"its options cannot be saved as JSON: {one_line(error)}") from error
        read = LRLoraConfig.from_pretrained(folder).make_basis()
    _check_same(basis, read)
    same = torch.equal(evaluate(read, generic(7)), evaluate(basis, generic(7)))
    demand(same, f"{read!r} was read back from a file and has other values than {basis!r}")


def check_adapter_trains_and_merges(basis: Basis) -> None:
    """A few steps train every part of θ, and the output is the same in training, in evaluation and merged."""
    model, steps = adapted(TINY, _config(basis)), 4
    unreached = train(TINY, model, steps, rate=2e-3)
    demand(not unreached, f"in {steps} steps of training no gradient reaches {min(unreached, default='')}")
    with torch.no_grad(), seeded():  # so few steps leave φ nearly straight, and every basis would do
        for name, one in model.named_parameters():
            if "lrlora_amplitude" in name:
                one.add_(0.5 * torch.randn_like(one))
    training = TINY.output(model.train()).detach()
    with torch.no_grad():
        unmerged = TINY.output(model.eval())
        added = float((unmerged - TINY.output(TINY.build())).norm())  # of which engines promise 2e-3 per layer
        merged = TINY.output(model.merge_and_unload())
    for found, where in ((training, "in training"), (merged, "merged")):
        error = float((found - unmerged).norm()) / added
        demand(error <= 0.01, f"the adapter's output {where} is {error:.1%} of what it adds off that in evaluation")


def _layers(basis: Basis) -> list[Layer]:
    """Layers where φ is nearly straight, where it bends, and nearly to the ends of the grid."""
    cases = ((0.031, 8), (0.97, 50), (2.93, 8))
    return [Layer(basis, largest, num, out=24, inside=20, input_scale=2.0, seed=7) for largest, num in cases]


def _config(basis: Basis) -> LRLoraConfig:
    return adapter_config(TINY, basis=basis, num_grid_points=8, grid="learned" if basis.uses_grid else "uniform")


def _check_same(basis: Basis, read: Basis) -> None:
    kinds = type(basis).__name__, type(read).__name__
    demand(type(read) is type(basis), f"a saved {kinds[0]} is read back as a {kinds[1]}")
    for name, value in vars(basis).items():
        again = vars(read).get(name)
        if isinstance(value, Basis) and isinstance(again, Basis):  # a part, which need not know when it equals another
            _check_same(value, again)
        else:
            same = type(again) is type(value) and again == value
            demand(same, f"its option {name} = {value!r} is read back as {again!r}")
