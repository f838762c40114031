"""A φ that all adapters share is one function: at the start, after training, and after it was saved and loaded."""

from __future__ import annotations

import warnings

import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load, save
from torch import Tensor, nn

from lrlora.bases import Basis
from lrlora.testing.checks import ConformanceError
from lrlora.tuner.config import LRLoraConfig
from lrlora.tuner.layer import layers_with

STEPS = 3


def law_tied(basis: Basis, seed: int = 0, sharing: str = "all") -> None:
    """With ``sharing="all"`` every adapter has the same φ, before and after training and after a round trip.

    Three linear layers of unequal shapes learn for three steps; their state goes through safetensors bytes into a new
    model, as PEFT reads it. Equality is bit by bit, since there is one θ and not three that agree.
    """
    model = _adapted(basis, seed, sharing)
    _require_one_function(model, "at the start")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    generator = torch.Generator().manual_seed(seed)
    start = _functions(model)[0]
    for _ in range(STEPS):
        x = torch.randn(4, 6, generator=generator)
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    _require_one_function(model, f"after {STEPS} training steps")
    trained = _functions(model)[0]
    if torch.equal(start, trained):
        raise ConformanceError(f"φ is the same after {STEPS} training steps as before: no gradient reaches θ")

    loaded = _adapted(basis, seed + 1, sharing)
    set_peft_model_state_dict(loaded, load(save(get_peft_model_state_dict(model))))
    _require_one_function(loaded, "after loading")
    if not torch.equal(_functions(loaded)[0], trained):
        raise ConformanceError("φ differs after its state was saved and loaded")


def _adapted(basis: Basis, seed: int, sharing: str) -> PeftModel:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's remarks on models without a config
        torch.manual_seed(seed)
        base = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
        config = LRLoraConfig(
            r=2,
            basis=basis,
            num_grid_points=5,
            sharing=sharing,
            target_modules=["0", "2", "4"],
            init_weights=False,
            input_scale=1.0,
        )
        return get_peft_model(base, config)


def _functions(model: nn.Module) -> list[Tensor]:
    z = torch.linspace(-3, 3, 33)
    with torch.no_grad():
        return [layer.transfer("default")(z) for layer in layers_with(model, "default").values()]


def _require_one_function(model: nn.Module, when: str) -> None:
    first, *others = _functions(model)
    for i, other in enumerate(others, 2):
        if not torch.equal(first, other):
            off = float((first - other).abs().max())
            raise ConformanceError(f"φ of adapter {i} differs from that of adapter 1 by {off:.2e} {when}")
