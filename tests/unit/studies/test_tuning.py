"""Every variant gets the same tuning budget, its validation split decides, and what it found reaches the cells."""

from __future__ import annotations

from typing import Any

import pytest

from lrlora.studies.errors import StudyError
from lrlora.studies.execution.plan import plan
from lrlora.studies.execution.tuning import choose, points, tuning_study
from lrlora.studies.spec.cells import expand_cells, expand_variants
from lrlora.studies.spec.study import Study
from lrlora.studies.spec.tuning import describe_budget

RATES = [1e-3, 4e-3]


def study(**fields: Any) -> Study:
    base: dict[str, Any] = {
        "name": "tiny",
        "base": {"method": "lrlora"},
        "axes": {"r": [1, 2]},
        "baselines": {"lora": {"method": "lora", "r": 2}},
        "reference": "lora",
        "seeds": [1, 2],
        "training": {"steps": 30, "eval_every": 20, "test_examples": 50},
        "tune": {"grid": {"training.learning_rate": RATES}, "seeds": [7, 8], "steps": 10},
        "budgets": {"smoke": {}},
    }
    return Study.from_dict(base | fields).resolve("smoke")


def record(variant: str, accuracy: float | None, status: str = "finished", **metrics: float) -> dict[str, Any]:
    return {"variant": variant, "status": status, "metrics": {"accuracy": accuracy, **metrics}}


def records(**best: int) -> list[dict[str, Any]]:
    """Of the tuning study, where the rate at index ``best`` wins for each variant."""
    return [
        record(f"{name} at learning_rate={rate}", 0.5 + 0.1 * (i == winner))
        for name, winner in ({"r=1": best["r1"], "r=2": best["r2"], "lora": best["lora"]}).items()
        for i, rate in enumerate(RATES)
        for _ in range(2)
    ]


def test_the_stage_gives_every_variant_the_same_runs() -> None:
    stage = tuning_study(study(), "smoke")
    cells = expand_cells(stage)
    per_variant = dict.fromkeys(("r=1", "r=2", "lora"), 0)
    for cell in cells:
        per_variant[cell.variant.name.split(" at ")[0]] += 1
        assert (cell.variant.training.steps, cell.variant.training.eval_every) == (10, 10)
    assert set(per_variant.values()) == {len(RATES) * 2}
    assert {cell.seed for cell in cells} == {7, 8}


def test_the_stage_never_sees_the_test_split() -> None:
    assert {cell.variant.training.test_examples for cell in expand_cells(tuning_study(study(), "smoke"))} == {0}


def test_each_variant_keeps_its_own_best_and_is_known_by_its_name() -> None:
    tuned = choose(study(), records(r1=0, r2=1, lora=1))
    assert {name: found["training.learning_rate"] for name, found in tuned.items()} == {
        "r=1": 1e-3,
        "r=2": 4e-3,
        "lora": 4e-3,
    }
    variants = {variant.name: variant for variant in expand_variants(study(tuned=tuned))}
    assert variants["r=2"].training.learning_rate == 4e-3
    assert variants["r=2"].training.test_examples == 50


def test_a_tie_is_decided_by_the_loss() -> None:
    tied = [
        record(f"{name} at learning_rate={rate}", 0.5, loss=loss)
        for name in ("r=1", "r=2", "lora")
        for rate, loss in zip(RATES, (0.9, 0.3), strict=True)
    ]
    assert {one["training.learning_rate"] for one in choose(study(), tied).values()} == {4e-3}


def test_a_point_at_which_a_run_diverged_is_not_chosen() -> None:
    found = records(r1=1, r2=1, lora=1)
    broken = next(one for one in found if one["variant"] == "r=1 at learning_rate=0.004")
    broken |= {"status": "diverged", "metrics": {}}
    assert choose(study(), found)["r=1"] == {"training.learning_rate": 1e-3}


def test_where_nothing_survived_the_stage_says_so() -> None:
    gone = [one | {"status": "diverged", "metrics": {}} for one in records(r1=0, r2=0, lora=0)]
    with pytest.raises(StudyError, match=r"every setting that was tried for r=1 .* give tune.grid other values"):
        choose(study(), gone)


def test_a_lower_figure_is_better_where_the_metric_says_so() -> None:
    found = [one | {"metrics": {"loss": one["metrics"]["accuracy"]}} for one in records(r1=0, r2=0, lora=0)]
    chosen = choose(study(metric={"name": "loss", "direction": "minimize"}), found)
    assert {one["training.learning_rate"] for one in chosen.values()} == {4e-3}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tune": {"seeds": [2]}}, "tune.seeds has 2, which is a seed of the study"),
        ({"tune": {"grid": {"r": [1]}}}, "tune.grid has r, which is an axis"),
        ({"tune": {"grid": {"training.learning_rte": [1]}}}, "did you mean 'learning_rate'?"),
    ],
)
def test_a_stage_that_cannot_be_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(StudyError) as caught:
        tuning_study(study(**fields), "smoke")
    assert says in str(caught.value)


def test_the_plan_counts_the_stage_until_it_is_done() -> None:
    found = plan(study(), "smoke", {}, {})
    assert found["tuning"]["estimated"]["cells"] == 3 * len(RATES) * 2
    assert found["tuning"]["budget"] == describe_budget(study())
    assert "4 runs of 10 steps" in describe_budget(study())
    tuned = {name: {"training.learning_rate": 1e-3} for name in ("r=1", "r=2", "lora")}
    assert plan(study(tuned=tuned), "smoke", {}, {})["tuning"] is None


def test_the_plan_says_how_far_parameters_are_matched() -> None:
    variants = {one["name"]: one for one in plan(study(tune=None), "smoke", {}, {})["variants"]}
    assert variants["lora"]["relative_to_reference"] == 0
    # Half the rank, and 2 N scalars of θ for each of the 36 weights.
    lora, half = variants["lora"]["parameters"]["minilm"], variants["r=1"]["parameters"]["minilm"]
    assert half == lora // 2 + 36 * 100
    assert variants["r=1"]["relative_to_reference"] == pytest.approx(half / lora - 1)


def test_points_are_the_product_of_the_grid() -> None:
    tuning = study(tune={"grid": {"training.learning_rate": RATES, "r": [1, 2, 4]}, "seeds": [7]}, axes={}).tune
    assert tuning is not None
    assert len(points(tuning)) == 6


def test_defaults_that_depend_on_the_grid_follow_it() -> None:
    """θ's rate goes as 1/N: a stage that tried N at another N's rate would choose for a variant that is never run."""
    fields = {
        "tune": {"grid": {"num_grid_points": [8, 50]}, "seeds": [7]},
        "axes": {},
        "baselines": {},
        "reference": None,
    }
    tuned = {variant.name: variant.config for variant in expand_variants(tuning_study(study(**fields), "smoke"))}
    assert {config["num_grid_points"]: config["transfer_lr_scale"] for config in tuned.values()} == {8: 0.625, 50: 0.1}
