"""A basis in an adapter: through a config and its file, at the identity start, in training, saving and merging."""

from __future__ import annotations

import copy
import tempfile
import warnings
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from torch import Tensor, nn

from lrlora.bases import BASES, Basis
from lrlora.optimizer import parameter_groups
from lrlora.policies.amplitudes import Identity, Start
from lrlora.testing.bases.inputs import BOUND, evaluate, generic, uniform_grid
from lrlora.testing.checks import ConformanceError, NotApplicableError
from lrlora.transfer import TransferFunction
from lrlora.tuner.config import LRLoraConfig

N = 8
STEPS = 4


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
            raise ConformanceError(f"its options cannot be saved as JSON: {' '.join(str(error).split())}") from error
        read = LRLoraConfig.from_pretrained(folder).make_basis()
    _check_same(basis, read)
    arguments = generic(7)
    if not torch.equal(evaluate(read, *arguments), evaluate(basis, *arguments)):
        raise ConformanceError(f"{read!r} was read back from a file and has other values than {basis!r}")


def check_identity_start(basis: Basis) -> None:
    """``amplitude_init="identity"`` starts as a straight line to its tolerance, or warns that it cannot."""
    init = Identity()
    for n in (N, 50):
        grid = uniform_grid(n)
        start = Start(basis, grid, torch.ones_like(grid), BOUND, depth=0.0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                amplitude = init.values(start)
            except RuntimeError as failure:
                raise ConformanceError(
                    f"the identity start cannot be fitted with {n} grid points: {' '.join(str(failure).split())[:160]}"
                ) from failure
        if not bool(amplitude.isfinite().all()):
            raise ConformanceError(f"the identity start with {n} grid points has amplitudes that are not finite")
        if any("amplitude_init='identity'" in str(warning.message) for warning in caught):
            continue
        # At points of its own, finer than those of the fit, with the amplitudes in the dtype in which they are kept.
        z = torch.linspace(-BOUND, BOUND, 40 * n + 7, dtype=torch.float64)
        f = TransferFunction(basis, amplitude.float().double(), start.bandwidth, grid, residual=False)
        error = float((f(z) - z).norm() / z.norm())
        if not error <= 1.5 * init.tolerance:
            raise ConformanceError(
                f"the identity start with {n} grid points is {error:.1%} off a straight line and does not warn "
                f"(its tolerance is {init.tolerance:.0%}): it varies between the points of the fit"
            )


def check_adapter_trains_and_merges(basis: Basis) -> None:
    """A few steps train every part of θ, and the adapter answers the same in training, in evaluation and merged."""
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
    for found, where in ((training, "while it trains"), (merged, "once it is merged")):
        off = float((found - unmerged).norm())
        if not off <= 0.01 * share:
            raise ConformanceError(
                f"the outputs of an adapter {where} are {off / share:.1%} of what it adds off those of its evaluation"
            )


def check_adapter_round_trip(basis: Basis) -> None:
    """A trained adapter is saved, loaded into a fresh base model, and answers the same."""
    if BASES.name_of(basis) is None:
        raise NotApplicableError("it has no registered name, see check_config_round_trip")
    model, x = _trained(basis)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
        again = PeftModel.from_pretrained(_base(), folder).eval()
    before, after = model.state_dict(), again.state_dict()
    for name, value in before.items():
        if not torch.equal(after[name], value):
            raise ConformanceError(f"{name} is not the same after saving and loading")
    with torch.no_grad():
        expected, found = model(x), again(x)
    if not torch.allclose(found, expected, rtol=1e-5, atol=1e-6):
        raise ConformanceError(f"saved and loaded, its outputs are {float((found - expected).abs().max()):.2g} off")


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
    return LRLoraConfig(r=2, basis=basis, num_grid_points=N, grid=grid, target_modules=["0", "2"], **fields)


def _trained(basis: Basis) -> tuple[Any, Tensor]:
    """A small adapted model after a few steps, evaluating, its φ bent; and inputs for it."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(12)
        model = get_peft_model(copy.deepcopy(_base()), _config(basis))
        x, target = torch.randn(32, 6), torch.randn(32, 4)
        reached = {name: False for name, one in model.named_parameters() if one.requires_grad}
        optimizer = torch.optim.Adam(parameter_groups(model, lr=2e-3))
        for _ in range(STEPS):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), target).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            for name, one in model.named_parameters():
                if one.grad is not None and bool(one.grad.any()):
                    reached[name] = True
        bent = [one for name, one in model.named_parameters() if "lrlora_amplitude" in name]
        with torch.no_grad():  # so few steps leave φ nearly straight, and every basis would do
            for one in bent:
                one.add_(0.5 * torch.randn_like(one))
    for name, was_reached in reached.items():
        if not was_reached:
            raise ConformanceError(f"in {STEPS} steps of training no gradient reaches {name}")
    return model.eval(), x
