"""The report's figures: that each is drawn where it has something to show, and what its words promise."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrlora.studies.report.curve_figures import grad_norm_figure, validation_figure
from lrlora.studies.report.figure_parts import PlotText
from lrlora.studies.report.figures import all_figures
from lrlora.studies.report.palette import CSS_COLOURS, MARKER_PATHS, looks
from lrlora.studies.report.tradeoff_figure import pareto_front, tradeoff_figure
from lrlora.studies.report.trend_figures import trend_figures
from lrlora.studies.stats.summary import StudySummary, summarise
from lrlora.studies.stats.verdicts import trend_points


def style(summary: StudySummary) -> dict:  # type: ignore[type-arg]
    return looks([variant.name for variant in summary.variants], summary.reference)


def texts(figure: PlotText | None) -> list[str]:
    assert figure is not None
    return re.findall(r"<text[^>]*>([^<]*)", figure.svg)


def test_a_trend_is_drawn_with_the_papers_figures_beside_it(synthetic: SimpleNamespace) -> None:
    records = synthetic.along_ranks()
    summary = summarise(synthetic.results(records, study=synthetic.ranks_study()))
    (figure,) = trend_figures(summary)
    assert {"4", "8", "16", "32", "paper"} <= set(texts(figure))
    assert "Table 12" in figure.caption
    assert summary.verdicts[0].words in figure.caption
    points = trend_points(summary.verdicts[0], summary.runs, summary.reference)
    assert {point.at: point.found.mean for point in points} == pytest.approx(
        {float(one.of.rpartition("=")[2]): one.difference.mean for one in summary.comparisons}
    )


def test_a_trend_with_a_hole_shows_none_of_the_papers_figures(synthetic: SimpleNamespace) -> None:
    records = [r for r in synthetic.along_ranks() if r["variant"] != "method=lrlora,r=8"]
    (figure,) = trend_figures(summarise(synthetic.results(records, study=synthetic.ranks_study())))
    assert "paper" not in texts(figure)


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1),
    st.booleans(),
)
def test_the_front_beats_all_others_and_none_of_its_own(points: dict[str, tuple[float, float]], maximize: bool) -> None:
    sign = 1 if maximize else -1
    front = pareto_front(points, maximize)

    def beats(a: str, b: str) -> bool:
        (size, score), (other_size, other) = points[a], points[b]
        return size <= other_size and sign * score >= sign * other and points[a] != points[b]

    assert front
    assert not any(beats(a, b) for a in front for b in front)
    assert all(any(beats(a, b) or points[a] == points[b] for a in front) for b in points)


def test_a_trade_off_needs_two_sizes(synthetic: SimpleNamespace) -> None:
    same = summarise(synthetic.results([synthetic.record(v, s) for v in ("sinc", "fourier") for s in (1, 2)]))
    assert tradeoff_figure(same, style(same)) is None
    ranks = summarise(synthetic.results(synthetic.along_ranks(), study=synthetic.ranks_study()))
    figure = tradeoff_figure(ranks, style(ranks))
    assert figure is not None
    assert figure.points
    assert set(figure.legend) == {variant.name for variant in ranks.variants}


def test_gradient_norms_show_where_they_are_clipped(synthetic: SimpleNamespace) -> None:
    training = {"steps": 40, "max_grad_norm": 0.5}
    records = [synthetic.record(v, 1, training=training, grad_norm=[2.0] * 40) for v in ("sinc", "lora")]
    figure = grad_norm_figure(summary := summarise(synthetic.results(records)), style(summary))
    assert figure is not None
    assert "clipped to, 0.5" in figure.caption
    none = grad_norm_figure(
        summary := summarise(synthetic.results([synthetic.record("lora", 1, grad_norm=[])])), style(summary)
    )
    assert none is None


@pytest.mark.parametrize("norms", [[0.0] * 40, [float("nan")] * 40, [None] * 40])
def test_norms_without_a_logarithm_are_not_drawn(synthetic: SimpleNamespace, norms: list[float]) -> None:
    summary = summarise(synthetic.results([synthetic.record("lora", 1, grad_norm=norms)]))
    assert grad_norm_figure(summary, style(summary)) is None


@pytest.mark.parametrize(("steps", "drawn"), [((10,), False), ((10, 20), True)])
def test_validations_are_drawn_from_two_on(synthetic: SimpleNamespace, steps: tuple[int, ...], drawn: bool) -> None:
    validation = [{"step": step, "accuracy": 0.7, "loss": 0.3} for step in steps]
    summary = summarise(synthetic.results([synthetic.record("lora", 1, validation=validation)]))
    assert (validation_figure(summary, style(summary)) is not None) is drawn


def test_variants_are_told_apart_by_more_than_their_hue() -> None:
    names = [f"variant {index}" for index in range(24)]
    found = looks(names, None)
    assert len({(look.colour, look.dash) for look in found.values()}) == len(names)
    assert len({(look.colour, look.marker) for look in found.values()}) == len(names)
    assert {look.marker for look in found.values()} <= set(MARKER_PATHS)


def test_no_placeholder_colour_is_left(synthetic: SimpleNamespace) -> None:
    """The page turns dark by its own colours; one that is fixed would stay behind."""
    for records in (synthetic.on_tasks(seeds=(1,)), synthetic.along_ranks(seeds=(1, 2), ranks=(4, 8))):
        study = synthetic.ranks_study() if records[0]["variant"].startswith("method") else synthetic.Study()
        for figure in all_figures(summarise(synthetic.results(records, study=study))):
            assert not any(placeholder in figure.svg for placeholder in CSS_COLOURS)
            assert not re.search(r"(fill|stroke): #[0-9a-f]{6}", figure.svg)


def test_a_full_page_stays_small(synthetic: SimpleNamespace) -> None:
    """Series of thousands of steps must not make a report that nobody can mail."""
    steps = 5000
    noise = np.random.default_rng(0).uniform(0.5, 2.0, steps).tolist()
    records = [synthetic.record(f"v{i}", 1, train_loss=noise, grad_norm=noise) for i in range(18)]
    summary = summarise(synthetic.results(records, study=synthetic.Study(reference="v0", paper=None)))
    assert sum(len(figure.svg) for figure in all_figures(summary)) < 330_000
