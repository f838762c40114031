"""Low-rank pairs, grids, bases, θ and whole transfer functions."""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from lrlora.bases import BASES, Basis
from lrlora.policies import GRIDS
from lrlora.registry import required_arguments
from lrlora.testing.tiny_models import seeded
from lrlora.transfer import TransferFunction


@dataclass(frozen=True)
class LowRankPair:
    """A and B of one weight.

    Attributes:
        A: ``(r, in)``.
        B: ``(out, r)``.
    """

    A: Tensor
    B: Tensor

    @property
    def product(self) -> Tensor:
        """BA, ``(out, in)``."""
        return self.B @ self.A


DEGENERATE = ("any", "A is zero", "B is zero", "rows are equal", "rank is deficient")
"""Kinds of pairs: ``"any"`` asks for nothing; of a pair with equal rows, every row of BA is the first."""


@st.composite
def low_rank_pairs(
    draw: st.DrawFn,
    *,
    max_rank: int = 3,
    max_size: int = 5,
    size: tuple[float, float] = (0.0, 3.0),
    dtypes: Sequence[torch.dtype] = (torch.float64,),
    kinds: Sequence[str] = DEGENERATE,
) -> LowRankPair:
    """Pairs (A, B) with BA of a given size.

    Args:
        draw: Supplied by hypothesis.
        max_rank: Largest r.
        max_size: Largest number of rows and of columns of BA.
        size: Least and largest magnitude of the largest entry of BA. A least one of more than 0 leaves out the pairs
            with a factor that is zero.
        dtypes: To choose from.
        kinds: Of :data:`DEGENERATE`, to choose from.

    Returns:
        A strategy of pairs. Shrinks to ``A=tensor([[0.]])`` and ``B=tensor([[0.]])``.
    """
    least, most = size
    if not 0 <= least <= most:
        raise ValueError(f"size is the least and the largest magnitude, not {size!r}")
    if unknown := set(kinds) - set(DEGENERATE):
        raise ValueError(f"unknown kind of pair {sorted(unknown)[0]!r} (known: {', '.join(DEGENERATE)})")
    r = draw(st.integers(1, max_rank))
    inside, out = draw(st.integers(1, max_size)), draw(st.integers(1, max_size))
    kind = draw(st.sampled_from([kind for kind in kinds if not (least > 0 and kind.endswith("zero"))]))
    # Bounded factor by factor, and not scaled afterwards, so that the numbers stay the round ones that were drawn.
    # One component of the rank after the other, so that a counter-example can shrink by leaving one out.
    components = [(draw(_numbers(inside, 1.0)), draw(_numbers(out, most / r))) for _ in range(r)]
    A = [row for row, _ in components]
    B = [list(row) for row in zip(*(column for _, column in components), strict=True)]
    if kind == "A is zero":
        A = [[0.0] * inside for _ in range(r)]
    elif kind == "B is zero":
        B = [[0.0] * r for _ in range(out)]
    elif kind == "rows are equal":
        B = [B[0]] * out
    elif kind == "rank is deficient":
        A = [*A[:-1], A[0]]
    dtype = draw(st.sampled_from(list(dtypes)))
    if float((torch.tensor(B, dtype=torch.float64) @ torch.tensor(A, dtype=torch.float64)).abs().max()) < least:
        # One entry of the least size, by construction: a first column and a first row that meet in it alone.
        for row in A:
            row[0] = 1.0
        first = [least, *([0.0] * (r - 1))]
        B = [first] * out if kind == "rows are equal" else [first, *B[1:]]
    made: LowRankPair = draw(st.builds(LowRankPair, A=tensors(A, dtype), B=tensors(B, dtype)))
    return made


def tensors(values: Any, dtype: torch.dtype) -> st.SearchStrategy[Tensor]:
    """A known tensor, which hypothesis knows as the call that makes it."""
    if dtype == torch.float32:
        return st.builds(torch.tensor, st.just(values))
    return st.builds(torch.tensor, st.just(values), dtype=st.just(dtype))


def round_numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers from low to high of at most three digits, whole ones first.

    A tensor of them is printed with four digits, and so is the same one when what was printed is pasted.
    """
    largest = max(abs(low), abs(high))
    if largest == 0 or low == high:
        return st.just(low)
    per_one = 10 ** max(0, 2 - math.floor(math.log10(largest)))  # steps of a hundredth of the leading digit
    least, most = math.ceil(low * per_one), math.floor(high * per_one)
    start = per_one if least > 0 and least <= per_one <= most else max(0, least)  # 1, where 0 is not allowed
    fine = st.integers(least - start, most - start).map(lambda steps: (steps + start) / per_one)
    whole_least, whole_most = math.ceil(low), math.floor(high)
    if whole_least > whole_most:
        return fine
    first = max(1, whole_least) if low > 0 else 0
    return st.integers(whole_least - first, whole_most - first).map(lambda steps: float(steps + first)) | fine


def _numbers(count: int, bound: float) -> st.SearchStrategy[list[float]]:
    return st.lists(round_numbers(-bound, bound), min_size=count, max_size=count)


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
    draw: st.DrawFn,
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
def named_bases(draw: st.DrawFn, names: Sequence[str] | None = None) -> tuple[str, dict[str, Any]]:
    """A basis as a config holds it, its name and its options; see :func:`bases`."""
    chosen = _drawable() if names is None else names
    name = draw(st.sampled_from(sorted(chosen, key=lambda name: (bool(_parts(name)), name))))
    # One choice for every basis, of the same length: else the counter-example with fewest options would win.
    return name, draw(st.sampled_from(_variations(name)))


@st.composite
def bases(draw: st.DrawFn, names: Sequence[str] | None = None) -> Basis:
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
    draw: st.DrawFn,
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
    draw: st.DrawFn,
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
        with suppress(TypeError, ImportError):
            _parts(name)
            found.append(name)
    return found


@cache
def _variations(name: str) -> list[dict[str, Any]]:
    """Options of a basis: first none, or the simplest parts, then others in one option each, and other parts."""
    factory, parts = BASES.get(name), _parts(name)
    if parts:
        simple = [other for other in _drawable() if not _parts(other)]
        return [dict(zip(parts, names, strict=True)) for names in product(simple, repeat=len(parts))]
    found: list[dict[str, Any]] = [{}, {}]
    for option, parameter in inspect.signature(factory).parameters.items():
        default = parameter.default
        others: tuple[Any, ...] = ()
        if isinstance(default, str) and str(parameter.annotation).startswith("Literal["):
            # A string, where a module's annotations are.
            others = ast.literal_eval(f"({parameter.annotation.removeprefix('Literal[')[:-1]},)")
        elif isinstance(default, bool):
            others = (not default,)
        elif isinstance(default, (int, float)):
            others = tuple(type(default)(value) for value in (1, 2, default + 1))
        for value in others:
            with suppress(ValueError):
                if value != default:
                    factory(**{option: value})
                    found.append({option: value})
    return found
