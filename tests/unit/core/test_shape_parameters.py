"""Learned shape parameters of a basis: how they are declared, passed on by compositions, and used by ``student``."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student_t

from lrlora.bases import BASES, Basis, ShiftedBasis
from lrlora.bases.gaussian import Gaussian
from lrlora.bases.product import Product
from lrlora.bases.scaled import Scaled
from lrlora.bases.sinc import Sinc
from lrlora.bases.student import Student
from lrlora.bases.sum import Sum

F64 = torch.float64
GRID, OMEGA = torch.tensor([-1.0, 0.0, 2.0], dtype=F64), torch.tensor([0.5, 1.0, 3.0], dtype=F64)
LOG_NU = torch.tensor([-1.0, 0.0, 4.0], dtype=F64)
Z = torch.linspace(-4, 4, 9, dtype=F64)


@given(nu=st.floats(0.05, 1e4), u=st.floats(-50, 50))
def test_student_is_the_density_of_scipy_over_its_peak(nu: float, u: float) -> None:
    found = Student().kernel(torch.tensor(u, dtype=F64), log_nu=torch.tensor(math.log(nu), dtype=F64))
    assert float(found) == pytest.approx(student_t.pdf(u, nu) / student_t.pdf(0, nu), rel=1e-9, abs=1e-300)


def test_student_is_a_gaussian_for_many_degrees_of_freedom() -> None:
    many = torch.full_like(GRID, 25.0)
    found = Student().matrix(Z, GRID, OMEGA, log_nu=many)
    torch.testing.assert_close(found, Gaussian().matrix(Z, GRID, OMEGA), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_student_and_its_gradients_are_finite_far_off(dtype: torch.dtype) -> None:
    u = torch.tensor([0.0, 1.0, -1e3, 1e8, 1e18], dtype=dtype, requires_grad=True)
    for log_nu in (-3.0, 0.0, 10.0):
        shape = torch.full((5,), log_nu, dtype=dtype, requires_grad=True)
        values = Student().kernel(u, log_nu=shape)
        assert all(part.isfinite().all() for part in (values, *torch.autograd.grad(values.sum(), (u, shape))))


@pytest.mark.parametrize(
    ("basis", "names"),
    [
        (Student(), ["log_nu"]),
        (Scaled(Student(), 2.0, bandwidth=0.5), ["log_nu"]),
        (Sum(Sinc(), Student()), ["second_log_nu"]),
        (Product(Student(), Scaled(Student())), ["first_log_nu", "second_log_nu"]),
        (Sum(Sum(Student(), Sinc()), Gaussian()), ["first_first_log_nu"]),
    ],
    ids=repr,
)
def test_shape_parameters_reach_the_function_that_declares_them(basis: Basis, names: list[str]) -> None:
    assert list(basis.shape_parameters) == names
    start = torch.full_like(GRID, math.log(3.0))
    at_start = basis.matrix(Z, GRID, OMEGA, **dict.fromkeys(names, start))
    torch.testing.assert_close(basis.matrix(Z, GRID, OMEGA), at_start)
    for name in names:
        changed = basis.matrix(Z, GRID, OMEGA, **{name: start + torch.tensor([0.0, 1.0, 0.0], dtype=F64)})
        moved = (changed - at_start).abs().amax(0)
        assert moved[1] > 1e-3
        assert (moved[[0, 2]] == 0).all()
    inputs = [one.clone().requires_grad_() for one in (Z, GRID, OMEGA, *[LOG_NU] * len(names))]
    assert torch.autograd.gradcheck(
        lambda z, grid, omega, *shape: basis.matrix(z, grid, omega, **dict(zip(names, shape, strict=True))), inputs
    )


def test_a_basis_without_shape_parameters_takes_none() -> None:
    assert all(not BASES.create(name).shape_parameters for name in ("sinc", "fourier", "sum:sinc,gaussian"))
    with pytest.raises(TypeError, match="unexpected keyword argument 'log_nu'"):
        Sinc().matrix(Z, GRID, OMEGA, log_nu=LOG_NU)


@pytest.mark.parametrize(
    ("declared", "line"),
    [
        ({"bandwidth": 1.0}, r"^shape parameter of Wrong must be an identifier other than .*, got 'bandwidth'$"),
        ({"u": 1.0}, "got 'u'"),
        ({"lambda": 1.0}, "got 'lambda'"),
        ({"a.b": 1.0}, "got 'a.b'"),
        ({3: 1.0}, "got 3"),
        ({"nu": math.nan}, r"^shape_parameters\['nu'\] of Wrong must be a finite number, got nan$"),
    ],
    ids=str,
)
def test_a_declaration_that_cannot_be_is_refused_where_the_class_is_made(declared: Any, line: str) -> None:
    with pytest.raises((TypeError, ValueError), match=line):

        class Wrong(ShiftedBasis):
            shape_parameters = declared

            def kernel(self, u: torch.Tensor, **shape: torch.Tensor) -> torch.Tensor:
                return u
