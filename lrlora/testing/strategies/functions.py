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

F64 = torch.float64


@dataclass(frozen=True)
class LowRankPair:
    """A ``(r, in)`` and B ``(out, r)`` of one weight."""

    A: Tensor
    B: Tensor

    @property
    def product(self) -> Tensor:
        """BA, ``(out, in)``."""
        return self.B @ self.A


@dataclass(frozen=True)
class PlacedGrid:
    """Grid points ``(N,)``, float64 and increasing, and the g of the interval [−g, g] that they lie on."""

    points: Tensor
    bound: float


@dataclass(frozen=True)
class Theta:
    """The parameters a, ω > 0 and z_i, increasing, of one φ, ``(N,)`` each."""

    amplitude: Tensor
    bandwidth: Tensor
    grid: Tensor


DEGENERATE = ("any", "A is zero", "B is zero", "rows are equal", "rank is deficient")
"""Kinds of pairs: ``"any"`` asks for nothing; of a pair with equal rows, every row of BA is the first."""


def tensors(values: Any, dtype: torch.dtype = F64) -> st.SearchStrategy[Tensor]:
    """A known tensor, which hypothesis knows as the call that makes it."""
    return st.builds(torch.tensor, st.just(values), dtype=st.just(dtype))


def round_numbers(low: float, high: float, count: int) -> st.SearchStrategy[list[float]]:
    """Numbers from low to high of at most three digits, whole ones first.

    A tensor of them is printed with four digits, and so is the same one when what was printed is pasted.
    """
    if low == high:
        return st.just([low] * count)
    per_one = 10 ** max(0, 2 - math.floor(math.log10(max(abs(low), abs(high)))))  # hundredths of the leading digit
    numbers = st.integers(math.ceil(low * per_one), math.floor(high * per_one)).map(lambda steps: steps / per_one)
    if math.ceil(low) <= math.floor(high):
        numbers = st.integers(math.ceil(low), math.floor(high)).map(float) | numbers
    return st.lists(numbers, min_size=count, max_size=count)


@st.composite
def low_rank_pairs(
    draw: st.DrawFn, *, size: tuple[float, float] = (0.0, 3.0), kinds: Sequence[str] = DEGENERATE
) -> LowRankPair:
    """Pairs (A, B) of rank 1 to 3 with BA of a given size, of up to five rows and columns, in float64.

    Args:
        draw: Supplied by hypothesis.
        size: Least and largest magnitude of the largest entry of BA. A least one of more than 0 leaves out the pairs
            with a factor that is zero.
        kinds: Of :data:`DEGENERATE`, to choose from.

    Returns:
        A strategy of pairs. Shrinks to ``A=tensor([[0.]])`` and ``B=tensor([[0.]])``.
    """
    least, most = size
    if unknown := set(kinds) - set(DEGENERATE):
        raise ValueError(f"unknown kind of pair {sorted(unknown)[0]!r} (known: {', '.join(DEGENERATE)})")
    r, inside, out = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    kind = draw(st.sampled_from([kind for kind in kinds if not (least > 0 and kind.endswith("zero"))]))
    # Bounded factor by factor, and not scaled afterwards, so that the numbers stay the round ones that were drawn.
    # One component of the rank after the other, so that a counter-example can shrink by leaving one out.
    sides = st.tuples(round_numbers(-1.0, 1.0, inside), round_numbers(-most / r, most / r, out))
    rows, columns = zip(*(draw(sides) for _ in range(r)), strict=True)
    A, B = list(rows), [list(row) for row in zip(*columns, strict=True)]
    if kind == "A is zero":
        A = [[0.0] * inside] * r
    elif kind == "B is zero":
        B = [[0.0] * r] * out
    elif kind == "rows are equal":
        B = [B[0]] * out
    elif kind == "rank is deficient":
        A = [*A[:-1], A[0]]
    if float((torch.tensor(B, dtype=F64) @ torch.tensor(A, dtype=F64)).abs().max()) < least:
        # One entry of the least size, by construction: a first column and a first row that meet in it alone.
        A = [[1.0, *row[1:]] for row in A]
        first = [least, *([0.0] * (r - 1))]
        B = [first] * out if kind == "rows are equal" else [first, *B[1:]]
    return draw(st.builds(LowRankPair, A=tensors(A), B=tensors(B)))


@st.composite
def grids(draw: st.DrawFn, *, max_points: int = 8, policies: Sequence[str] | None = None) -> PlacedGrid:
    """Valid grids: any increasing points, and those of the registered policies.

    Args:
        draw: Supplied by hypothesis.
        max_points: Largest N.
        policies: Specs of grids to choose from; None: points at any places, or by any registered policy that needs no
            argument.

    Returns:
        A strategy of grids. Shrinks to one point at 0.
    """
    num, bound = draw(st.integers(1, max_points)), draw(st.sampled_from([1.0, 3.0, 8.0]))
    if policy := draw(st.sampled_from(["", *GRIDS.complete_names()] if policies is None else list(policies))):
        with seeded(draw(st.integers(0, 7))):
            points = GRIDS.create(policy).points(num, bound).tolist()
    else:
        half = max(16, num)
        places = draw(st.lists(st.integers(-half, half), min_size=num, max_size=num, unique=True))
        points = [place * bound / half for place in sorted(places)]
    return draw(st.builds(PlacedGrid, points=tensors(points), bound=st.just(bound)))


@st.composite
def named_bases(draw: st.DrawFn, names: Sequence[str] | None = None) -> tuple[str, dict[str, Any]]:
    """A basis as a config holds it, its name and its options; see :func:`bases`."""
    chosen = _drawable() if names is None else names
    name = draw(st.sampled_from(sorted(chosen, key=lambda name: (bool(_parts(name)), name))))
    # One choice for every basis, of the same length: else the counter-example with fewest options would win.
    return name, draw(st.sampled_from(_variations(name)))


def bases(names: Sequence[str] | None = None) -> st.SearchStrategy[Basis]:
    """Registered bases, with options.

    Numbers and choices that a basis takes are varied around their defaults, and the bases that one is composed of are
    drawn from those that are not composed.

    Args:
        names: To choose from; None: all registered, but for those that need an argument that is no part.

    Returns:
        A strategy of bases. Shrinks to the first name, at its defaults.

    Raises:
        TypeError: A basis that is named needs an argument that is no part; one line.
    """
    return named_bases(names).map(lambda named: BASES.create(named[0], **named[1]))


@st.composite
def thetas(draw: st.DrawFn, basis: Basis | None = None, *, max_points: int = 8, dtype: torch.dtype = F64) -> Theta:
    """Parameters of a φ, with ω in [0.25, 4] and a in [−2, 2].

    Args:
        draw: Supplied by hypothesis.
        basis: Where it does not use the grid points, they are the uniform ones; None: they are any.
        max_points: Largest N.
        dtype: Of all three.

    Returns:
        A strategy of θ. Shrinks to one point at 0, ω = 1 and a = 0.
    """
    placed = draw(grids(max_points=max_points))  # in any case, so that no kind of basis has shorter counter-examples
    points = placed.points
    if basis is not None and not basis.uses_grid:
        points = GRIDS.create("uniform").points(len(points), placed.bound)
    drawn = (draw(round_numbers(*ends, len(points))) for ends in ((-2.0, 2.0), (0.25, 4.0)))
    return draw(st.builds(Theta, *(tensors(values, dtype) for values in (*drawn, points.tolist()))))


@st.composite
def transfer_functions(
    draw: st.DrawFn, basis: st.SearchStrategy[Basis] | None = None, *, max_points: int = 8
) -> TransferFunction:
    """Whole transfer functions f(z) = λz + φ(z) − φ(0), with their scales, in float64.

    Args:
        draw: Supplied by hypothesis.
        basis: Draws the basis; None: any registered one.
        max_points: Largest N.

    Returns:
        A strategy of transfer functions. Shrinks to φ = 0 with the residual path, centred, at scales of 1.
    """
    made = draw(bases() if basis is None else basis)
    theta, scale = draw(thetas(made, max_points=max_points)), draw(st.sampled_from([1.0, 0.5, 10.0, 200.0]))
    return draw(
        st.builds(
            TransferFunction,
            basis=st.just(made),
            amplitude=tensors(theta.amplitude.tolist()),
            bandwidth=tensors(theta.bandwidth.tolist()),
            grid=tensors(theta.grid.tolist()),
            input_scale=st.just(scale),
            output_scale=st.sampled_from([1.0, 1.0 / scale]),
            residual=st.sampled_from([True, False]),
            centered=st.sampled_from([True, False]),
        )
    )


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
        default, annotation, others = parameter.default, str(parameter.annotation), []
        if annotation.startswith("Literal["):  # a string, where a module's annotations are
            others = ast.literal_eval(annotation.removeprefix("Literal"))
        elif isinstance(default, bool):
            others = [not default]
        elif isinstance(default, (int, float)):
            others = [type(default)(value) for value in (1, 2, default + 1)]
        for value in others:
            with suppress(ValueError):
                if value != default:
                    factory(**{option: value})
                    found.append({option: value})
    return found
