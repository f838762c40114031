"""Checks of what an adapter starts from: its amplitudes, its bandwidths, their positive map, and its input scale."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lrlora.bases import BASES
from lrlora.policies import (
    AMPLITUDES,
    BANDWIDTHS,
    GRIDS,
    INPUT_SCALES,
    POSITIVE_MAPS,
    AmplitudeInit,
    BandwidthInit,
    InputScale,
    PositiveMap,
    Start,
)
from lrlora.testing.checks import Check, ConformanceError, Outcome, checks_of
from lrlora.testing.policies.adapters import PLAIN, adapted, adapter_config, seeded
from lrlora.testing.policies.policy import policy_checks, require_conforming

DEPTHS = (0.0, 0.25, 0.5, 1.0)
SIZES = ((1, 1, 1), (1, 4096, 8), (384, 1536, 1), (4096, 1, 64), (12288, 4096, 16))
"""Columns, rows and rank of adapted weights, the extremes among them."""


def check_amplitude_init(
    init: str | AmplitudeInit, expected_failures: Mapping[str, str] | None = None
) -> list[Outcome]:
    """Run all checks of a start of the amplitudes: its name, its spec, or itself.

    Raises:
        ConformanceError: With a line per failure.
    """
    return require_conforming(AMPLITUDES, init, expected_failures)


def check_bandwidth_init(
    init: str | BandwidthInit, expected_failures: Mapping[str, str] | None = None
) -> list[Outcome]:
    """Run all checks of a start of the bandwidths: its name, its spec, or itself.

    Raises:
        ConformanceError: With a line per failure.
    """
    return require_conforming(BANDWIDTHS, init, expected_failures)


def check_positive_map(
    positive: str | PositiveMap, expected_failures: Mapping[str, str] | None = None
) -> list[Outcome]:
    """Run all checks of a positive map: its name, its spec, or itself.

    Raises:
        ConformanceError: With a line per failure.
    """
    return require_conforming(POSITIVE_MAPS, positive, expected_failures)


def check_input_scale(scale: str | InputScale, expected_failures: Mapping[str, str] | None = None) -> list[Outcome]:
    """Run all checks of an input scale: its name, its spec, or itself.

    Raises:
        ConformanceError: With a line per failure.
    """
    return require_conforming(INPUT_SCALES, scale, expected_failures)


# -- amplitudes ---------------------------------------------------------------------------------------------


def check_amplitudes(init: AmplitudeInit) -> None:
    """N finite float64 numbers, for every basis, number of points and depth."""
    for where, start in _starts():
        with seeded():
            values = _values(init, start)
        num = len(start.grid)
        if not isinstance(values, Tensor) or values.shape != (num,):
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ConformanceError(f"values({where}) is {got}, not a tensor of shape ({num},)")
        if values.dtype != torch.float64 or values.requires_grad:
            raise ConformanceError(
                f"values({where}) is of {values.dtype}{' with a gradient' if values.requires_grad else ''}, "
                "not a plain torch.float64"
            )
        if not values.isfinite().all():
            raise ConformanceError(f"values({where}) is not finite")


def check_arguments_kept(init: AmplitudeInit) -> None:
    """The grid and the bandwidths that it is shown are left as they were."""
    for where, start in _starts():
        kept = start.grid.clone(), start.bandwidth.clone()
        with seeded():
            _values(init, start)
        for name, before, after in (("grid", kept[0], start.grid), ("bandwidth", kept[1], start.bandwidth)):
            if not torch.equal(before, after):
                raise ConformanceError(f"values({where}) changes the {name} that it is shown")


def check_starts_as_the_identity(init: AmplitudeInit) -> None:
    """An adapter that subtracts φ(0) changes nothing at the start, whatever the amplitudes are."""
    model = adapted(PLAIN, adapter_config(PLAIN, amplitude_init=init))
    moved = float((PLAIN.output(model) - PLAIN.output(PLAIN.build())).abs().max())
    if not moved <= 1e-6:
        raise ConformanceError(f"an adapter with it moves the output of {PLAIN} by {moved:.2g} before any step")


def _starts() -> Iterator[tuple[str, Start]]:
    for basis in ("sinc", "polynomial", "bspline"):
        for num in (1, 2, 7, 50):
            for depth in (0.0, 0.5, 1.0):
                points = GRIDS.create("uniform").points(num, 3.0)
                start = Start(BASES.create(basis), points, torch.ones_like(points), 3.0, depth)
                yield f"basis {basis}, N = {num}, depth {depth}", start


def _values(init: AmplitudeInit, start: Start) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it may say that this basis does not suit it
        return init.values(start)


@checks_of.register(AmplitudeInit)
def _(init: AmplitudeInit) -> Iterator[Check]:
    def probe(asked: AmplitudeInit) -> dict[str, Any]:
        return {f"values({where})": _values(asked, start) for where, start in _starts()}

    own = [check_amplitudes, check_arguments_kept, check_starts_as_the_identity]
    return policy_checks(init, AMPLITUDES, probe, PLAIN, own)


# -- bandwidths ---------------------------------------------------------------------------------------------


def check_bandwidths(init: BandwidthInit) -> None:
    """A positive finite number at every depth, which float32 holds."""
    for depth in DEPTHS:
        _check_positive(init.value(depth), f"value({depth})")


@checks_of.register(BandwidthInit)
def _(init: BandwidthInit) -> Iterator[Check]:
    def probe(asked: BandwidthInit) -> dict[str, Any]:
        return {f"value({depth})": asked.value(depth) for depth in DEPTHS}

    return policy_checks(init, BANDWIDTHS, probe, PLAIN, [check_bandwidths])


# -- positive maps ------------------------------------------------------------------------------------------


def check_positive(positive: PositiveMap) -> None:
    """Positive finite numbers of the same shape and dtype, for s from −80 to 80 in float32."""
    for dtype in (torch.float32, torch.float64):
        for raw in (
            torch.linspace(-80, 80, 9, dtype=dtype),
            torch.zeros(2, 3, dtype=dtype),
            torch.zeros((), dtype=dtype),
        ):
            made = positive.forward(raw)
            if not isinstance(made, Tensor) or made.shape != raw.shape or made.dtype != dtype:
                raise ConformanceError(f"forward does not keep the shape {tuple(raw.shape)} and {dtype}")
            wrong = ~((made > 0) & made.isfinite())
            if wrong.any():
                at, value = float(raw[wrong].flatten()[0]), float(made[wrong].flatten()[0])
                raise ConformanceError(f"forward({at:g}) is {value:g} in {dtype}, no positive finite number")


def check_bijection(positive: PositiveMap) -> None:
    """inverse undoes forward and forward undoes inverse, for ω from 1e-6 to 1e6, and forward is monotone."""
    raw = torch.linspace(-20, 20, 401, dtype=torch.float64)
    steps = positive.forward(raw).diff()
    if not ((steps > 0).all() or (steps < 0).all()):
        turns = int((steps.sign() != steps.sign()[-1]).nonzero()[-1])
        raise ConformanceError(f"forward is not monotone at {float(raw[turns]):.3g}: two s have one ω")
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
    step = 1e-6
    slope = (positive.forward(raw + step) - positive.forward(raw - step)).detach() / (2 * step)
    wrong = ~torch.isclose(gradient, slope, rtol=1e-5, atol=1e-7)
    if wrong.any():
        i = int(wrong.nonzero()[0])
        at = float(raw.detach()[i])
        raise ConformanceError(
            f"at {at:g} the gradient is {float(gradient[i]):.6g} and the slope {float(slope[i]):.6g}"
        )
    far = torch.tensor([-80.0, 80.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(positive.forward(far).sum(), far)
    if not gradient.isfinite().all():
        raise ConformanceError(f"the gradient at ±80 is {gradient.tolist()} in float32")


@checks_of.register(PositiveMap)
def _(positive: PositiveMap) -> Iterator[Check]:
    def probe(asked: PositiveMap) -> dict[str, Any]:
        raw, omega = torch.linspace(-3, 3, 7, dtype=torch.float64), torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
        return {"forward": asked.forward(raw), "inverse": asked.inverse(omega)}

    own = [check_positive, check_bijection, check_smooth]
    return policy_checks(positive, POSITIVE_MAPS, probe, PLAIN, own)


# -- input scales -------------------------------------------------------------------------------------------


def check_scales(scale: InputScale) -> None:
    """A positive finite number for every size and rank."""
    for size in SIZES:
        _check_positive(scale.value(*size), f"value{size}")


@checks_of.register(InputScale)
def _(scale: InputScale) -> Iterator[Check]:
    def probe(asked: InputScale) -> dict[str, Any]:
        return {f"value{size}": asked.value(*size) for size in SIZES}

    return policy_checks(scale, INPUT_SCALES, probe, PLAIN, [check_scales])


def _check_positive(value: Any, where: str) -> None:
    if not isinstance(value, float):
        raise ConformanceError(f"{where} is a {type(value).__name__}, not a float")
    if not (math.isfinite(value) and 1e-30 < value < 1e30):
        raise ConformanceError(f"{where} is {value:g}, no positive finite number that float32 holds")
