"""The design of a study as (term, description): its settings, its tuning, and where it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrlora.studies.report.formatting import listed, plural
from lrlora.studies.stats.source import Record, flatten, label
from lrlora.studies.stats.summary import StudySummary

LEARNING_RATE_KEYS = frozenset({"learning_rate", "lr"})


def design_facts(summary: StudySummary) -> list[tuple[str, str]]:
    """Returns the design as (term, description), in the order in which a methods section gives it."""
    records = summary.records
    recorded = f"{len(records)} of {plural(summary.planned, 'planned cell')} recorded"
    reference = summary.reference
    variants = (
        listed([v.name + (" (reference)" if v.is_reference else "") for v in summary.variants]) or "none recorded"
    )
    if reference is not None and summary.reference_variant is None:
        variants += f"; the reference {reference} has no record"
    return [
        ("Variants", variants),
        ("Task", _distinct(records, "task")),
        ("Backbone", _distinct(records, "backbone")),
        ("Seeds", _distinct(records, "seed") + (", the same for every variant" if _seeds_agree(records) else "")),
        ("Budget", f"{summary.budget}; {recorded}"),
        ("Metric", f"{summary.metric} on the {summary.split}, {'higher' if summary.maximize else 'lower'} is better"),
        ("Training", "; ".join(f"{label} {text}" for label, text in training_facts(records)) or "not recorded"),
        ("Tuning", tuning_sentence(summary)),
    ]


def provenance_facts(summary: StudySummary) -> list[tuple[str, str]]:
    """Returns the recorded environment in the order given, one line per entry."""
    facts = [(key.replace("_", " "), _described(value)) for key, value in summary.environment.items()]
    return facts or [("environment", "not recorded")]


def training_facts(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Returns each training setting with its value, by variant if it differs between variants."""
    values: dict[str, dict[str, list[str]]] = {}
    for record in records:
        for key, value in flatten(record.get("training") or {}).items():
            by_variant = values.setdefault(key, {})
            found = by_variant.setdefault(str(record["variant"]), [])
            if (text := _printed(value)) not in found:
                found.append(text)
    return [(key.replace("_", " "), _by_variant(found)) for key, found in values.items()]


def tuning_sentence(summary: StudySummary) -> str:
    """Returns how settings were tuned: the study's own sentence, or else what the records show."""
    if summary.tuning is not None or summary.tuning_budget:
        return " ".join(text for text in (summary.tuning, summary.tuning_budget) if text)
    rates: dict[str, set[str]] = {}
    for record in summary.records:
        for key, value in flatten(record.get("training") or {}).items():
            if key.rsplit(".", 1)[-1] in LEARNING_RATE_KEYS:
                rates.setdefault(str(record["variant"]), set()).add(f"{key}={_printed(value)}")
    if not rates:
        return "No learning rate and no search over settings is recorded: the methods compared here are not tuned."
    if len({frozenset(found) for found in rates.values()}) == 1:
        return (
            "No tuning per variant is recorded: all ran at the same learning rate, a disadvantage for variants with "
            "another optimum."
        )
    return (
        "The learning rate differs between variants, as listed under training. The records do not say how it was "
        "chosen, so differences may be due to tuning."
    )


def _by_variant(found: dict[str, list[str]]) -> str:
    groups: dict[str, list[str]] = {}
    for variant, texts in found.items():
        groups.setdefault(" and ".join(texts), []).append(variant)
    if len(groups) == 1:
        return next(iter(groups))
    commonest = max(groups, key=lambda text: len(groups[text]))
    if 2 < len(groups[commonest]) > len(found) / 2:
        del groups[commonest]
        groups[commonest] = ["all others"]
    return ", ".join(f"{text} ({listed(variants)})" for text, variants in groups.items())


def _printed(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(_printed(item) for item in value) + ")"
    return "none" if value is None or value == {} else str(value)


def _distinct(records: Sequence[Record], field: str) -> str:
    return ", ".join(dict.fromkeys(label(record, field) for record in records)) or "none recorded"


def _seeds_agree(records: Sequence[Record]) -> bool:
    seeds: dict[str, set[Any]] = {}
    for record in records:
        seeds.setdefault(str(record["variant"]), set()).add(record.get("seed"))
    return len(seeds) > 1 and len({frozenset(found) for found in seeds.values()}) == 1


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_described(item)}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(_described(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not known" if value is None else str(value)
