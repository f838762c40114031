"""Counting operations, by which bases are made to cost the same."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from lrlora.bases import BASES, Basis, ShiftedBasis
from lrlora.studies.authoring.basis_costs import measure_costs
from lrlora.studies.authoring.operations import matched_grid_points, operations_per_entry
from lrlora.studies.errors import StudyError


@dataclass(frozen=True)
class Square(ShiftedBasis):
    def kernel(self, u: Tensor) -> Tensor:
        return u * u


@dataclass(frozen=True)
class Constant(Basis):
    uses_grid = False

    def matrix(self, z: Tensor, grid: Tensor, bandwidth: Tensor) -> Tensor:
        return torch.ones(1).expand(*z.shape, len(grid))


def test_an_operation_is_an_entry_that_a_primitive_writes() -> None:
    """A square over the grid is a difference, a product with ω and the square: three for each function."""
    assert operations_per_entry(Square(), 7) == 21


def test_a_view_costs_nothing() -> None:
    assert operations_per_entry(Constant(), 7) < 0.1


@pytest.mark.parametrize("name", ["gaussian", "bspline:1", "fourier", "polynomial", "ridge"])
def test_the_matched_number_is_the_nearest(name: str) -> None:
    basis, wanted = BASES.create(name), operations_per_entry(BASES.create("sinc"), 50)
    found = matched_grid_points(basis, wanted)

    def off(n: int) -> float:
        return abs(operations_per_entry(basis, n) - wanted)

    assert off(found) <= min(off(max(1, found - 1)), off(found + 1))


def test_sinc_matches_itself() -> None:
    sinc = BASES.create("sinc")
    assert matched_grid_points(sinc, operations_per_entry(sinc, 50)) == 50


def test_a_basis_that_costs_nothing_has_no_match() -> None:
    with pytest.raises(StudyError, match="fewer operations"):
        matched_grid_points(Constant(), 100.0)


def test_a_basis_is_measured_with_as_many_parameters_and_with_as_many_operations() -> None:
    said: list[str] = []
    costs = list(measure_costs(["gaussian", "sinc"], 10, (16, 12), 8, 2, 3, said.append))
    assert [(cost.basis, cost.matched) for cost in costs] == [
        ("gaussian", "parameters"),
        ("gaussian", "operations"),
        ("sinc", "parameters"),
    ]
    assert [cost.parameters for cost in costs] == [20, 2 * costs[1].grid_points, 20]
    assert all(cost.matrix.rounds == cost.step.rounds == cost.step_to_reference.rounds == 3 for cost in costs)
    assert len(said) == 3
