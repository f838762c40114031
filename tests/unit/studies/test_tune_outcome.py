"""What is said of the trials of one variant: which setting decides, whether the best is at an edge, which is best."""

from __future__ import annotations

import optuna
import pytest

from lrlora.studies.search.outcome import VariantOutcome
from lrlora.studies.search.plots import NEEDED, importances, why_not
from lrlora.studies.search.space import Dimension
from lrlora.studies.search.trials import INDEX, LOSSES, OUTCOME, VALUES


def variant_outcome(values: list[float], best_at: float = 0.5, direction: str = "maximize") -> VariantOutcome:
    space = {"x": Dimension(low=0.0, high=1.0), "y": Dimension(low=0.0, high=1.0)}
    trials = [
        optuna.trial.create_trial(
            value=value,
            params={"x": place, "y": (n * 0.37) % 1},
            distributions={name: dimension.distribution(0.5) for name, dimension in space.items()},
            user_attrs={INDEX: n, OUTCOME: "complete", VALUES: [value, value], LOSSES: [0.5, 0.5]},
        )
        for n, (value, place) in enumerate(zip(values, [best_at, *values[1:]], strict=True))
    ]
    return VariantOutcome("it", space, {"x": 0.5, "y": 0.5}, direction, trials)


def test_importance_names_the_setting_that_decides_and_is_silent_on_too_few_trials() -> None:
    values = [(n * 0.618) % 1 for n in range(NEEDED + 5)]
    found = importances(variant_outcome(values))
    assert next(iter(found)) == "x"
    assert sum(found.values()) == pytest.approx(1)
    few = variant_outcome(values[: NEEDED - 1])
    assert importances(few) == {}
    assert str(NEEDED) in str(why_not(few))


def test_a_best_at_the_edge_of_its_interval_is_said() -> None:
    warnings = " ".join(variant_outcome([0.2, 0.5, 0.99]).warnings())
    assert "the best x, 0.99, is at the upper edge of its space" in warnings
    assert "edge" not in " ".join(variant_outcome([0.2, 0.5]).warnings())


def test_a_lower_figure_is_better_where_the_metric_says_so_and_ties_go_to_the_first() -> None:
    best = variant_outcome([0.2, 0.5, 0.2], direction="minimize").best
    assert best is not None
    assert best.user_attrs[INDEX] == 0
