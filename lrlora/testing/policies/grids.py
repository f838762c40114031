"""Checks of a grid: N points in order within the bound, which an adapter can train or keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from lrlora.policies import GRIDS, Grid
from lrlora.testing.checks import Check, ConformanceError, NotApplicableError, Outcome, checks_of
from lrlora.testing.policies.adapters import PLAIN, adapted, adapter_config, seeded
from lrlora.testing.policies.policy import policy_checks, require_conforming
from lrlora.tuner.theta import GridPoints

NUMBERS = (1, 2, 3, 7, 50, 512)
BOUNDS = (0.5, 3.0, 20.0)


def check_grid(grid: str | Grid, expected_failures: Mapping[str, str] | None = None) -> list[Outcome]:
    """Run all checks of a grid.

    Args:
        grid: Its name, its spec, or itself.
        expected_failures: Names of checks that will fail, each with the reason.

    Raises:
        ConformanceError: With a line per failure.
    """
    return require_conforming(GRIDS, grid, expected_failures)


def check_points(grid: Grid) -> None:
    """N finite float64 numbers on the CPU, which take no gradient."""
    for num, bound, points in _asked(grid):
        where = f"points({num}, {bound})"
        if not isinstance(points, Tensor) or points.shape != (num,):
            got = tuple(points.shape) if isinstance(points, Tensor) else type(points).__name__
            raise ConformanceError(f"{where} is {got}, not a tensor of shape ({num},)")
        if points.dtype != torch.float64 or points.device.type != "cpu":
            raise ConformanceError(f"{where} is of {points.dtype} on {points.device}, not of torch.float64 on cpu")
        if points.requires_grad:
            raise ConformanceError(f"{where} takes a gradient: the adapter decides what is trained")
        if not points.isfinite().all():
            raise ConformanceError(f"{where} is not finite: point {int((~points.isfinite()).nonzero()[0])}")


def check_order(grid: Grid) -> None:
    """The points increase: no two are one, and none is before the one before it."""
    for num, bound, points in _asked(grid):
        gaps = points.diff()
        if num > 1 and not (gaps > 0).all():
            i = int((gaps <= 0).nonzero()[0])
            raise ConformanceError(
                f"points({num}, {bound}) does not increase: point {i} is {points[i]:.6g}, point {i + 1} is "
                f"{points[i + 1]:.6g}"
            )


def check_bound(grid: Grid) -> None:
    """All points lie within the bound."""
    for num, bound, points in _asked(grid):
        if (outside := float(points.abs().max())) > bound * (1 + 1e-12):
            raise ConformanceError(f"points({num}, {bound}) has a point at ±{outside:.6g}, outside of ±{bound}")


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


def check_learned_points_stay_in_order(grid: Grid) -> None:
    """Trained points start where the grid puts them, and no step of an optimizer puts them out of order."""
    if not grid.learned:
        raise NotApplicableError("its points are not trained")
    for num in NUMBERS[1:]:
        with seeded():
            points = grid.points(num, 3.0)
            held = GridPoints(points, learned=True)
            if not torch.allclose(held().double(), points, rtol=0, atol=1e-4):
                raise ConformanceError(f"the {num} points do not start where points({num}, 3.0) puts them")
            with torch.no_grad():
                held.weight.add_(torch.randn(num))
        moved = held()
        if not (moved.isfinite().all() and (moved.diff() >= 0).all()):
            raise ConformanceError(f"the {num} points are out of order after a step of size 1")


def check_trained_as_it_says(grid: Grid) -> None:
    """An adapter trains the points if and only if the grid is learned."""
    model = adapted(PLAIN, adapter_config(PLAIN, grid=grid))
    trained = any("lrlora_grid" in name and p.requires_grad for name, p in model.named_parameters())
    if trained != grid.learned:
        raise ConformanceError(
            f"learned is {grid.learned!r}, and an adapter {'trains' if trained else 'keeps'} the points"
        )


def _asked(grid: Grid) -> Iterator[tuple[int, float, Any]]:
    for num in NUMBERS:
        for bound in BOUNDS:
            with seeded():
                yield num, bound, grid.points(num, bound)


def _probe(grid: Grid) -> dict[str, Any]:
    return {f"points({num}, {bound})": grid.points(num, bound) for num in NUMBERS for bound in BOUNDS}


@checks_of.register(Grid)
def _(grid: Grid) -> Iterator[Check]:
    own = [
        check_points,
        check_order,
        check_bound,
        check_scales_with_the_bound,
        check_learned_points_stay_in_order,
        check_trained_as_it_says,
    ]
    return policy_checks(grid, GRIDS, _probe, PLAIN, own)
