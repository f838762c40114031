"""The pictures of bases and policies: what they show is what is computed, and they are drawn for every one there is."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from lrlora.bases import ShiftedBasis
from lrlora.policies import AMPLITUDES, GRIDS, RANKS
from lrlora.registry import UnknownNameError
from lrlora.studies.authoring.basis_figure import RANK, SIZE, draw_basis, low_rank_product, make_config, spectrum
from lrlora.studies.authoring.basis_figure import transfer_of as transfer
from lrlora.studies.authoring.policy_figure import draw_policy
from lrlora.studies.errors import StudyError


@dataclass(frozen=True)
class Identity(ShiftedBasis):
    def kernel(self, u: Tensor) -> Tensor:
        return u


def words(svg: str) -> str:
    return " ".join("".join(element.itertext()) for element in ET.fromstring(svg).iter() if element.text)


def test_a_straight_line_leaves_the_rank_alone() -> None:
    values = spectrum(transfer(make_config(basis=Identity())), low_rank_product(), 1.0)
    assert len(values) == SIZE
    assert float(values[0]) == pytest.approx(1.0)
    assert float(values[RANK - 1]) > 1e-3
    assert float(values[RANK]) < 1e-12


def test_a_basis_that_bends_adds_rank_as_the_range_grows() -> None:
    """Within the product's small entries φ is nearly a polynomial of degree two, on large ones it is not."""
    curve = transfer(make_config(basis="gaussian"))
    ranks = [int((spectrum(curve, low_rank_product(), largest) > 1e-3).sum()) for largest in (0.01, 1.0, 3.0)]
    assert RANK < ranks[0] < ranks[1] < ranks[2]


def test_the_picture_of_a_basis_is_whole_the_same_every_time_and_needs_no_page() -> None:
    svg = draw_basis("gaussian", grid_points=9)
    assert svg == draw_basis("gaussian", grid_points=9)
    assert "var(" not in svg
    assert "#0a0" not in svg
    said = words(svg)
    for part in ("9 functions", "amplitude_init", "identity", "singular values", "stable rank"):
        assert part in said


def test_drawing_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    draw_policy("grid", "jittered")
    transfer(make_config(basis="gaussian"))
    assert torch.equal(torch.rand(3), expected)


def test_one_function_is_enough() -> None:
    assert "1 of the 1 functions" in words(draw_basis("bspline:1", grid_points=1))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("grid", name) for name in GRIDS.names()),
        *(("rank_allocation", name) for name in RANKS.names()),
        *(("amplitude_init", name) for name in AMPLITUDES.names()),
        *(("bandwidth_init", name) for name in ("by_depth:0.5,2.0", "constant:2.0", "2.0")),
    ],
)
def test_every_policy_of_a_drawn_kind_is_drawn(kind: str, name: str) -> None:
    svg = draw_policy(kind, name)
    assert ET.fromstring(svg).tag.endswith("svg")
    assert f"The {kind} {name}" in svg


def test_what_cannot_be_drawn_says_so_in_one_line() -> None:
    with pytest.raises(StudyError, match="a placement is not drawn"):
        draw_policy("placement", "all")
    with pytest.raises(UnknownNameError, match="did you mean 'chebyshev'"):
        draw_policy("grid", "chebishev")
    with pytest.raises(UnknownNameError, match="did you mean 'grid'"):
        draw_policy("gird", "uniform")
    with pytest.raises(StudyError, match="num_grid_points must be >= 1, got 0"):
        draw_basis("sinc", grid_points=0)
