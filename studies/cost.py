"""What a study will cost, before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from lrlora.studies.cells import Cell

_FORWARD_SHARE = 0.35
"""Of a training step on as many examples, what judging them costs: no gradient, no adapter update."""

_SETUP_SECONDS = 2.0
"""Per cell: loading the backbone, injecting the adapter, analysing and recording it."""


def estimate_seconds(
    cells: Sequence[Cell], seconds_per_example: float | None, records: Sequence[Mapping[str, Any]] = ()
) -> float | None:
    """Seconds that cells will take, one after the other.

    Args:
        cells: What is to be run.
        seconds_per_example: The study's own figure, measured where it was written.
        records: Cells of the study that have run here; what they took goes first.

    Returns:
        The estimate, or None where there is nothing to go by.
    """
    took = [record["duration_seconds"] for record in records if record["status"] == "finished"]
    if took:
        return median(took) * len(cells)
    if seconds_per_example is None:
        return None
    return sum(_SETUP_SECONDS + seconds_per_example * _examples(cell) for cell in cells)


def _examples(cell: Cell) -> float:
    """Examples trained on, and those that are judged, as if trained on."""
    training = cell.variant.training
    validations = 1 + (training.steps - 1) // training.eval_every if training.eval_every else 1
    judged = validations * (training.validation_examples or 0) + (training.test_examples or 0)
    return training.steps * training.batch_size + _FORWARD_SHARE * judged
