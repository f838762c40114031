"""The curve of φ, its active basis functions, and the input scale at which a straight φ would bend."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrlora.analysis.curves import active_share, bending_scale, transfer_curve
from lrlora.analysis.linalg import nonlinear_fraction
from lrlora.bases import BASES, ShiftedBasis
from lrlora.transfer import TransferFunction

F64 = torch.float64
SMOOTH = ["sinc", "gaussian", "fourier", "polynomial", "morlet", "ridge"]
seeds = st.integers(0, 2**31)


class Line(ShiftedBasis):
    """ψ(u) = u: φ is a straight line once it is centred."""

    def kernel(self, u: torch.Tensor) -> torch.Tensor:
        return u


def product(seed: int, r: int = 3, size: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(r, 30, dtype=F64, generator=generator)
    B = torch.randn(40, r, dtype=F64, generator=generator)
    return size * (B @ A) / math.sqrt(r)


def function(basis: str, seed: int, input_scale: float = 1.0, size: float = 0.1) -> TransferFunction:
    generator = torch.Generator().manual_seed(seed)
    n = 12
    return TransferFunction(
        BASES.create(basis),
        amplitude=size * torch.randn(n, dtype=F64, generator=generator),
        bandwidth=torch.ones(n, dtype=F64),
        grid=torch.linspace(-3, 3, n, dtype=F64),
        input_scale=input_scale,
        output_scale=1 / input_scale,
    )


@given(basis=st.sampled_from(SMOOTH), seed=seeds, scale=st.floats(0.01, 30))
def test_a_curve_is_the_transfer_function_over_the_entries_and_its_line_leaves_the_nonlinear_fraction(
    basis: str, seed: int, scale: float
) -> None:
    f, p = function(basis, seed, scale), product(seed + 1)
    curve = transfer_curve(p, f)
    assert curve.low == pytest.approx(float(scale * p.min()), rel=1e-4)
    assert curve.high == pytest.approx(float(scale * p.max()), rel=1e-4)
    expected = f(torch.linspace(float(scale * p.min()), float(scale * p.max()), len(curve.values), dtype=F64))
    torch.testing.assert_close(torch.tensor(curve.values, dtype=F64), expected, rtol=1e-5, atol=1e-12)
    assert sum(curve.histogram) == pytest.approx(1, abs=0.02)
    if scale <= 1:  # else φ changes within a bin of the histogram
        delta = f(scale * p)
        rest = delta - curve.slope * scale * p
        assert float(rest.norm() / delta.norm()) == pytest.approx(nonlinear_fraction(delta, p), rel=1e-3, abs=1e-5)


def test_before_the_first_step_the_curve_is_drawn_over_the_grid() -> None:
    curve = transfer_curve(torch.zeros(4, 5), function("sinc", 0))
    assert (curve.low, curve.high) == (-3, 3)
    assert curve.slope == 0


@given(
    amplitudes=st.lists(st.floats(-1e6, 1e6).filter(lambda a: abs(a) > 1e-9), min_size=1, max_size=60),
    factor=st.floats(1e-3, 1e3),
)
def test_the_active_share_is_above_zero_at_most_one_and_free_of_scale(amplitudes: list[float], factor: float) -> None:
    a = torch.tensor(amplitudes, dtype=F64)
    share = active_share(a)
    assert 1 / len(amplitudes) - 1e-12 <= share <= 1
    assert abs(active_share(2.0 ** round(math.log2(factor)) * a) - share) < 1e-12


@given(basis=st.sampled_from(SMOOTH), seed=seeds, size=st.floats(1e-4, 3e-3), fraction=st.sampled_from([0.01, 0.1]))
def test_at_the_proposed_input_scale_a_straight_line_bends_as_much_as_was_said(
    basis: str, seed: int, size: float, fraction: float
) -> None:
    f, p = function(basis, seed), product(seed + 1, size=size)
    scale = bending_scale(p, f, fraction)
    if scale is None:
        # Then no scale bends it that far, whatever is tried.
        for power in range(16):
            z = 2.0**power * p
            assert nonlinear_fraction(f(z), z) < 1.05 * fraction
        return
    at = replace(f, input_scale=scale)
    found = nonlinear_fraction(at(at.input_scale * p), p)
    assert found == pytest.approx(fraction, rel=0.05) or (scale == 1 and found > fraction)
    below = 0.8 * scale
    assert scale == 1 or nonlinear_fraction(f(below * p), p) < fraction


def test_a_function_without_amplitudes_and_an_update_of_zero_never_bend() -> None:
    assert bending_scale(product(0, size=1e-3), function("sinc", 0, size=0.0), 0.01) is None
    assert bending_scale(torch.zeros(4, 5), function("sinc", 0), 0.01) is None
    # A straight line at every scale: more of it is as straight.
    assert bending_scale(product(0), replace(function("sinc", 0), basis=Line()), 0.01) is None
