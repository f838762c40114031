"""What every variant was given by the tuning stage."""

from __future__ import annotations

from typing import Any

from lrlora.studies.report.formatting import MISSING
from lrlora.studies.report.presentation import Column, Table
from lrlora.studies.report.summary import StudySummary


def tuning_table(summary: StudySummary) -> Table | None:
    """By variant the settings that tuning found; None for a study without a tuning stage."""
    if not summary.tuned:
        return None
    settings = list(dict.fromkeys(name for found in summary.tuned.values() for name in found))
    rows = tuple(
        (variant, *(_value(found[name]) if name in found else MISSING for name in settings))
        for variant, found in summary.tuned.items()
    )
    columns = (
        Column("Variant", False),
        *(Column(name.removeprefix("training.").replace("_", " ")) for name in settings),
    )
    emphasised = frozenset(i for i, name in enumerate(summary.tuned) if name == summary.reference)
    return Table("tuned", "What the tuning stage chose for each variant.", columns, rows, emphasised)


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
