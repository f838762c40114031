"""What statistics and reports read: the shape of a study's results, as protocols, and values of records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

Record = Mapping[str, Any]
"""One cell of a study: its place in the design, its outcome, and what was measured on the way."""


class Metric(Protocol):
    """The quantity that a study compares."""

    @property
    def name(self) -> str:
        """Key of the metric in a record's ``metrics``."""

    @property
    def direction(self) -> str:
        """``"maximize"`` or ``"minimize"``."""


class Study(Protocol):
    """The declared design, as far as a report needs it.

    A study may also have an attribute ``tuning``, a sentence on what was tuned for whom; the report prints it.
    """

    @property
    def name(self) -> str:
        """Name by which the study is run."""

    @property
    def question(self) -> str:
        """What the study asks, in one or two sentences."""

    @property
    def reference(self) -> str | None:
        """The variant that the others are compared with."""

    @property
    def metric(self) -> Metric:
        """The compared quantity."""

    @property
    def paper(self) -> Mapping[str, Any] | None:
        """Published figures: ``values`` by variant (``mean``, ``std``), and words on where they come from."""


class Results(Protocol):
    """A study's cells as they stand, complete or not."""

    @property
    def study(self) -> Study:
        """The declared design."""

    @property
    def budget(self) -> str:
        """``smoke``, ``quick`` or ``full``."""

    @property
    def records(self) -> Sequence[Record]:
        """One record per cell that came to an end."""

    @property
    def out(self) -> Path:
        """The study's output folder."""

    @property
    def planned(self) -> int:
        """Number of cells that the design has."""

    @property
    def environment(self) -> Mapping[str, Any]:
        """In which environment the records were made; where they differ, each value with the number of its cells.

        Results may also have an attribute ``notes``, sentences that the report prints among its caveats, and an
        attribute ``sequential``, if seeds are added until the claims are decided.
        """


class Sequential(Protocol):
    """The seeds of a study that goes on until its claims are decided."""

    @property
    def seeds(self) -> Sequence[int]:
        """In the order in which they are added."""

    @property
    def most_seeds(self) -> int:
        """How many of them there may be."""

    @property
    def variants(self) -> Sequence[str]:
        """Names of all variants."""

    @property
    def places(self) -> int:
        """The number of combinations of task and backbone."""


def finite(value: object) -> float | None:
    """The value as a float where it is a finite number, and None for anything else.

    >>> finite(2), finite(float("nan")), finite("2"), finite(True)
    (2.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def metric_value(record: Record, metric: str) -> float | None:
    """The record's metric in its natural unit; None where the cell did not finish or the value is not finite."""
    if record.get("status") != "finished":
        return None
    return finite((record.get("metrics") or {}).get(metric))


def label(record: Record, field: str) -> str:
    """A record's task, backbone or seed as one word; a task with options is told apart by them.

    >>> label({"task": {"name": "files", "options": {"train": "a.csv"}}}, "task")
    'files(train=a.csv)'
    """
    value = record.get(field)
    if not isinstance(value, Mapping):
        return str(value)
    options = ", ".join(f"{key}={option}" for key, option in (value.get("options") or {}).items())
    return f"{value.get('name')}({options})" if options else str(value.get("name"))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level of dotted keys.

    >>> flatten({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
