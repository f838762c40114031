"""Runs as a pandas data frame: one row per run, with what identifies it and the measures that are compared.

Every test of this package takes such a frame, made from records by :func:`runs_frame` or by hand. A column ``variant``
and one for each compared measure are needed. ``task``, ``backbone`` and ``seed`` identify the runs that are paired;
a column that is missing counts as one that is the same for all. A measure is NaN for a run that did not finish.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import pandas as pd

from lrlora.studies.stats.measures import measure
from lrlora.studies.stats.source import Record, label

PLACE = ("task", "backbone", "seed")
"""The columns in which paired runs agree."""

AXIS = "axis."
"""Prefix of the columns that hold the axes of a study."""

Unit = Literal["seed", "task"]
"""What is repeated: seeds within one task, or, with several tasks, the tasks (seeds are averaged within each)."""


def runs_frame(records: Iterable[Record], measures: Sequence[str]) -> pd.DataFrame:
    """Runs of a study as a data frame.

    Args:
        records: The records of runs, as ``Results.load(...).records`` has them.
        measures: Names of measures, see :mod:`lrlora.studies.stats.measures`; each becomes a column.

    Returns:
        One row per record with ``variant``, ``task``, ``backbone``, ``seed``, a column ``axis.NAME`` per axis, and the
        measures in their natural units.
    """
    rows = [
        {"variant": str(record["variant"]), **{field: label(record, field) for field in PLACE}}
        | {f"{AXIS}{axis}": repr(value) for axis, value in (record.get("axes") or {}).items()}
        | {name: measure(record, name) for name in measures}
        for record in records
    ]
    identity = dict.fromkeys(name for row in rows for name in row if name.startswith(AXIS))
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys(["variant", *PLACE, *identity, *measures])))
    return frame.astype(dict.fromkeys(measures, float))


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
