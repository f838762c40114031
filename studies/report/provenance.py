"""Where a study ran, as (term, description)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrlora.studies.report.summary import StudySummary


def provenance_facts(summary: StudySummary) -> list[tuple[str, str]]:
    """The recorded environment in the order given, one line per entry; nested entries in one line each."""
    facts = [(key.replace("_", " "), _described(value)) for key, value in summary.environment.items()]
    return facts or [("environment", "not recorded")]


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_described(item)}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(_described(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not known" if value is None else str(value)
