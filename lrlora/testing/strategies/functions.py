"""Grids, bases, θ and whole transfer functions."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Literal, get_args, get_origin

import torch
from hypothesis import strategies as st
from torch import Tensor

from lrlora.bases import BASES, Basis
from lrlora.policies import GRIDS
from lrlora.registry import required_arguments
from lrlora.testing.strategies.pairs import Draw, round_numbers, tensors
from lrlora.testing.tiny_models import seeded
from lrlora.transfer import TransferFunction

_STEPS = 16
"""Points that are drawn one by one lie on whole multiples of g over this."""


@dataclass(frozen=True)
class PlacedGrid:
    """Grid points and the interval that they lie on.

    Attributes:
        points: ``(N,)``, float64, increasing.
        bound: g: the points lie on [−g, g].
    """

    points: Tensor
    bound: float


@dataclass(frozen=True)
class Theta:
    """The parameters of one φ.

    Attributes:
        amplitude: a, ``(N,)``.
        bandwidth: ω > 0, ``(N,)``.
        grid: z_i, ``(N,)``, increasing.
    """

    amplitude: Tensor
    bandwidth: Tensor
    grid: Tensor


@st.composite
def grids(
    draw: Draw,
    *,
    max_points: int = 8,
    bounds: Sequence[float] = (1.0, 3.0, 8.0),
    policies: Sequence[str] | None = None,
) -> PlacedGrid:
    """Valid grids: any increasing points, and those of the registered policies.

    Args:
        draw: Supplied by hypothesis.
        max_points: Largest N.
        bounds: Values of g to choose from.
        policies: Specs of grids to choose from; None: points at any places, or by any registered policy that needs no
            argument.

    Returns:
        A strategy of grids. Shrinks to one point at 0.
    """
    num, bound = draw(st.integers(1, max_points)), draw(st.sampled_from(list(bounds)))
    chosen = ["", *GRIDS.complete_names()] if policies is None else list(policies)
    policy = draw(st.sampled_from(chosen))
    if policy:
        with seeded(draw(st.integers(0, 7))):
            points = GRIDS.create(policy).points(num, bound).tolist()
    else:
        half = max(_STEPS, num)
        places = draw(st.lists(st.integers(-half, half), min_size=num, max_size=num, unique=True))
        points = [place * bound / half for place in sorted(places)]
    made: PlacedGrid = draw(st.builds(PlacedGrid, points=tensors(points, torch.float64), bound=st.just(bound)))
    return made


@st.composite
def named_bases(draw: Draw, names: Sequence[str] | None = None) -> tuple[str, dict[str, Any]]:
    """A basis as a config holds it, its name and its options; see :func:`bases`."""
    chosen = _drawable() if names is None else names
    name = draw(st.sampled_from(sorted(chosen, key=lambda name: (bool(_parts(name)), name))))
    # One choice for every basis, of the same length: else the counter-example with fewest options would win.
    return name, draw(st.sampled_from(_variations(name)))


@st.composite
def bases(draw: Draw, names: Sequence[str] | None = None) -> Basis:
    """Registered bases, with options.

    Numbers and choices that a basis takes are varied around their defaults, and the bases that one is composed of are
    drawn from those that are not composed.

    Args:
        draw: Supplied by hypothesis.
        names: To choose from; None: all registered, but for those that need an argument that is no part.

    Returns:
        A strategy of bases. Shrinks to the first name, at its defaults.

    Raises:
        TypeError: A basis that is named needs an argument that is no part; one line.
    """
    name, options = draw(named_bases(names))
    return BASES.create(name, **options)


@st.composite
def thetas(
    draw: Draw,
    basis: Basis | None = None,
    *,
    max_points: int = 8,
    bounds: Sequence[float] = (3.0,),
    dtype: torch.dtype = torch.float64,
    bandwidths: tuple[float, float] = (0.25, 4.0),
    amplitudes: tuple[float, float] = (-2.0, 2.0),
) -> Theta:
    """Parameters of a φ.

    Args:
        draw: Supplied by hypothesis.
        basis: Where it does not use the grid points, they are the uniform ones; None: they are any.
        max_points: Largest N.
        bounds: Values of g to choose from.
        dtype: Of all three.
        bandwidths: Least and largest ω.
        amplitudes: Least and largest a.

    Returns:
        A strategy of θ. Shrinks to one point at 0, ω = 1 and a = 0 where these are allowed.
    """
    placed = draw(grids(max_points=max_points, bounds=bounds))
    num = len(placed.points)
    # Drawn in any case, so that no kind of basis has shorter counter-examples than another.
    uniform = basis is not None and not basis.uses_grid
    grid = GRIDS.create("uniform").points(num, placed.bound) if uniform else placed.points
    a, omega = (draw(st.lists(round_numbers(*ends), min_size=num, max_size=num)) for ends in (amplitudes, bandwidths))
    made: Theta = draw(st.builds(Theta, tensors(a, dtype), tensors(omega, dtype), tensors(grid.tolist(), dtype)))
    return made


@st.composite
def transfer_functions(
    draw: Draw,
    basis: st.SearchStrategy[Basis] | None = None,
    *,
    max_points: int = 8,
    dtype: torch.dtype = torch.float64,
    input_scales: Sequence[float] = (1.0, 0.5, 10.0, 200.0),
) -> TransferFunction:
    """Whole transfer functions f(z) = λz + φ(z) − φ(0), with their scales.

    Args:
        draw: Supplied by hypothesis.
        basis: Draws the basis; None: any registered one.
        max_points: Largest N.
        dtype: Of θ.
        input_scales: Values of s_in to choose from; s_out is 1, or 1 over s_in.

    Returns:
        A strategy of transfer functions. Shrinks to φ = 0 with the residual path, centred, at scales of 1.
    """
    made_basis = draw(bases() if basis is None else basis)
    theta = draw(thetas(made_basis, max_points=max_points, dtype=dtype))
    scale = draw(st.sampled_from(list(input_scales)))
    made: TransferFunction = draw(
        st.builds(
            TransferFunction,
            basis=st.just(made_basis),
            amplitude=tensors(theta.amplitude.tolist(), dtype),
            bandwidth=tensors(theta.bandwidth.tolist(), dtype),
            grid=tensors(theta.grid.tolist(), dtype),
            input_scale=st.just(scale),
            output_scale=st.sampled_from([1.0, 1.0 / scale]),
            residual=st.sampled_from([True, False]),
            centered=st.sampled_from([True, False]),
        )
    )
    return made


def _parts(name: str) -> list[str]:
    """The arguments that are bases themselves.

    Raises:
        TypeError: Another argument is needed.
    """
    factory = BASES.get(name)
    required = required_arguments(factory)
    for argument in required:
        if "Part" not in str(inspect.signature(factory).parameters[argument].annotation):
            raise TypeError(f"basis {name!r} needs the argument {argument!r}, which cannot be drawn: name other bases")
    return required


def _drawable() -> list[str]:
    """The registered bases, without those that cannot be made from what is known of them."""
    found = []
    for name in BASES.names():
        try:
            _parts(name)
        except (TypeError, ImportError):
            continue
        found.append(name)
    return found


@cache
def _variations(name: str) -> list[dict[str, Any]]:
    """Options of a basis: first none, or the simplest parts, then others in one option each, and other parts."""
    factory, parts = BASES.get(name), _parts(name)
    simple = [other for other in _drawable() if not _parts(other)]
    if parts:
        return [dict(zip(parts, names, strict=True)) for names in product(simple, repeat=len(parts))]
    found: list[dict[str, Any]] = [{}, {}]
    for option, parameter in inspect.signature(factory).parameters.items():
        default = parameter.default
        others: Sequence[Any] = ()
        if isinstance(default, str):
            others = _choices(parameter.annotation)
        elif isinstance(default, bool):
            others = [not default]
        elif isinstance(default, (int, float)):
            others = [type(default)(value) for value in (1, 2, default + 1)]
        found += [{option: value} for value in others if value != default and _is_taken(factory, {option: value})]
    return found


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The values of a Literal, which is a string where a module's annotations are."""
    if isinstance(annotation, str) and annotation.startswith("Literal["):
        values: tuple[Any, ...] = ast.literal_eval(f"({annotation.removeprefix('Literal[')[:-1]},)")
        return values
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _is_taken(factory: Callable[..., Any], options: dict[str, Any]) -> bool:
    try:
        factory(**options)
    except ValueError:
        return False
    return True
