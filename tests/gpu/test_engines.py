"""Every engine on a device: as near to the definition as it promises, and what it computes on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lrlora.bases import BASES
from lrlora.engines import ENGINES
from lrlora.testing.engine_layers import F32, Layer, Step

CASES = [
    *((name, "sinc") for name in ("direct", "auto", "monomials", "polynomial", "tabulated")),
    *((name, "piecewise_linear") for name in ("auto", "tabulated")),
    *(("auto", name) for name in ("bspline", "fourier", "gaussian")),
]


def layer(basis: str) -> Layer:
    return Layer(BASES.create(basis), largest=1.0, r=4, out=300, inside=200, input_scale=100.0)


def off(found: Tensor, exact: Tensor) -> float:
    """The relative difference in the norm; 0 where both are zero, as gradients of what a basis does not use."""
    found, exact = found.detach().cpu().double(), exact.detach().cpu().double()
    return float((found - exact).norm() / exact.norm().clamp_min(1e-300))


def on(device: str, engine: str, of: Layer, x: torch.dtype = F32) -> Step:
    first, *rest = [leaf.detach().to(device) for leaf in of.leaves(F32, tokens=64)]
    return Step(ENGINES.create(engine), of, [leaf.requires_grad_() for leaf in (first.to(x), *rest)])


@pytest.mark.parametrize("tf32", [False, True], ids=["float32", "TF32"])
@pytest.mark.parametrize(("engine", "basis"), CASES)
def test_an_update_is_within_the_tolerance_of_the_definition(engine: str, basis: str, tf32: bool, device: str) -> None:
    here = on(device, engine, layer(basis)).planned(growth=1.5)
    exact, _ = here.layer.definition([leaf.detach().cpu() for leaf in here.leaves])
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        found = here.delta()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert off(found, exact) <= here.engine.tolerance + (2e-3 if tf32 else 1e-5)


@pytest.mark.parametrize("x", [F32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("engine", "basis"), CASES)
def test_a_step_is_that_on_a_cpu_under_the_same_plan(engine: str, basis: str, x: torch.dtype, device: str) -> None:
    here = on(device, engine, layer(basis), x).planned(growth=1.5)
    plan = None if here.plan is None else here.plan.to("cpu")
    there = Step(here.engine, here.layer, [leaf.detach().cpu().requires_grad_() for leaf in here.leaves], plan)
    found = []
    for at in (here, there):
        weight, bias = (one.to(at.leaves[0]) for one in here.layer.base(F32))
        y, z = at.linear(weight, bias), at.add_to(torch.nn.functional.linear(at.leaves[0], weight, bias))
        found.append([y, z, *at.gradients(y.float().square().mean()), *at.gradients(z.float().square().mean())])
    for one, other in zip(*found, strict=True):
        assert one.device.type == device
        assert off(one, other) <= (1e-4 if x == F32 else 3e-2)
