"""What each kind of policy is checked for of its own: what it returns, for all that it can be asked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator
from dataclasses import fields
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lrlora.bases import BASES
from lrlora.policies import (
    GRIDS,
    AmplitudeInit,
    BandwidthInit,
    Grid,
    InputScale,
    LayerChoice,
    Placement,
    PositiveMap,
    RankAllocation,
    Scope,
    Sharing,
    Start,
    resolve_target_modules,
)
from lrlora.policies.roles import ROLES
from lrlora.policies.sharing import PARTS
from lrlora.testing.checks import ConformanceError, NotApplicableError
from lrlora.testing.tiny_models import FAMILIES, TinyModel, seeded

NUMBERS, BOUNDS = (1, 2, 3, 7, 50, 512), (0.5, 3.0, 20.0)
DEPTHS = (0.0, 0.25, 0.5, 1.0)
LAYERS = (1, 2, 3, 12, 40)
SIZES = ((1, 1, 1), (1, 4096, 8), (384, 1536, 1), (4096, 1, 64), (12288, 4096, 16))
"""Columns, rows and rank of adapted weights, the extremes among them."""
MODULES = (
    "model.layers.0.self_attn.q_proj",
    "model.layers.1.mlp.down_proj",
    "decoder.block.0.layer.1.EncDecAttention.q",
    "classifier",
    "0",
)


def check_points(grid: Grid) -> None:
    """N increasing float64 numbers within the bound, on the CPU and without a gradient."""
    if not isinstance(grid.learned, bool):
        raise ConformanceError(f"learned is {grid.learned!r}, a {type(grid.learned).__name__} and no bool")
    for num in NUMBERS:
        for bound in BOUNDS:
            with seeded():
                points: Any = grid.points(num, bound)
            where = f"points({num}, {bound})"
            _check_vector(points, num, where)
            gaps = points.diff()
            if not (gaps > 0).all():
                i = int((gaps <= 0).nonzero()[0])
                raise ConformanceError(
                    f"{where} does not increase: point {i} is {points[i]:.6g}, point {i + 1} is {points[i + 1]:.6g}"
                )
            if (outside := float(points.abs().max())) > bound * (1 + 1e-12):
                raise ConformanceError(f"{where} has a point at ±{outside:.6g}, outside of ±{bound}")


def check_scales_with_the_bound(grid: Grid) -> None:
    """A grid without options has only g to measure by: with twice the bound every point is at twice its place."""
    if fields(grid):  # type: ignore[arg-type]  # of a dataclass, as another check sees to
        raise NotApplicableError("it has options, which may be lengths in units of z")
    for num in NUMBERS:
        with seeded():
            once = grid.points(num, 3.0)
        with seeded():
            twice = grid.points(num, 6.0)
        if not torch.allclose(2 * once, twice, rtol=1e-9, atol=1e-12):
            i = int((2 * once - twice).abs().argmax())
            raise ConformanceError(
                f"point {i} of {num} is at {once[i]:.6g} of ±3 and at {twice[i]:.6g} of ±6, and no option is a length"
            )


def check_parts(sharing: Sharing) -> None:
    """Its names are a set of parts of θ, and of nothing else."""
    _check_names(sharing.names, PARTS, "part of θ", least=0)


def check_groups(scope: Scope) -> None:
    """The group of every module is a string."""
    for name in MODULES:
        if not isinstance(group := scope.group(name), str):
            raise ConformanceError(f"group({name!r}) is {group!r}, a {type(group).__name__} and no str")


def check_roles(placement: Placement) -> None:
    """Its names are a set of roles, one at least, and of nothing else."""
    _check_names(placement.names, ROLES, "role", least=1)


def check_resolves(placement: Placement) -> None:
    """One family at least has modules of its roles; in others the refusal is one line."""
    refusals = []
    for kind in FAMILIES:
        try:
            resolve_target_modules(base_model(kind), placement)
        except ValueError as error:
            if "\n" in str(error) or not str(error):
                raise ConformanceError(f"a refusal is one line, not {str(error)!r}") from error
            refusals.append(f"{kind}: {error}")
    if len(refusals) == len(FAMILIES):
        raise ConformanceError(f"no family has modules of its roles: {refusals[0]}")


def check_choice(choice: LayerChoice) -> None:
    """True or False for every layer of models of 1 to 24 layers, and True for one of up to 512."""
    chosen = False
    for num in (*range(1, 25), 64, 512):
        for index in range(num):
            if not isinstance(has := choice.has(index, num), bool):
                raise ConformanceError(f"has({index}, {num}) is {has!r}, a {type(has).__name__} and no bool")
            chosen |= has
    if not chosen:
        raise ConformanceError("it chooses no layer of any model of up to 512 layers")


def check_ranks(allocation: RankAllocation) -> None:
    """A whole number of at least 1 for every r, role and depth; of no role, that or a ValueError of one line."""
    for role in (*ROLES, None):
        for layers in LAYERS:
            for r, depth in ((r, depth) for r in range(1, 65) for depth in range(layers)):
                where = f"rank(r={r}, role={role!r}, depth={depth}, num_layers={layers})"
                try:
                    rank = allocation.rank(r, role, depth, layers)
                except ValueError as error:
                    if role is None and str(error) and "\n" not in str(error):
                        continue
                    raise ConformanceError(f"{where} raises {' '.join(str(error).split())!r}") from error
                if not isinstance(rank, int) or isinstance(rank, bool):
                    raise ConformanceError(f"{where} is {rank!r}, a {type(rank).__name__} and no whole number")
                if rank < 1:
                    raise ConformanceError(f"{where} is {rank}, less than 1")


def check_amplitudes(init: AmplitudeInit) -> None:
    """N finite float64 numbers, for every basis, number of points and depth; the grid and ω it is shown are kept."""
    for where, start in starts():
        kept = start.grid.clone(), start.bandwidth.clone()
        with seeded():
            _check_vector(amplitudes(init, start), len(start.grid), f"values({where})")
        for name, before, after in (("grid", kept[0], start.grid), ("bandwidth", kept[1], start.bandwidth)):
            if not torch.equal(before, after):
                raise ConformanceError(f"values({where}) changes the {name} that it is shown")


def check_bandwidths(init: BandwidthInit) -> None:
    """A positive finite number at every depth, which float32 holds."""
    for depth in DEPTHS:
        _check_positive_number(init.value(depth), f"value({depth})")


def check_positive(positive: PositiveMap) -> None:
    """Positive finite numbers of the same shape and dtype, for s from −80 to 80 in float32."""
    for dtype in (torch.float32, torch.float64):
        for raw in (torch.linspace(-80, 80, 9, dtype=dtype), torch.zeros(2, 3, dtype=dtype)):
            made = positive.forward(raw)
            if not isinstance(made, Tensor) or made.shape != raw.shape or made.dtype != dtype:
                raise ConformanceError(f"forward does not keep the shape {tuple(raw.shape)} and {dtype}")
            wrong = ~((made > 0) & made.isfinite())
            if wrong.any():
                at, value = float(raw[wrong].flatten()[0]), float(made[wrong].flatten()[0])
                raise ConformanceError(f"forward({at:g}) is {value:g} in {dtype}, no positive finite number")


def check_bijection(positive: PositiveMap) -> None:
    """inverse undoes forward and forward undoes inverse, for ω from 1e-6 to 1e6."""
    raw = torch.linspace(-20, 20, 401, dtype=torch.float64)
    omega = torch.logspace(-6, 6, 49, dtype=torch.float64)
    for name, start, there in (
        ("forward(inverse(ω))", omega, positive.forward(positive.inverse(omega))),
        ("inverse(forward(s))", raw, positive.inverse(positive.forward(raw))),
    ):
        wrong = ~torch.isclose(there, start, rtol=1e-6, atol=1e-9)
        if wrong.any():
            i = int(wrong.nonzero()[0])
            raise ConformanceError(f"{name} of {float(start[i]):.6g} is {float(there[i]):.6g}")


def check_smooth(positive: PositiveMap) -> None:
    """Its gradient is that of its values, at zero too, and finite for s from −80 to 80 in float32."""
    raw = torch.tensor([-3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(positive.forward(raw).sum(), raw)
    slope = (positive.forward(raw + 1e-6) - positive.forward(raw - 1e-6)).detach() / 2e-6
    wrong = ~torch.isclose(gradient, slope, rtol=1e-5, atol=1e-7)
    if wrong.any():
        i = int(wrong.nonzero()[0])
        raise ConformanceError(
            f"at {raw[i].item():g} the gradient is {gradient[i].item():.6g} and the slope {slope[i].item():.6g}"
        )
    far = torch.tensor([-80.0, 80.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(positive.forward(far).sum(), far)
    if not gradient.isfinite().all():
        raise ConformanceError(f"the gradient at ±80 is {gradient.tolist()} in float32")


def check_scales(scale: InputScale) -> None:
    """A positive finite number for every size and rank."""
    for size in SIZES:
        _check_positive_number(scale.value(*size), f"value{size}")


def starts() -> Iterator[tuple[str, Start]]:
    """What amplitudes are asked to start on: several bases, numbers of points and depths."""
    for basis in ("sinc", "polynomial", "bspline"):
        for num in (1, 2, 7, 50):
            for depth in (0.0, 0.5, 1.0):
                points = GRIDS.create("uniform").points(num, 3.0)
                start = Start(BASES.create(basis), points, torch.ones_like(points), 3.0, depth)
                yield f"basis {basis}, N = {num}, depth {depth}", start


def amplitudes(init: AmplitudeInit, start: Start) -> Any:
    """The amplitudes; an initialisation may warn that a basis does not suit it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return init.values(start)


@cache
def base_model(kind: str) -> nn.Module:
    """A tiny model of two layers, which is read and never adapted."""
    return TinyModel(kind, layers=2).build()


def _check_vector(values: Any, num: int, where: str) -> None:
    if not isinstance(values, Tensor) or values.shape != (num,):
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ConformanceError(f"{where} is {got}, not a tensor of shape ({num},)")
    if values.dtype != torch.float64 or values.device.type != "cpu":
        raise ConformanceError(f"{where} is of {values.dtype} on {values.device}, not of torch.float64 on cpu")
    if values.requires_grad:
        raise ConformanceError(f"{where} takes a gradient: the adapter decides what is trained")
    if not values.isfinite().all():
        raise ConformanceError(f"{where} is not finite: entry {int((~values.isfinite()).nonzero()[0])}")


def _check_names(names: Any, known: Collection[str], what: str, least: int) -> None:
    if not isinstance(names, (set, frozenset)) or len(names) < least:
        at_least = f" of at least {least}" if least else ""
        raise ConformanceError(f"names is {names!r}, not a set{at_least}")
    if unknown := sorted(set(names) - set(known), key=str):
        raise ConformanceError(f"names holds {unknown[0]!r}, which is no {what} (known: {', '.join(known)})")


def _check_positive_number(value: Any, where: str) -> None:
    if not isinstance(value, float):
        raise ConformanceError(f"{where} is a {type(value).__name__}, not a float")
    if not (math.isfinite(value) and 1e-30 < value < 1e30):
        raise ConformanceError(f"{where} is {value:g}, no positive finite number that float32 holds")
