"""What a study will cost, before it runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Any

from lrlora.studies.spec.cells import Cell
from lrlora.studies.spec.study import Training

_FORWARD_SHARE = 0.35
"""Cost of an evaluation, as a share of a training step on as many examples: it has no gradient and no update."""

_SETUP_SECONDS = 2.0
"""Per cell: loading the backbone, injecting the adapter, analysing and recording it."""


def estimate_seconds(
    cells: Sequence[Cell],
    seconds_per_example: float | Mapping[str, float] | None,
    ran: Sequence[tuple[Cell, Mapping[str, Any]]] = (),
) -> float | None:
    """Returns the seconds that cells will take if they run one by one.

    Args:
        cells: What is to be run.
        seconds_per_example: The value that the study declares, measured by its author; or one per backbone.
        ran: Cells of the study that have run here, with their records. What they took goes first, for cells of the same
            task and backbone.

    Returns:
        The estimate, or None where there is a cell with nothing to go by.
    """
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    for cell, record in ran:
        if record["status"] == "finished":
            took[_place(cell)].append(record["duration_seconds"])
    found = [_seconds(cell, seconds_per_example, took.get(_place(cell), ())) for cell in cells]
    return None if None in found else sum(seconds for seconds in found if seconds is not None)


def _seconds(cell: Cell, rates: float | Mapping[str, float] | None, took: Sequence[float]) -> float | None:
    if took:
        return median(took)
    rate = rates.get(cell.backbone) if isinstance(rates, Mapping) else rates
    return None if rate is None else _SETUP_SECONDS + rate * _examples(cell.variant.training)


def _place(cell: Cell) -> tuple[str, str]:
    return str(cell.task["name"]), cell.backbone


def _examples(training: Training) -> float:
    """Returns the examples of a run, with evaluations counted by their cost."""
    validations = 1 + (training.steps - 1) // training.eval_every if training.eval_every else 1
    evaluated = validations * (training.validation_examples or 0) + (training.test_examples or 0)
    return training.steps * training.batch_size + _FORWARD_SHARE * evaluated


def seconds_per_seed(
    records: Sequence[Mapping[str, Any]], variants: Collection[str], test_examples: int | None = None
) -> float:
    """Returns the seconds that one more seed takes: a cell of each of these variants on each task and backbone.

    Args:
        records: Of cells that have run here. The median over a variant's finished cells counts, task by task.
        variants: Names of variants.
        test_examples: The number of test examples, if it is another than that of the records.
    """
    took: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for record in records:
        if record["status"] == "finished" and record["variant"] in variants:
            place = record["variant"], str(record["task"]), str(record["backbone"])
            took[place].append(record["duration_seconds"] * _longer(record, test_examples))
    return sum(median(seconds) for seconds in took.values())


def _longer(record: Mapping[str, Any], test_examples: int | None) -> float:
    """How many times as long a run takes with another number of test examples."""
    if test_examples is None:
        return 1.0
    training = Training.model_validate(record["training"])
    return _examples(training.model_copy(update={"test_examples": test_examples})) / _examples(training)
