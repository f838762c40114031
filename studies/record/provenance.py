"""Where the records of a study come from, and by what they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TOLD = ("commit", "dirty", "python", "versions", "plugins", "machine", "parts")
_PARTS = ("precision", "threads", "training code")
"""Parts of a cell's identity that do not depend on the cell, and that versions and machine do not say."""


def environment_of(records: Sequence[Mapping[str, Any]], otherwise: Mapping[str, Any]) -> dict[str, Any]:
    """The environment that records were made in; where they differ, each value with the number of its cells.

    Args:
        records: With ``provenance``, as :class:`lrlora.studies.record.run_record.RunRecord` has it.
        otherwise: Taken where no record says.
    """
    found = [provenance for record in records if (provenance := record.get("provenance"))]
    if not found:
        return dict(otherwise)
    merged: dict[str, Any] = {}
    single = {name: value for one in found for name, value in _flat(one)}
    for name, counts in _values(found).items():
        head, _, rest = name.partition(".")
        if head == "parts":
            continue
        value = single[name] if len(counts) == 1 else _counted(counts)
        if name == "dirty":
            merged.setdefault("git", {})["dirty"] = True if "True" in counts else single[name]
        elif name == "commit":
            merged.setdefault("git", {})["commit"] = value
        elif head == "machine" or not rest:
            merged[rest or name] = value
        else:
            merged.setdefault("packages" if head == "versions" else head, {})[rest] = value
    return merged


def provenance_differences(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each thing in which the cells of a study differ, though they should not.

    >>> one, other = ({"provenance": {"versions": {"torch": version}}} for version in ("2.12.0", "2.13.0"))
    >>> provenance_differences([one, other, other])
    ['The cells were run with different torch: 2.12.0 (1 cell), 2.13.0 (2 cells).']
    """
    found = [provenance for record in records if (provenance := record.get("provenance"))]
    notes = []
    for name, counts in _values(found).items():
        if len(counts) > 1 and not name.startswith(("machine.platform", "machine.threads", "machine.engine_costs")):
            called = name.partition(".")[2] or {"dirty": "uncommitted changes", "commit": "commits"}.get(name, name)
            notes.append(f"The cells were run with different {called}: {_counted(counts)}.")
    if found and len(found) < len(records):
        notes.append(f"{len(records) - len(found)} of {len(records)} cells do not say what they were run with.")
    return list(dict.fromkeys(notes))


def _values(found: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How often each value occurs, by the name of what has it."""
    counts: dict[str, dict[str, int]] = {}
    for one in found:
        for name, value in _flat(one):
            of_name = counts.setdefault(name, {})
            of_name[str(value)] = of_name.get(str(value), 0) + 1
    return counts


def _flat(provenance: Mapping[str, Any]) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name in _TOLD:
        value = provenance.get(name)
        if name == "parts":
            flat += [(f"parts.{part}", (value or {})[part]) for part in _PARTS if part in (value or {})]
        elif isinstance(value, Mapping):
            flat += [(f"{name}.{key}", inner) for key, inner in value.items()]
        else:
            flat.append((name, value))
    return flat


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{value} ({count} cell{'s' * (count != 1)})" for value, count in sorted(counts.items()))
