"""Runs as a pandas data frame: one row per run, with what identifies it and the measures that are compared.

Every test of this package takes such a frame, made from records by :func:`runs_frame` or by hand. A column ``variant``
and one for each compared measure are needed. ``task``, ``backbone`` and ``seed`` identify the runs that are paired;
a column that is missing counts as one that is the same for all. A measure is NaN for a run that did not finish.

A column ``examples.accuracy`` may hold the accuracy of every test example, as an array ``(examples,)`` per run; then
intervals cover the sampling of test examples as well as seeds. All runs of a task must have the same test examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from lrlora.studies.stats.measures import measure
from lrlora.studies.stats.source import Record, label

PLACE = ("task", "backbone", "seed")
"""The columns in which paired runs agree."""

AXIS = "axis."
"""Prefix of the columns that hold the axes of a study."""

EXAMPLES = "examples."
"""Prefix of the columns that hold a metric for every test example of a run, as arrays ``(examples,)`` or None."""

Unit = Literal["seed", "task"]
"""What is repeated: seeds within one task, or, with several tasks, the tasks (seeds are averaged within each)."""


ARRAYS = {"accuracy": "correct", "loss": "loss"}
"""Measures that are the mean of one of the arrays of ``predictions.npz``."""


def runs_frame(
    records: Iterable[Record],
    measures: Sequence[str],
    examples: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """Runs of a study as a data frame.

    Args:
        records: The records of runs, as ``Results.load(...).records`` has them.
        measures: Names of measures, see :mod:`lrlora.studies.stats.measures`; each becomes a column.
        examples: By ``mlflow_run_id``, the arrays of the run's ``predictions.npz``, as ``Results.load(...).examples``.

    Returns:
        One row per record with ``variant``, ``task``, ``backbone``, ``seed``, a column ``axis.NAME`` per axis, and the
        measures in their natural units; for those in :data:`ARRAYS` also the values of every example, where known.
    """
    records = list(records)
    rows = [
        {"variant": str(record["variant"]), **{field: label(record, field) for field in PLACE}}
        | {f"{AXIS}{axis}": repr(value) for axis, value in (record.get("axes") or {}).items()}
        | {name: measure(record, name) for name in measures}
        for record in records
    ]
    identity = dict.fromkeys(name for row in rows for name in row if name.startswith(AXIS))
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys(["variant", *PLACE, *identity, *measures])))
    frame = frame.astype(dict.fromkeys(measures, float))
    for name in [name for name in ARRAYS if name in measures]:
        arrays = [
            _of_examples(record, name, (examples or {}).get(str(record.get("mlflow_run_id")))) for record in records
        ]
        if any(array is not None for array in arrays):
            frame[EXAMPLES + name] = pd.Series(arrays, dtype=object)
    return frame


def _of_examples(record: Record, name: str, arrays: Mapping[str, Any] | None) -> Any:
    """A measure for every example; None if its mean is not what was recorded: then it is not the same quantity."""
    value, array = measure(record, name), (arrays or {}).get(ARRAYS[name])
    if value is None or array is None or not np.isclose(float(np.mean(array, dtype=float)), value, rtol=1e-4):
        return None
    return np.asarray(array, dtype=float)


def metric_values(runs: pd.DataFrame, metric: str, keys: Sequence[str], unit: Unit) -> pd.DataFrame:
    """A metric by keys: a column per test example if seeds are repeated and all runs have them, else one column.

    Args:
        runs: Of one variant.
        metric: Its column.
        keys: Columns that become the index; runs that agree in them are averaged.
        unit: What is repeated. Tasks have different test examples.
    """
    found = runs.dropna(subset=[metric])
    column = EXAMPLES + metric
    wide = found[[metric]]
    if unit == "seed" and column in found:
        arrays = found[column].tolist()
        sizes = {array.size if isinstance(array, np.ndarray) else 0 for array in arrays}
        if len(sizes) == 1 and 0 not in sizes:
            wide = pd.DataFrame(np.stack(arrays), index=found.index)
    if wide.shape[1] == 1:
        wide = wide.set_axis([0], axis=1)
    return wide.groupby([found[key] for key in keys], dropna=False, sort=False).mean()


def matched(here: pd.DataFrame, there: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two results of :func:`metric_values` at the keys that both have, with the same columns."""
    if here.shape[1] != there.shape[1]:
        here, there = (values.mean(axis=1).to_frame(0) for values in (here, there))
    shared = here.index.intersection(there.index, sort=False)
    return here.loc[shared], there.loc[shared]


def with_places(runs: pd.DataFrame) -> pd.DataFrame:
    """The frame with all columns of :data:`PLACE`; those that it lacks are the same for all runs."""
    return runs.assign(**{field: "" for field in PLACE if field not in runs})


def unit_of(runs: pd.DataFrame) -> Unit:
    """What the repetitions of these runs are."""
    return "task" if with_places(runs)["task"].nunique() > 1 else "seed"


def unit_means(runs: pd.DataFrame, measure: str, unit: Unit) -> dict[str, float]:
    """A measure per repetition, averaged over the runs within it, in the order of the runs."""
    means = with_places(runs).dropna(subset=[measure]).groupby(unit, sort=False, dropna=False)[measure].mean()
    return {str(key): float(value) for key, value in means.items()}


def places(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs by task and backbone, as far as there are several of them, in the order of the runs."""
    runs = with_places(runs)
    several = [field for field in ("task", "backbone") if runs[field].nunique() > 1]
    if not several:
        return {"": runs}
    return {str(place): part for place, part in runs.groupby(runs[several].agg(", ".join, axis=1), sort=False)}
