"""What a user wrote, spelled out."""

from __future__ import annotations

from lrlora.bases import BASES
from lrlora.studies.bench.settings import make_variants


def test_all_bases_are_those_that_need_no_argument() -> None:
    variants = make_variants(["all"], ["auto"], [4], [50], 2e-3)
    found = [variant.basis for variant in variants]
    assert {"sinc", "gaussian", "bspline", "fourier", "polynomial"} <= set(found)
    assert "product" in BASES
    assert "product" not in found


def test_what_is_named_twice_is_measured_once() -> None:
    variants = make_variants(["sinc", "all", "sinc"], ["auto", "all"], [4], [50], 2e-3)
    assert len(variants) == len(set(variants))
    assert variants[0].basis == "sinc"
