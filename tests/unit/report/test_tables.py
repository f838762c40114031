"""The report's tables: their shape for whatever was recorded, and what they say of tasks, divergence and layers."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrlora.studies.report import result_tables
from lrlora.studies.report.cell_tables import cell_table, divergence_table
from lrlora.studies.report.claim_table import claim_table
from lrlora.studies.report.cost_tables import cost_table, layer_table, measured_definitions, measured_table
from lrlora.studies.report.data_files import summary_json
from lrlora.studies.report.design_facts import design_facts
from lrlora.studies.report.result_tables import (
    place_difference_table,
    place_differences,
    place_table,
    result_table,
    tuning_table,
)
from lrlora.studies.report.sentences import caveats, definitions, resolution
from lrlora.studies.report.table import Table
from lrlora.studies.spec.claims import Claim
from lrlora.studies.spec.study import Study as DeclaredStudy
from lrlora.studies.stats.layers import linear_layers
from lrlora.studies.stats.summary import StudySummary, VariantSummary, summarise

MAKERS = (
    result_table,
    result_tables.test_table,
    claim_table,
    cost_table,
    layer_table,
    cell_table,
    divergence_table,
    place_table,
    place_difference_table,
    measured_table,
    tuning_table,
)


def row_of(table: Table | None, name: str) -> dict[str, str]:
    assert table is not None
    row = next(row for row in table.rows if row[0] == name)
    return {column.heading: cell for column, cell in zip(table.columns, row, strict=True)}


def variant_of(summary: StudySummary, name: str) -> VariantSummary:
    return next(variant for variant in summary.variants if variant.name == name)


def finite_or_not() -> st.SearchStrategy[float]:
    return st.floats(0, 1) | st.just(math.nan)


CELLS = st.fixed_dictionaries(
    {
        "variant": st.sampled_from(["lora", "sinc", "a|b", "r=4,basis=sinc"]),
        "seed": st.integers(0, 3),
        "task": st.sampled_from(["a", "b", "c"]),
        "backbone": st.sampled_from(["minilm", "smollm2"]),
        "status": st.sampled_from(["finished", "diverged", "failed"]),
        "judged_on": st.sampled_from(["test", "validation", None]),
        "metrics": st.fixed_dictionaries({"accuracy": finite_or_not()}) | st.just({}),
        "tokens_seen": st.integers(0, 1000) | st.none(),
        "divergence": st.none()
        | st.fixed_dictionaries(
            {
                "step": st.integers(1, 9) | st.none(),
                # Without what spells nan or None, which is looked for in the table.
                "module": st.text(st.characters(exclude_characters="nN")) | st.none(),
                "grad_norms_before": st.lists(st.floats(), max_size=9),
            }
        ),
        "layers": st.lists(
            st.fixed_dictionaries(
                {"module": st.sampled_from("xyz"), "nonlinear_fraction": finite_or_not(), "bends_at": finite_or_not()}
            ),
            max_size=3,
        ),
    }
)


@given(cells=st.lists(CELLS, max_size=12), tuned=st.dictionaries(st.sampled_from(["lora", "sinc"]), st.just({"r": 4})))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_has_as_many_cells_as_columns(
    synthetic: SimpleNamespace, cells: list[dict[str, Any]], tuned: dict[str, dict[str, Any]]
) -> None:
    records = [{"method": "lrlora", "mlflow_run_id": f"run{i}"} | cell for i, cell in enumerate(cells)]
    study = synthetic.Study(claims=[Claim(says="above", of="sinc")])
    study.tuned = tuned
    summary = summarise(synthetic.results(records, study=study))
    for table in (make(summary) for make in MAKERS):
        if table is not None:
            assert all(len(row) == len(table.columns) for row in table.rows)
            assert all(isinstance(cell, str) and cell for row in table.rows for cell in row)
            assert not any(word in cell.split() for row in table.rows for cell in row[1:] for word in ("nan", "None"))
            assert all(r < len(table.rows) and c < len(table.columns) for r, c in table.links)
    cells_shown = cell_table(summary)
    assert len(cells_shown.rows) == len(records)
    # Every variant's figures lead to its cells.
    assert set(result_table(summary).links.values()) == {f"#{anchor}" for anchor in cells_shown.anchors.values()}
    json.loads(summary_json(summary))


def test_over_tasks_and_seeds_there_is_an_interval_of_its_own(synthetic: SimpleNamespace) -> None:
    summary = summarise(synthetic.results(synthetic.on_tasks(seeds=(1, 2))))
    comparison = next(one for one in summary.comparisons if one.of == "gaussian")
    assert comparison.across_tasks is not None
    low, high = comparison.across_tasks
    assert low < comparison.difference.mean < high
    assert "95 %, tasks and seeds" in row_of(result_tables.test_table(summary), "gaussian")
    assert any("With tasks and the seeds within each resampled" in note for note in resolution(summary))
    assert "tasks and seeds" in dict(definitions(summary))


def test_with_one_task_there_is_none(synthetic: SimpleNamespace) -> None:
    summary = summarise(synthetic.results())
    assert "95 %, tasks and seeds" not in row_of(result_tables.test_table(summary), "gaussian")
    assert "tasks and seeds" not in dict(definitions(summary))
    assert place_table(summary) is None
    assert place_difference_table(summary) is None


def test_several_backbones_have_columns_of_their_own(synthetic: SimpleNamespace) -> None:
    records = synthetic.on_tasks(("a",), ("minilm", "smollm2"), seeds=(1, 2))
    summary = summarise(synthetic.results(records))
    assert list(row_of(place_table(summary), "sinc")) == ["Variant", "minilm", "smollm2"]
    assert "Backbone" in row_of(cell_table(summary), "sinc")
    found = {one.place: one.difference for one in place_differences(summary) if one.of == "sinc"}
    assert {place: one.n for place, one in found.items()} == {"minilm": 2, "smollm2": 2}
    overall = next(one for one in summary.comparisons if one.of == "sinc").difference
    assert sum(one.mean for one in found.values()) / 2 == pytest.approx(overall.mean)


def test_tasks_and_backbones_together_name_both(synthetic: SimpleNamespace) -> None:
    summary = summarise(synthetic.results(synthetic.on_tasks(("a", "b"), ("minilm", "smollm2"), seeds=(1,))))
    assert list(row_of(place_table(summary), "lora"))[1:] == ["a, minilm", "b, minilm", "a, smollm2", "b, smollm2"]


def test_what_else_was_measured_is_shown_where_it_was_recorded(synthetic: SimpleNamespace) -> None:
    layers = [{"module": "x", "active_basis": 0.25}, {"module": "y", "active_basis": 0.75}]
    records = [
        synthetic.record("sinc", seed, train_metrics={"accuracy": 0.9}, accuracy=0.8 + seed / 100, layers=layers)
        | {"tokens_seen": 1000, "step_seconds": 0.1}
        for seed in (0, 2)
    ]
    summary = summarise(synthetic.results([*records, synthetic.record("lora", 0, layers=[])]))
    row = row_of(measured_table(summary), "sinc")
    assert row["Active basis functions, %"] == "50.0 ± 0.0"
    assert row["Generalisation gap, points"] == "9.0 ± 1.4"
    assert row["Tokens per second"] == "100 ± 0"
    assert row["Diverged"] == "0 of 2"
    assert row_of(measured_table(summary), "lora")["Tokens per second"] == "–"
    assert variant_of(summary, "sinc").measured["generalization_gap"].mean == pytest.approx(0.09)
    assert "tokens per second" in dict(measured_definitions(summary))


def test_a_recorded_rate_of_tokens_is_taken_as_it_is(synthetic: SimpleNamespace) -> None:
    records = [synthetic.record("lora", 1, tokens_per_second=7.0, tokens_seen=1000)]
    assert variant_of(summarise(synthetic.results(records)), "lora").measured["tokens_per_second"].mean == 7.0


def test_a_divergence_is_traced_to_where_it_began(synthetic: SimpleNamespace) -> None:
    divergence = {"step": 58, "module": "layer.3.query", "tensor": "grad of lora_B", "grad_norms_before": [*range(8)]}
    records = [
        synthetic.diverged("fourier", 1, 60) | {"divergence": divergence | {"grad_norms_before": [1, 2, 3, 4, 5, 60]}},
        synthetic.diverged("sinc", 1, 60),
        synthetic.record("lora", 1, divergence=divergence),
    ]
    table = divergence_table(summarise(synthetic.results(records)))
    assert table is not None
    assert [row[0] for row in table.rows] == ["fourier"]
    row = row_of(table, "fourier")
    assert (row["Step"], row["First in module"], row["Tensor"]) == ("58", "layer.3.query", "grad of lora_B")
    assert row["Gradient norms before"] == "… 2.00, 3.00, 4.00, 5.00, 60.0"
    assert divergence_table(summarise(synthetic.results())) is None


@pytest.mark.parametrize(("bends_at", "proposed"), [([2.0, 4.0, 100.0], "3.00"), ([None] * 3, None)])
def test_linear_layers_are_counted_layer_by_layer(
    synthetic: SimpleNamespace, bends_at: list[float | None], proposed: str | None
) -> None:
    fractions = [0.001, 0.002, 0.3]
    layers = [
        {"module": f"m{i}", "role": "q", "depth": i, "nonlinear_fraction": fraction, "bends_at": scale}
        for i, (fraction, scale) in enumerate(zip(fractions, bends_at, strict=True))
    ]
    summary = summarise(synthetic.results([synthetic.record(name, 1, layers=layers) for name in ("sinc", "lora")]))
    row = row_of(layer_table(summary), "sinc")
    assert row["Linear"] == "2 of 3"
    assert row.get("Proposed s_in") == proposed
    assert row_of(layer_table(summary), "lora")["Linear"] == "–"
    assert linear_layers([]) is None


def tuned_summary(synthetic: SimpleNamespace) -> StudySummary:
    study = DeclaredStudy.from_dict(
        {
            "name": "basis",
            "question": "?",
            "baselines": {"lora": {"method": "lora"}},
            "tune": {"grid": {"training.learning_rate": [0.001, 0.002]}, "seeds": [7], "steps": 30},
            "tuned": {"sinc": {"training.learning_rate": 0.002}, "lora": {"training.learning_rate": 0.001}},
        }
    )
    return summarise(synthetic.results(study=study))


def test_the_tuning_budget_is_part_of_the_design(synthetic: SimpleNamespace) -> None:
    summary = tuned_summary(synthetic)
    assert "tuned with 2 runs of 30 steps" in dict(design_facts(summary))["Tuning"]
    assert row_of(tuning_table(summary), "sinc") == {"Variant": "sinc", "learning rate": "0.002"}
    assert tuning_table(summarise(synthetic.results())) is None


def test_a_setting_of_most_variants_is_that_of_all_others(synthetic: SimpleNamespace) -> None:
    def training(batch_sizes: dict[str, int]) -> str:
        records = [synthetic.record(name, 1, training={"batch_size": size}) for name, size in batch_sizes.items()]
        return dict(design_facts(summarise(synthetic.results(records))))["Training"]

    sizes = {"lora": 16, "sinc": 16, "gaussian": 8, "fourier": 16}
    assert training(sizes) == "batch size 8 (gaussian), 16 (all others)"
    assert training(sizes | {"fourier": 8}) == "batch size 16 (lora and sinc), 8 (gaussian and fourier)"
    assert training(dict.fromkeys(sizes, 32)) == "batch size 32"


def test_the_split_is_named_for_what_it_is(synthetic: SimpleNamespace) -> None:
    tuning = [synthetic.record("lora", seed, judged_on="validation") for seed in (1, 2)]
    summary = summarise(synthetic.results(tuning))
    assert summary.split == "validation split"
    for text in (dict(design_facts(summary))["Metric"], result_table(summary).caption, definitions(summary)[0][1]):
        assert "validation split" in text
        assert "test split" not in text
    mixed = summarise(synthetic.results([*tuning, synthetic.record("sinc", 1)]))
    assert any("not all evaluated on the same split" in note for note in caveats(mixed))
    assert "Evaluated on" in row_of(cell_table(mixed), "sinc")


def test_a_relative_claim_is_printed_in_per_cent(synthetic: SimpleNamespace) -> None:
    records = [
        synthetic.record(name, s, step_seconds=t * (1 + s / 1000))
        for name, t in (("lora", 1), ("sinc", 1.3))
        for s in (1, 2)
    ]
    claim = Claim(
        says="time", kind="equivalence", of="sinc", metric="step_seconds", relative=True, margin=0.02, paper=0.005
    )
    row = row_of(claim_table(summarise(synthetic.results(records, study=synthetic.Study(claims=[claim])))), "time")
    assert row["Here [95 %]"].startswith("+30.00")
    assert (row["Margin"], row["Paper"]) == ("±2.00 %", "+0.5 %")


def test_every_number_in_the_data_has_its_runs(synthetic: SimpleNamespace) -> None:
    records = synthetic.along_ranks(seeds=(1, 2))
    document = json.loads(summary_json(summarise(synthetic.results(records, study=synthetic.ranks_study()))))
    by_variant: dict[str, list[str]] = {}
    for record in records:
        by_variant.setdefault(record["variant"], []).append(record["mlflow_run_id"])
    assert {one["name"]: one["runs"] for one in document["variants"]} == by_variant
    for one in document["comparisons"]:
        assert one["runs"] == [*by_variant[one["of"]], *by_variant[one["against"]]]
    (claim,) = document["claims"]
    assert sorted(claim["runs"]) == sorted(run for runs in by_variant.values() for run in runs)


def test_a_trend_is_printed_per_doubling_or_per_unit(synthetic: SimpleNamespace) -> None:
    study = synthetic.ranks_study()
    (trend,) = study.claims
    for scale, per in (("log2", "per doubling"), ("linear", "per unit")):
        study.claims = [trend.model_copy(update={"scale": scale})]
        row = row_of(claim_table(summarise(synthetic.results(synthetic.along_ranks(), study=study))), trend.says)
        assert row["Here [95 %]"].endswith(f"points {per}")


def test_a_claim_nothing_was_recorded_for_has_no_figures_made_up(synthetic: SimpleNamespace) -> None:
    study = synthetic.Study(claims=[Claim(says="above", of="no such variant")])
    row = row_of(claim_table(summarise(synthetic.results(study=study))), "above")
    assert (row["Here [95 %]"], row["Paper"]) == ("–", "–")
