"""Sums, products and scalings of bases are bases: they compute what they say, and a config keeps them exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lrlora import LRLoraConfig
from lrlora.bases import BASES, Basis, Properties, ShiftedBasis, register
from lrlora.bases.bspline import BSpline
from lrlora.bases.fourier import Fourier
from lrlora.bases.gaussian import Gaussian
from lrlora.bases.legendre import Legendre
from lrlora.bases.mexican_hat import MexicanHat
from lrlora.bases.morlet import Morlet
from lrlora.bases.piecewise_linear import PiecewiseLinear
from lrlora.bases.polynomial import Polynomial
from lrlora.bases.product import Product
from lrlora.bases.rational import Rational
from lrlora.bases.ridge import Ridge
from lrlora.bases.scaled import Scaled
from lrlora.bases.sinc import Sinc
from lrlora.bases.sine import Sine
from lrlora.bases.sum import Sum
from lrlora.testing import NotApplicableError, parametrize_with_checks
from lrlora.testing.basis_checks import claims

F64 = torch.float64


@register("test_constant")
@dataclass(frozen=True)
class Constant(ShiftedBasis):
    """ψ = 1, the neutral element of products."""

    def kernel(self, u: Tensor) -> Tensor:
        return torch.ones_like(u)

    def properties(self) -> Properties:
        return Properties(parity="even", smoothness=math.inf)


SIMPLE = st.one_of(
    st.sampled_from([Sinc(), Gaussian(), MexicanHat(), PiecewiseLinear(), Rational(), Ridge(), Ridge("sigmoid")]),
    st.builds(BSpline, st.integers(1, 4)),
    st.builds(Morlet, st.floats(0.5, 6)),
    st.builds(Sine, st.floats(0.5, 6)),
    st.builds(Fourier, st.floats(1, 4)),
    st.builds(Legendre, st.floats(1, 4)),
)
FACTORS = st.floats(-4, 4).filter(lambda c: abs(c) > 0.1)
ANY = st.recursive(
    SIMPLE,
    lambda parts: st.one_of(
        st.builds(Sum, parts, parts),
        st.builds(Product, parts, parts),
        st.builds(Scaled, parts, FACTORS, st.floats(0.25, 3)),
    ),
    max_leaves=4,
)


def arguments(seed: int, n: int = 4, points: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.empty(points, dtype=F64).uniform_(-3.5, 3.5, generator=generator)
    grid = torch.empty(n, dtype=F64).uniform_(-3, 3, generator=generator).sort().values
    return z, grid, torch.empty(n, dtype=F64).uniform_(0.3, 2.0, generator=generator)


def by_hand(basis: Basis, z: Tensor, grid: Tensor, omega: Tensor) -> Tensor:
    """The definition, read off the fields."""
    match basis:
        case Sum(first=Basis() as first, second=Basis() as second):
            return by_hand(first, z, grid, omega) + by_hand(second, z, grid, omega)
        case Product(first=Basis() as first, second=Basis() as second):
            return by_hand(first, z, grid, omega) * by_hand(second, z, grid, omega)
        case Scaled(part=Basis() as part, factor=factor, bandwidth=s):
            return factor * by_hand(part, z, grid, s * omega)
        case _:
            return basis.matrix(z, grid, omega)


# -- what they compute ---------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(basis=ANY, seed=st.integers(0, 2**31))
def test_compositions_of_any_depth_compute_what_they_say(basis: Basis, seed: int) -> None:
    found = basis.matrix(*arguments(seed))
    assert found.shape == (6, 4)
    torch.testing.assert_close(found, by_hand(basis, *arguments(seed)))


@given(first=SIMPLE, second=SIMPLE, third=SIMPLE, c=FACTORS, seed=st.integers(0, 2**31))
def test_the_operators_obey_the_rules_of_functions(
    first: Basis, second: Basis, third: Basis, c: float, seed: int
) -> None:
    def same(one: Basis, other: Basis) -> None:
        torch.testing.assert_close(one.matrix(*arguments(seed)), other.matrix(*arguments(seed)))

    same(first + second, second + first)
    same(first * second, second * first)
    same((first + second) + third, first + (second + third))
    same((first * second) * third, first * (second * third))
    same((first + second) * third, first * third + second * third)
    same(c * (first + second), c * first + second * c)
    same(first * Constant(), first)
    same(Scaled(Scaled(first, c, 0.5), 2.0, 3.0), Scaled(first, 2 * c, 1.5))


@given(basis=SIMPLE, seed=st.integers(0, 2**31))
def test_scaled_by_one_is_the_basis_to_the_bit(basis: Basis, seed: int) -> None:
    assert torch.equal(Scaled(basis).matrix(*arguments(seed)), basis.matrix(*arguments(seed)))
    assert Scaled(basis).properties() == basis.properties()


def test_operators_write_compositions_and_refuse_everything_else() -> None:
    assert Sinc() + Gaussian() == Sum(Sinc(), Gaussian()) == Sum("sinc", {"basis": "gaussian"})
    assert Sinc() * Gaussian() == Product(Sinc(), Gaussian())
    assert 0.5 * Morlet() == Morlet() * 0.5 == Scaled(Morlet(), 0.5)
    assert -1 * Sinc() == Scaled(Sinc(), -1)
    for attempt in ("Sinc() + 'gaussian'", "Sinc() * 'gaussian'", "True * Sinc()", "Sinc() + 1"):
        with pytest.raises(TypeError, match=r"unsupported operand|can't multiply"):
            eval(attempt)


# -- what they say of themselves -----------------------------------------------------------------------------


def assert_claims(basis: Basis) -> None:
    """Parity, period, support and degree, by the checks of the kit."""
    for check in (claims.check_parity, claims.check_period, claims.check_support, claims.check_polynomial):
        with suppress(NotApplicableError):
            check(basis)


@settings(max_examples=30)
@given(basis=ANY)
def test_what_a_composition_claims_is_true(basis: Basis) -> None:
    assert_claims(basis)


@pytest.mark.parametrize(
    ("basis", "claimed"),
    [
        (Sinc() + Gaussian(), Properties(parity="even", smoothness=math.inf)),
        (Sinc() * Sinc(), Properties(parity="even", band_limit=1.0, smoothness=math.inf)),
        (Sinc() + 2 * Sinc(), Properties(parity="even", band_limit=0.5, smoothness=math.inf)),
        (BSpline() * PiecewiseLinear(), Properties(parity="even", support=1.0, smoothness=0)),
        (BSpline() + PiecewiseLinear(), Properties(parity="even", support=2.0, smoothness=0)),
        (Ridge() * Sinc(), Properties(parity="odd", smoothness=math.inf)),
        (Ridge() * Ridge(), Properties(parity="even", smoothness=math.inf)),
        (Ridge() + Sinc(), Properties(smoothness=math.inf)),
        (Rational() * Ridge(), Properties(parity="definite", smoothness=math.inf)),
        (Rational() + Rational(), Properties(smoothness=math.inf)),
        (Fourier() + Fourier(2.0), Properties(period=12.0, smoothness=math.inf)),
        (Fourier() * Fourier(), Properties(parity="definite", period=6.0, smoothness=math.inf)),
        (Fourier() + Fourier(2**0.5), Properties(smoothness=math.inf)),
        (Polynomial() + Legendre(), Properties(smoothness=math.inf, polynomial=True, interval=3.0)),
        (Polynomial() * Legendre(2.0), Properties(parity="definite", smoothness=math.inf, interval=2.0)),
        # Of u = ωz the interval is known; of ω(z − z_i) it is not, and nothing that holds on it is claimed.
        (Legendre() + Sinc(), Properties()),
        (
            Scaled(Legendre(), bandwidth=4.0),
            Properties("definite", smoothness=math.inf, polynomial=True, interval=0.75),
        ),
        (Scaled(BSpline(), 2.0, 4.0), Properties(parity="even", support=0.5, smoothness=2)),
        (Scaled(Sinc(), bandwidth=4.0), Properties(parity="even", band_limit=2.0, smoothness=math.inf)),
        (Scaled(Fourier(), bandwidth=0.5), Properties(parity="definite", period=12.0, smoothness=math.inf)),
        # Of ωz a Fourier function is even or odd; of ω(z − z_i), which is the u of the whole, it is neither.
        (Fourier() * Gaussian(), Properties(smoothness=math.inf)),
    ],
    ids=lambda given: repr(given) if isinstance(given, Basis) else "",
)
def test_what_is_certain_of_a_composition_is_derived(basis: Basis, claimed: Properties) -> None:
    assert basis.properties() == claimed
    assert_claims(basis)


@parametrize_with_checks(
    [
        Sinc() + Gaussian(),
        Sinc() * Gaussian(),
        0.5 * Morlet(),
        Sinc() + Scaled(Sinc(), 0.5, 4.0),
        Fourier() * Legendre(),
    ]
)
def test_compositions_pass_the_checks_of_the_kit(check: Callable[[], None]) -> None:
    check()


# -- in a config ---------------------------------------------------------------------------------------------


def assert_saved(config: LRLoraConfig, made: Basis) -> None:
    """The config makes the basis, also after it went through JSON, and holds the same options then."""
    assert config.make_basis() == made
    data = json.loads(json.dumps(config.to_dict(), default=str))
    again = LRLoraConfig(**{field: data[field] for field in ("basis", "basis_kwargs", "grid_bound")})
    assert again.make_basis() == made
    assert again.to_dict()["basis_kwargs"] == data["basis_kwargs"]


@settings(max_examples=40)
@given(basis=ANY)
def test_a_composition_is_plain_json_and_comes_back_the_same(basis: Basis) -> None:
    assert_saved(LRLoraConfig(basis=basis, grid_bound=7.0), basis)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"basis": "sum:sinc,gaussian"}, Sinc() + Gaussian()),
        ({"basis": "sum:bspline:2,sinc"}, BSpline(2) + Sinc()),
        ({"basis": "scaled:morlet,0.5"}, 0.5 * Morlet()),
        (
            {"basis": "sum", "basis_kwargs": {"first": "sinc", "second": {"basis": "bspline", "degree": 2}}},
            Sinc() + BSpline(2),
        ),
        (
            {
                "basis": "product",
                "basis_kwargs": {"first": {"basis": "sum", "first": "sinc", "second": "gaussian"}, "second": "ridge"},
            },
            (Sinc() + Gaussian()) * Ridge(),
        ),
        ({"basis": "sum", "basis_kwargs": {"first": Sinc(), "second": BSpline(1)}}, Sinc() + BSpline(1)),
    ],
    ids=str,
)
def test_every_notation_makes_the_same_basis_and_can_be_saved(given: dict[str, Any], made: Basis) -> None:
    assert_saved(LRLoraConfig(**given), made)


def test_the_bound_of_the_grid_reaches_parts_that_take_one_and_do_not_say() -> None:
    inner = {"basis": "product", "first": "fourier:2.0", "second": {"basis": "scaled", "part": "legendre"}}
    config = LRLoraConfig(basis="sum", basis_kwargs={"first": "fourier", "second": inner}, grid_bound=5.0)
    assert config.make_basis() == Fourier(5.0) + Fourier(2.0) * Scaled(Legendre(5.0))
    assert LRLoraConfig(basis=Sinc() + Fourier(), grid_bound=5.0).make_basis() == Sinc() + Fourier(3.0)
    assert LRLoraConfig(basis="fourier:2.0", grid_bound=5.0).make_basis() == Fourier(2.0)


@pytest.mark.parametrize(
    ("kwargs", "line"),
    [
        (
            {"first": "sinc", "second": "gausian"},
            "sum, part 'second': unknown basis 'gausian'; did you mean 'gaussian'",
        ),
        ({"first": "sinc"}, "basis 'sum': missing a required argument: 'second'"),
        (
            {"first": "sinc", "second": {"degree": 2}},
            "sum, part 'second': it is a name, or {'basis'",
        ),
        ({"first": 3, "second": "sinc"}, "sum, part 'first': a basis is a name or an instance of Basis, not int 3"),
        (
            {"first": "sinc", "second": {"basis": "scaled", "part": {"basis": "bspline", "order": 2}}},
            "sum, part 'second': scaled, part 'part': basis 'bspline': unexpected keyword argument 'order'",
        ),
        (
            {"first": "sinc", "second": {"basis": "scaled", "part": "sinc", "factor": 0}},
            "sum, part 'second': factor of scaled must not be 0",
        ),
    ],
    ids=str,
)
def test_an_error_is_one_line_that_names_the_part(kwargs: dict[str, Any], line: str) -> None:
    with pytest.raises((ValueError, TypeError)) as refused:
        LRLoraConfig(basis="sum", basis_kwargs=kwargs)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


class Unnamed(ShiftedBasis):
    def kernel(self, u: Tensor) -> Tensor:
        return u


def test_a_part_without_a_name_works_and_says_why_it_cannot_be_saved() -> None:
    with pytest.raises(TypeError, match=r"Unnamed has no name; decorate the class"):
        LRLoraConfig(basis=Sinc() + Unnamed()).to_dict()


def test_grid_points_are_trained_where_any_part_uses_them() -> None:
    assert (Sinc() + Fourier()).uses_grid
    assert not (2 * (Fourier() * Legendre())).uses_grid
    LRLoraConfig(basis=Sinc() * Fourier(), grid="learned")
    with pytest.raises(ValueError, match="does not use"):
        LRLoraConfig(basis=Fourier() * Legendre(), grid="learned")


def test_a_composition_of_ones_own_is_registered_like_any_other() -> None:
    @register("test_windowed")
    @dataclass(frozen=True)
    class Windowed(ShiftedBasis):
        """Holds a basis as an option."""

        window: Basis

        def kernel(self, u: Tensor) -> Tensor:
            zero = torch.zeros(1, dtype=u.dtype, device=u.device)
            return u * self.window.matrix(u, zero, zero + 1)[..., 0]

    saved = LRLoraConfig(basis=Sinc() + Windowed(BSpline(2))).to_dict()["basis_kwargs"]
    assert saved["second"] == {"basis": "test_windowed", "window": {"basis": "bspline", "degree": 2}}
    assert "test_windowed" in BASES
