"""The summary of a study: all numbers that a report prints, computed from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, cast

import pandas as pd

from lrlora.studies.spec.claims import Claim, pairs
from lrlora.studies.spec.tuning import describe_budget
from lrlora.studies.stats.comparisons import VariantComparison, by_row, compare
from lrlora.studies.stats.layers import LINEAR, LayerSummary, summarise_layers
from lrlora.studies.stats.measures import at_chance
from lrlora.studies.stats.paired import Estimate, estimate
from lrlora.studies.stats.runs import Unit, places, runs_frame, unit_means, unit_of
from lrlora.studies.stats.sequential import ClaimPath, follow, verdict_of
from lrlora.studies.stats.source import Record, Results, Sequential, finite
from lrlora.studies.stats.verdicts import ClaimVerdict, examine

PARAMETER_KINDS = ("trainable", "adapter", "transfer", "total")
FURTHER_MEASURES = ("convergence_step", "active_basis", "generalization_gap", "tokens_per_second")
"""Measures that are summarised per variant beside the metric, if they were recorded."""


@dataclass(frozen=True)
class Published:
    """A variant's value in the paper, in the paper's own unit.

    Attributes:
        mean: The published value.
        std: Its published spread, where given.
        difference: The value minus that of what the variant is compared with; None where the paper does not give both.
    """

    mean: float
    std: float | None
    difference: float | None


@dataclass(frozen=True)
class VariantSummary:
    """Everything the report says about one variant.

    Attributes:
        name: Name of the variant.
        is_reference: Whether the others are compared with it.
        methods: The adapter methods of its cells; one, unless an axis of the study is the method.
        has_transfer: Whether the variant has a transfer function φ at all.
        recorded: Number of cells with a record.
        finished: Number of those that finished.
        diverged: Steps at which cells diverged; None for a step that is not known.
        failed: Reasons given by the cells that failed.
        at_chance: Number of trained cells within 2 SE of the majority baseline, or below it.
        metric: The metric over repetitions, in its natural unit.
        by_place: With several tasks or backbones, the metric over seeds at each.
        comparison: The variant's first in the study's family of tests, by default against the reference; None where it
            is in none, or without matched pairs.
        measured: Further measures that were recorded, over repetitions.
        published: The paper's value.
        parameters: Least and largest count over the cells, by kind.
        step_seconds: Median over cells of each cell's step time, in seconds.
        step_ratio: That time over the reference's.
        peak_memory_bytes: Largest peak of any cell, in bytes.
        layers: Diagnostics of the adapted layers.
    """

    name: str
    is_reference: bool
    methods: tuple[str, ...]
    has_transfer: bool
    recorded: int
    finished: int
    diverged: tuple[int | None, ...]
    failed: tuple[str, ...]
    at_chance: int
    metric: Estimate | None
    by_place: Mapping[str, Estimate]
    measured: Mapping[str, Estimate]
    comparison: VariantComparison | None
    published: Published | None
    parameters: Mapping[str, tuple[int, int]]
    step_seconds: float | None
    step_ratio: float | None
    peak_memory_bytes: int | None
    layers: LayerSummary | None

    @property
    def is_linear(self) -> bool:
        """Whether the variant has a φ that stayed linear, on average over layers."""
        fraction = self.layers.nonlinear_fraction if self.layers else None
        return self.has_transfer and fraction is not None and fraction < LINEAR


@dataclass(frozen=True)
class StudySummary:
    """A study's outcome.

    Attributes:
        name: Name of the study.
        question: What it asks.
        budget: The budget it ran with.
        metric: Name of the compared metric.
        maximize: Whether more of it is better.
        unit: What the repetitions are.
        reference: The declared reference; None where the study has none.
        paper: Where the published values are from, and in which setting; empty without any.
        planned: Number of cells in the design.
        records: All records, in the order given.
        variants: The variants, reference first, then in the order of the records.
        environment: Where it ran.
        given_as: The name or file that it was loaded from, and what was laid over it.
        notes: What differs between the records that should not, and what was left out.
        tuning: The study's own sentence on tuning, where it has one.
        tuning_budget: What every variant was given to find its settings; empty without a tuning stage.
        tuned: By variant, the settings that it found.
        comparisons: All that were tested, as one family.
        verdicts: The claims with their verdicts, as another family.
        paths: The looks at each claim, of a study that goes on until its claims are decided.
        runs: The records as a data frame, with the metrics of the study and its claims.
    """

    name: str
    question: str
    budget: str
    metric: str
    maximize: bool
    unit: Unit
    reference: str | None
    paper: Mapping[str, str]
    planned: int
    records: tuple[Record, ...]
    variants: tuple[VariantSummary, ...]
    environment: Mapping[str, Any]
    tuning: str | None
    tuning_budget: str = ""
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    comparisons: tuple[VariantComparison, ...] = ()
    verdicts: tuple[ClaimVerdict, ...] = ()
    paths: tuple[ClaimPath, ...] = ()
    runs: pd.DataFrame = field(default_factory=pd.DataFrame)
    given_as: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def split(self) -> str:
        """The split that the variants are evaluated on, in words; a tuning stage does not use the test split."""
        splits = sorted({str(record.get("judged_on") or "test") for record in self.records})
        return " or ".join(f"{split} split" for split in splits or ["test"])

    @property
    def partner(self) -> str | None:
        """What every variant is compared with; None where they have different partners, or none."""
        partners = {comparison.against for comparison in self.comparisons}
        return self.reference if not partners else partners.pop() if len(partners) == 1 else None

    @property
    def reference_variant(self) -> VariantSummary | None:
        """The reference, where it has records."""
        return next((variant for variant in self.variants if variant.is_reference), None)

    @property
    def ranked(self) -> list[VariantSummary]:
        """The variants that have a metric, best mean first."""
        scored = [variant for variant in self.variants if variant.metric is not None]
        return sorted(scored, key=lambda variant: _mean(variant) * (-1 if self.maximize else 1))

    def values_of(self, variant: str) -> list[float]:
        """The metric of one variant, a value per repetition."""
        return list(unit_means(self.runs[self.runs["variant"] == variant], self.metric, self.unit).values())

    def records_of(self, variant: str) -> list[Record]:
        """The records of one variant."""
        return [record for record in self.records if record["variant"] == variant]


def summarise(results: Results) -> StudySummary:
    """Compute everything that a report shows.

    Raises:
        ValueError: The metric's direction is neither ``"maximize"`` nor ``"minimize"``.
    """
    study = results.study
    if study.metric.direction not in ("maximize", "minimize"):
        raise ValueError(f"metric direction {study.metric.direction!r} is neither 'maximize' nor 'minimize'")
    by_variant: dict[str, list[Record]] = {}
    for record in results.records:
        by_variant.setdefault(str(record["variant"]), []).append(record)
    # A study that names no reference is compared with its first baseline.
    reference = study.reference or next(iter(getattr(study, "baselines", None) or {}), None)
    if reference in by_variant:
        by_variant = {reference: by_variant.pop(reference), **by_variant}
    declared = [(one.of, one.against) for one in getattr(study, "comparisons", ())] or [("*", reference or "")]
    family = dict.fromkeys((of, against) for one in declared for _, of, against in pairs(*one, by_variant))
    metric, claims = study.metric.name, getattr(study, "claims", ())
    measures = dict.fromkeys([metric, *FURTHER_MEASURES, *(claim.metric for claim in claims if claim.metric)])
    runs = runs_frame(
        [record for records in by_variant.values() for record in records],
        list(measures),
        getattr(results, "examples", None),
    )
    paths = _paths(claims, runs, reference, metric, getattr(results, "sequential", None))
    verdicts = examine(claims, runs, reference, metric) if paths is None else [verdict_of(one, metric) for one in paths]
    comparisons = compare(runs, list(family), metric)
    rows = by_row(comparisons, reference)
    published = _published(study.paper, {name: one.against for name, one in rows.items()}, reference)
    reference_time = _step_seconds(by_variant.get(reference or "", []))
    unit, by_place = unit_of(runs), places(runs)
    variants = tuple(
        _summarise_variant(
            name,
            records,
            runs={place: part[part["variant"] == name] for place, part in {"": runs, **by_place}.items()},
            metric=metric,
            unit=unit,
            is_reference=name == reference,
            comparison=rows.get(name),
            published=published.get(name),
            reference_time=reference_time,
        )
        for name, records in by_variant.items()
    )
    paper = study.paper or {}
    tuning, tuned = getattr(study, "tuning", None), getattr(study, "tuned", None)
    return StudySummary(
        name=study.name,
        question=study.question,
        budget=results.budget,
        metric=metric,
        maximize=study.metric.direction == "maximize",
        unit=unit,
        reference=reference,
        paper={key: str(value) for key, value in paper.items() if isinstance(value, (str, int, float))},
        planned=results.planned,
        records=tuple(results.records),
        variants=variants,
        environment=dict(results.environment),
        given_as=dict(getattr(results, "given_as", {})),
        notes=tuple(getattr(results, "notes", ())),
        tuning=tuning if isinstance(tuning, str) and tuning.strip() else None,
        tuning_budget=describe_budget(cast("Any", study)) if getattr(study, "tune", None) is not None else "",
        tuned={str(name): dict(settings) for name, settings in (tuned or {}).items()},
        comparisons=tuple(comparisons),
        verdicts=tuple(verdicts),
        paths=tuple(paths or ()),
        runs=runs,
    )


def _paths(
    claims: Sequence[Claim], runs: pd.DataFrame, reference: str | None, metric: str, sequential: Sequential | None
) -> list[ClaimPath] | None:
    if sequential is None:
        return None
    return follow(
        claims,
        runs,
        sequential.seeds,
        reference,
        metric,
        sequential.variants,
        sequential.places,
        sequential.most_seeds,
    )


def _summarise_variant(
    name: str,
    records: Sequence[Record],
    *,
    runs: Mapping[str, pd.DataFrame],
    metric: str,
    unit: Unit,
    is_reference: bool,
    comparison: VariantComparison | None,
    published: Published | None,
    reference_time: float | None,
) -> VariantSummary:
    seconds = _step_seconds(records)
    parameters = {kind: _range(records, kind) for kind in PARAMETER_KINDS}
    peaks = [peak for record in records if (peak := finite(record.get("peak_memory_bytes"))) is not None]
    methods = tuple(dict.fromkeys(str(record.get("method")) for record in records))
    transfer = parameters["transfer"]
    return VariantSummary(
        name=name,
        is_reference=is_reference,
        methods=methods,
        has_transfer=any(_is_learnable_rank(method) for method in methods)
        or (transfer is not None and transfer[1] > 0),
        recorded=len(records),
        finished=sum(record.get("status") == "finished" for record in records),
        diverged=tuple(record.get("diverged_at") for record in records if record.get("status") == "diverged"),
        failed=tuple(
            str(record.get("reason") or "no reason recorded") for record in records if record.get("status") == "failed"
        ),
        at_chance=sum(at_chance(record) for record in records),
        metric=_estimate(runs[""], metric, unit),
        by_place={
            place: found for place in runs if place and (found := _estimate(runs[place], metric, "seed")) is not None
        },
        measured={name: found for name in FURTHER_MEASURES if (found := _estimate(runs[""], name, unit)) is not None},
        comparison=comparison,
        published=published,
        parameters={kind: found for kind, found in parameters.items() if found is not None},
        step_seconds=seconds,
        step_ratio=seconds / reference_time if seconds is not None and reference_time else None,
        peak_memory_bytes=int(max(peaks)) if peaks else None,
        layers=summarise_layers(records),
    )


def _published(
    paper: Mapping[str, Any] | None, partners: Mapping[str, str], reference: str | None
) -> dict[str, Published]:
    """The paper's figures by variant. An entry is a number, or a mapping with a mean and maybe a std."""
    found: dict[str, tuple[float, float | None]] = {}
    for name, entry in ((paper or {}).get("values") or {}).items():
        mean = finite(entry.get("mean")) if isinstance(entry, Mapping) else finite(entry)
        if mean is not None:
            found[str(name)] = (mean, finite(entry.get("std")) if isinstance(entry, Mapping) else None)
    bases = {name: found.get(partners.get(name, "" if name == reference else reference or "")) for name in found}
    return {
        name: Published(mean, std, None if (base := bases[name]) is None else mean - base[0])
        for name, (mean, std) in found.items()
    }


def _estimate(runs: pd.DataFrame, measure: str, unit: Unit) -> Estimate | None:
    return estimate(list(unit_means(runs, measure, unit).values()))


def _step_seconds(records: Sequence[Record]) -> float | None:
    times = [time for record in records if (time := finite(record.get("step_seconds"))) is not None and time > 0]
    return median(times) if times else None


def _range(records: Sequence[Record], kind: str) -> tuple[int, int] | None:
    counts = [n for record in records if (n := finite((record.get("parameters") or {}).get(kind))) is not None]
    return (int(min(counts)), int(max(counts))) if counts else None


def _is_learnable_rank(method: str) -> bool:
    return method.lower().replace("-", "").replace("_", "").startswith("lrlora")


def _mean(variant: VariantSummary) -> float:
    assert variant.metric is not None
    return variant.metric.mean
