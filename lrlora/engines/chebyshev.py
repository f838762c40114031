"""Constant matrices of Chebyshev's polynomials, made once per size and device."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def constant(make: Callable[P, R]) -> Callable[P, R]:
    """Cache what ``make`` returns, made outside of inference mode, where a tensor could never be used for training."""

    @lru_cache(maxsize=256)
    @wraps(make)
    def made(*args: Any) -> R:
        with torch.inference_mode(False):
            return make(*args)  # type: ignore[call-arg]

    return made  # type: ignore[return-value]


@constant
def chebyshev_nodes(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """n Chebyshev nodes of the first kind, and the matrix from values there to n coefficients."""
    angle = (torch.arange(n, dtype=torch.float64) + 0.5) * (math.pi / n)
    k = torch.arange(n, dtype=torch.float64)[:, None]
    to_series = (2 / n) * torch.cos(k * angle)
    to_series[0] /= 2
    return angle.cos().to(device), to_series.to(device)


@constant
def derivative_matrix(degree: int, device: torch.device) -> Tensor:
    """From the coefficients of a series of this degree to those of its derivative, ``(degree, degree + 1)``."""
    columns = [np.pad(d := chebyshev.chebder(row), (0, degree - len(d))) for _, row in _unit_series(degree)]
    return torch.tensor(np.stack(columns, axis=1), dtype=torch.float64, device=device)


def _unit_series(degree: int) -> list[tuple[int, Any]]:
    return [(k, np.eye(degree + 1)[k, : k + 1]) for k in range(degree + 1)]


@constant
def values_at_zero(degree: int, device: torch.device) -> Tensor:
    """T_k(0) for k = 0 … degree."""
    return torch.tensor([math.cos(k * math.pi / 2) for k in range(degree + 1)], dtype=torch.float64, device=device)


@constant
def on_equidistant_nodes(orders: int, intervals: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """T_k and T_k' at equidistant nodes on [−1, 1]: two matrices ``(intervals + 1, orders)``."""
    angle = np.arccos(np.linspace(-1, 1, intervals + 1))[:, None]
    k = np.arange(orders)
    with np.errstate(invalid="ignore"):
        slope = k * np.sin(k * angle) / np.sin(angle)
    slope[-1], slope[0] = k**2, (-1.0) ** (k + 1) * k**2
    return torch.tensor(np.cos(k * angle), device=device), torch.tensor(slope, device=device)


QUANTILES = 33
ENDS = (0.8, 0.9, 1.0)
AT_AN_END = 1e-4
"""The share of the entries that is taken to lie near each of the ends: where f explodes, they are all that matters."""


class Sample(NamedTuple):
    """Where entries lie.

    Attributes:
        terms: T_k, T_k' and T_k'' there, ``(3, places, orders)``.
        weight: Of the places, ``(places,)``.
    """

    terms: Tensor
    weight: Tensor


def on_normal_sample(orders: int, spread: float, device: torch.device) -> Sample:
    """Normal quantiles of the given spread, clipped to [−1, 1], and a little at the ends."""
    # The quantised spread keeps the cache small; a few per cent of it make no difference to a degree.
    return _cached_sample(orders, round(math.log2(spread) * 4), device)


@constant
def _cached_sample(orders: int, log_spread: int, device: torch.device) -> Sample:
    quantiles = torch.special.ndtri((torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES)
    ends = torch.tensor([sign * end for end in ENDS for sign in (-1, 1)], dtype=torch.float64)
    t = torch.cat([(quantiles * 2 ** (log_spread / 4)).clamp(-1, 1), ends])
    weight = torch.cat([torch.full_like(quantiles, 1 / QUANTILES), torch.full_like(ends, AT_AN_END)])
    return Sample(torch.tensor(np.stack(_with_derivatives(t.numpy(), orders)), device=device), weight.to(device))


def _with_derivatives(t: Any, orders: int) -> tuple[Any, Any, Any]:
    series = np.eye(orders)
    return tuple(chebyshev.chebval(t, chebyshev.chebder(series, m)).T for m in range(3))
