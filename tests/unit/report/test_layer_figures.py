"""The figures of what training made of the layers: from records alone, complete, and for every state of them."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from lrlora.analysis import SPECTRUM_AT
from lrlora.studies.report.figures import all_figures
from lrlora.studies.report.layer_figures import MOST_VARIANTS, in_order, layer_figures, transfer_figure
from lrlora.studies.report.palette import looks
from lrlora.studies.stats.layers import first_snapshots, median_spectra
from lrlora.studies.stats.summary import summarise


def curve(role: str = "q", place: str = "early", bend: float = 0.5, **changes: Any) -> dict[str, Any]:
    z = [-1 + index / 12 for index in range(25)]
    found = {
        "module": f"m.{role}", "role": role, "depth": 0, "place": place, "low": -1.0, "high": 1.0,
        "values": [x + bend * (x**3 - 0.6 * x) for x in z], "slope": 1.0, "histogram": [0.2, 0.6, 0.2],
    }  # fmt: skip
    return found | changes


def snapshots(**changes: Any) -> list[dict[str, Any]]:
    curves = [curve(role, place, **changes) for role in ("up", "q") for place in ("early", "late")]
    return [
        {"step": step, "share": share, "stable_rank": {}, "curves": curves} for step, share in ((5, 0.05), (100, 1))
    ]


def with_looks(record: dict[str, Any]) -> dict[str, Any]:
    spectrum = [0.5**index for index in range(len(SPECTRUM_AT))]
    layers = [layer | {"spectrum": spectrum} for layer in record["layers"]]
    return record | {"layers": layers, "snapshots": [] if record["method"] == "lora" else snapshots()}


def test_the_spectrum_of_a_projection_is_the_median_over_modules_and_seeds() -> None:
    def record(*heads: float, status: str = "finished") -> dict[str, Any]:
        return {"status": status, "layers": [{"role": "q", "spectrum": [1.0, head]} for head in heads]}

    assert median_spectra([record(0.1, 0.2), record(0.9)]) == {"q": [1.0, 0.2]}
    assert median_spectra([record(0.1), record(0.7, status="diverged")]) == {"q": [1.0, 0.1]}
    assert median_spectra([{"status": "finished", "layers": [{"role": "q"}, {"role": None, "spectrum": [1.0]}]}]) == {}
    assert median_spectra([record(float("nan"))]) == {}


def test_the_first_seed_that_finished_is_the_one_that_is_drawn() -> None:
    records = [
        {"status": "diverged", "snapshots": [1]},
        {"status": "finished"},
        {"status": "finished", "snapshots": [2]},
    ]
    assert first_snapshots(records) == [2]
    assert first_snapshots(records[:2]) == ()


def test_a_study_has_one_figure_of_spectra_and_one_of_each_learned_function(synthetic: SimpleNamespace) -> None:
    records = [with_looks(synthetic.record(variant, seed)) for seed in (1, 2) for variant in ("lora", "sinc", "ridge")]
    summary = summarise(synthetic.results(records))
    figures = [f for f in all_figures(summary) if f.name == "spectrum" or f.name.startswith("phi")]
    assert [figure.name for figure in figures] == ["spectrum", "phi-0", "phi-1"]
    assert set(figures[0].legend) == {"lora", "sinc", "ridge"}
    assert [figure.caption.split(",")[0] for figure in figures[1:]] == ["sinc", "ridge"]
    ids = [found for figure in figures for found in re.findall(r'\bid="([^"]*)"', figure.svg)]
    assert len(ids) == len(set(ids))


def test_records_without_looks_are_reported_without_these_figures(synthetic: SimpleNamespace) -> None:
    summary = summarise(synthetic.results())
    assert layer_figures(summary, looks([variant.name for variant in summary.variants], None)) == []


def test_variants_beyond_the_cap_are_named_as_left_out(synthetic: SimpleNamespace) -> None:
    records = [with_looks(synthetic.record(f"variant {index}", 42)) for index in range(MOST_VARIANTS + 2)]
    for record in records:
        record["snapshots"] = [record["snapshots"][0] | {"curves": [curve()]}]
    summary = summarise(synthetic.results(records))
    figures = layer_figures(summary, looks([variant.name for variant in summary.variants], None))
    assert sum(figure.name.startswith("phi") for figure in figures) == MOST_VARIANTS
    assert f"the first {MOST_VARIANTS} of {MOST_VARIANTS + 2} variants" in figures[1].caption


@pytest.mark.parametrize(("bend", "drawn"), [(1.5, "f(z)"), (0.05, "f(z) − c·z")])
def test_what_is_nearly_linear_is_drawn_without_its_linear_part(bend: float, drawn: str) -> None:
    look = looks(["a"], None)["a"]
    figure = transfer_figure("phi", "", [("as saved", [curve(bend=bend)])], look)
    assert re.search(rf">{re.escape(drawn)}</text>", figure.svg)
    assert ("minus its best linear fit" in figure.caption) is (bend < 1)


def test_a_projection_that_a_variant_lacks_at_one_place_leaves_its_panel_out() -> None:
    look = looks(["a"], None)["a"]
    whole = transfer_figure("phi", "", [("s", [curve("q", "early"), curve("q", "late"), curve("k", "early")])], look)
    assert whole.svg.count("layer 0") == 3


def test_roles_come_in_the_order_of_the_computation_and_others_after_them() -> None:
    assert in_order({"down", "other", "q", "gate", "k"}) == ["q", "k", "gate", "down", "other"]
