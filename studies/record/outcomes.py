"""How a cell can end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FINAL = ("finished", "diverged", "out-of-memory")
"""Outcomes after which a cell is not run again. An unexpected error is none: the next command tries again."""


def outcome_of_record(record: Mapping[str, Any]) -> str:
    """The outcome that a record tells of.

    >>> outcome_of_record({"status": "failed", "reason": "out of memory: 3 GiB"})
    'out-of-memory'
    """
    if record["status"] == "failed" and str(record["reason"]).startswith("out of memory"):
        return "out-of-memory"
    return str(record["status"])
