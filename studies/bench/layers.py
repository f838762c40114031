"""One linear layer of any size, its factors sampled to have the spectrum and the bending of a trained adapter's.

No adapter of such a size is trained here. What is copied from trained ones (MiniLM, r = 4, sixty steps on headlines) is
the stable rank of BA, the root mean square of s_in·BA, its largest entry (about seven times the root mean square), and
the nonlinear fraction ‖ΔW − c·BA‖_F / ‖ΔW‖_F, one of :data:`BENDINGS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lrlora.registry import UnknownNameError
from lrlora.studies.bench.compared import Configs
from lrlora.studies.bench.device import finish
from lrlora.studies.bench.timing import Step
from lrlora.studies.methods import make_method

BENDINGS = {"mild": 0.02, "strong": 0.17}
"""Nonlinear fractions: of a quick study, and of φ's parameters trained at the full learning rate."""
DECAY = 0.48
"""Ratio of neighbouring singular values of BA, for a stable rank of 1 / (1 − 0.48²) = 1.3."""
INPUT_SCALE, GRID_BOUND = 200.0, 3.0
RMS = 0.4
"""Root mean square of s_in·BA."""
LEARNING_RATE = 1e-6
"""So small that the factors stay as they were sampled."""
_CURVE_POINTS, _TWIN = 512, 256
_FACTORS, _HALVINGS = (1e-4, 1e4), 40


def layer_steps(
    shape: tuple[int, int], tokens: int, configs: Configs, bending: str = "mild", device: str = "cpu"
) -> dict[str, Step]:
    """Returns a step per method, which all start from the same weight and, where they have them, the same A and B.

    A step is forward, backward (to the input too, as in an inner layer) and AdamW; for one token it is decoding: a
    forward pass of the unmerged layer in evaluation mode.

    Args:
        shape: Of the weight, (out, in).
        tokens: In a step.
        configs: By name.
        bending: One of :data:`BENDINGS`.
        device: ``cpu`` or ``cuda``. A step ends when the device has done it.

    Raises:
        UnknownNameError: No such bending.
    """
    if bending not in BENDINGS:
        raise UnknownNameError("value of --bending", bending, BENDINGS)
    torch.manual_seed(0)
    weight = nn.Linear(shape[1], shape[0], bias=False).weight.to(device)
    return {name: _step(weight, tokens, config, bending) for name, config in configs.items()}


def nonlinear_fraction(delta: Tensor, product: Tensor) -> float:
    """Returns ‖ΔW − c·BA‖_F / ‖ΔW‖_F with the best constant c.

    >>> nonlinear_fraction(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 0.5]))
    0.0
    """
    slope = (delta * product).sum() / product.square().sum()
    return float((delta - slope * product).norm() / delta.norm())


def sample_factors(shape: tuple[int, int], r: int) -> tuple[Tensor, Tensor]:
    """Returns A (r, in) and B (out, r), of which s_in·BA has the root mean square ``RMS``.

    A is uniform, as LoRA draws it and training leaves most of it; B is normal.
    """
    generator = torch.Generator().manual_seed(1)
    A = (2 * torch.rand(r, shape[1], generator=generator) - 1) / shape[1] ** 0.5
    B = torch.randn(shape[0], r, generator=generator) * DECAY ** torch.arange(r)
    mean_square = ((B.T @ B) * (A @ A.T)).sum() / (shape[0] * shape[1])
    return A, B * RMS / INPUT_SCALE / mean_square.sqrt()


def bent_amplitude(config: Mapping[str, Any], bending: str) -> Tensor:
    """Returns amplitudes (N,) with which φ bends as tanh does, as much as ``bending`` says.

    They are a least-squares fit of tanh(z) − λz on the grid interval, taken from the updates of a layer with one input,
    and scaled by bisection until a layer of 256 × 256 has the nonlinear fraction. Both use the engine ``direct``.

    Args:
        config: LR-LoRA's.
        bending: One of :data:`BENDINGS`.
    """
    config = {**config, "engine": "direct"}
    z = torch.linspace(-GRID_BOUND, GRID_BOUND, _CURVE_POINTS)
    curve = _adapted(nn.Linear(1, len(z), bias=False).weight, {**config, "r": 1, "lora_alpha": 1})
    _set(curve, {"A": torch.ones(1, 1), "B": z[:, None] / INPUT_SCALE})
    count = next(len(value) for name, value in curve.named_parameters() if _part(name) == "amplitude")
    straight = _update(curve, torch.zeros(count)).flatten()
    functions = torch.stack([_update(curve, unit).flatten() - straight for unit in torch.eye(count)], dim=1)
    target = torch.tanh(z).double() / INPUT_SCALE - straight
    # Small singular values are left out: they would take amplitudes that no training arrives at.
    amplitude = torch.linalg.lstsq(functions, target[:, None], rcond=0.03, driver="gelsd").solution.flatten().float()

    twin = _adapted(nn.Linear(_TWIN, _TWIN, bias=False).weight, config)
    A, B = sample_factors((_TWIN, _TWIN), config["r"])
    _set(twin, {"A": A, "B": B})
    straight, product = _update(twin, torch.zeros(count)), (B @ A).double()
    bent = _update(twin, amplitude) - straight  # ΔW is linear in the amplitudes
    low, high = _FACTORS
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        below = nonlinear_fraction(straight + middle * bent, product) < BENDINGS[bending]
        low, high = (middle, high) if below else (low, middle)
    return high * amplitude


def _step(weight: Tensor, tokens: int, config: Mapping[str, Any], bending: str) -> Step:
    model = _adapted(weight, config)
    if config.get("r") is not None:
        A, B = sample_factors((weight.shape[0], weight.shape[1]), config["r"])
        _set(model, {"A": A, "B": B})
    if config["method"] == "lrlora":
        _set(model, {"amplitude": bent_amplitude(config, bending)})
    (out, inside), device = weight.shape, weight.device
    torch.manual_seed(2)
    if tokens == 1:
        model.eval()
        token = torch.randn(1, inside).to(device)

        def decode() -> None:
            with torch.no_grad():
                model(token)
            finish(device.type)

        return decode
    model.train()
    optimizer = torch.optim.AdamW(make_method(config, "bench").parameter_groups(model, LEARNING_RATE, 0.0))
    x, incoming = (torch.randn(tokens, size).to(device) for size in (inside, out))
    x.requires_grad_()

    def train() -> None:
        optimizer.zero_grad()
        x.grad = None
        model(x).backward(incoming)
        optimizer.step()
        finish(device.type)

    return train


def _adapted(weight: Tensor, config: Mapping[str, Any]) -> nn.Module:
    """A layer of this weight, which is shared and not copied, with an adapter."""
    own = {"input_scale": INPUT_SCALE, "grid_bound": GRID_BOUND} if config["method"] == "lrlora" else {}
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(weight.detach())
    torch.manual_seed(0)
    base = nn.Sequential(linear)
    return make_method({**config, **own, "target_modules": ["0"]}, "bench").adapt(base, task_type=None)


def _part(name: str) -> str | None:
    """Which part of LoRA or LR-LoRA a parameter is."""
    found = re.search(r"\.(?:lr)?lora_(\w+)\.", name)
    return None if found is None else found.group(1)


@torch.no_grad()
def _set(model: nn.Module, parts: Mapping[str, Tensor]) -> None:
    """Sets parts of an adapter."""
    for name, parameter in model.named_parameters():
        value = parts.get(_part(name) or "")
        if value is not None:
            parameter.copy_(value)


@torch.no_grad()
def _update(model: nn.Module, amplitude: Tensor) -> Tensor:
    """ΔW of the only layer with these amplitudes, float64."""
    _set(model, {"amplitude": amplitude})
    layer: Any = model.get_submodule("base_model.model.0")
    delta: Tensor = layer.get_delta_weight("default")
    return delta.double()
