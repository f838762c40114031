"""Records to figures: the one place where a report's numbers are computed. Every writer prints from this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from lrlora.studies.report.chance import at_chance
from lrlora.studies.report.comparisons import Comparison, Unit, by_row, compare, unit_means, unit_of
from lrlora.studies.report.designs import RankComparison, compare_ranks
from lrlora.studies.report.layers import LayerSummary, summarise_layers
from lrlora.studies.report.source import Record, Results, finite, places
from lrlora.studies.report.statistics import Estimate, estimate
from lrlora.studies.report.verdicts import Verdict, decide, examine
from lrlora.studies.spec.claims import pairs

PARAMETER_KINDS = ("trainable", "adapter", "transfer", "total")
STRAIGHT_LINE = 0.01
"""Mean nonlinear fraction below which a variant is flagged: its φ did nothing that a constant factor does not."""


@dataclass(frozen=True)
class Published:
    """A variant's figure in the paper, in the paper's own unit.

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
        at_chance: Number of trained cells that are no more accurate than chance.
        metric: The metric over repetitions, in its natural unit.
        by_place: With several tasks or backbones, the metric over seeds at each.
        comparison: The variant's first in the study's family of tests, by default against the reference; None where it
            is in none, or without matched pairs.
        published: The paper's figure.
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
    comparison: Comparison | None
    published: Published | None
    parameters: Mapping[str, tuple[int, int]]
    step_seconds: float | None
    step_ratio: float | None
    peak_memory_bytes: int | None
    layers: LayerSummary | None

    @property
    def is_straight_line(self) -> bool:
        """Whether the variant has a φ that stayed a straight line."""
        fraction = self.layers.nonlinear_fraction if self.layers else None
        return self.has_transfer and fraction is not None and fraction < STRAIGHT_LINE


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
        paper: Words on the published figures (where they stand, in which setting); empty without any.
        planned: Number of cells in the design.
        records: All records, in the order given.
        variants: The variants, reference first, then in the order of the records.
        environment: Where it ran.
        given_as: The name or file that it was loaded from, and what was laid over it.
        notes: What differs between the records that should not, and what was left out.
        tuning: The study's own sentence on tuning, where it has one.
        tuning_budget: What every variant was given to find its settings; empty without a tuning stage.
        tuned: By variant, the settings that it found.
        comparisons: All that were tested, as one family with the claims.
        verdicts: The claims, judged.
        ranks: Average ranks of the variants over tasks; None below five tasks or three variants.
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
    comparisons: tuple[Comparison, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    ranks: RankComparison | None = None
    given_as: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def split(self) -> str:
        """The split that the variants are judged on, in words."""
        return judged_on(self.records)

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
    comparisons = compare(by_variant, list(family), study.metric.name)
    verdicts = examine(getattr(study, "claims", ()), by_variant, reference, study.metric.name)
    verdicts, comparisons = decide(verdicts, comparisons)
    rows = by_row(comparisons, reference)
    published = _published(study.paper, {name: one.against for name, one in rows.items()}, reference)
    reference_time = _step_seconds(by_variant.get(reference or "", []))
    unit = unit_of(results.records)
    by_place = places(results.records)
    by_place = by_place if len(by_place) > 1 else {}
    variants = tuple(
        _summarise_variant(
            name,
            records,
            by_place={
                place: [record for record in found if record["variant"] == name] for place, found in by_place.items()
            },
            metric=study.metric.name,
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
        metric=study.metric.name,
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
        tuning_budget=_tuning_budget(study),
        tuned={str(name): dict(settings) for name, settings in (tuned or {}).items()},
        comparisons=tuple(comparisons),
        verdicts=tuple(verdicts),
        ranks=_ranks(by_variant, study.metric.name, study.metric.direction == "maximize"),
    )


def _summarise_variant(
    name: str,
    records: Sequence[Record],
    *,
    by_place: Mapping[str, Sequence[Record]],
    metric: str,
    unit: Unit,
    is_reference: bool,
    comparison: Comparison | None,
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
        metric=estimate(list(unit_means(records, metric, unit).values())),
        by_place={
            place: found for place in by_place if (found := estimate(_seed_means(by_place[place], metric))) is not None
        },
        comparison=comparison,
        published=published,
        parameters={kind: found for kind, found in parameters.items() if found is not None},
        step_seconds=seconds,
        step_ratio=seconds / reference_time if seconds is not None and reference_time else None,
        peak_memory_bytes=int(max(peaks)) if peaks else None,
        layers=summarise_layers(records),
    )


def judged_on(records: Sequence[Record]) -> str:
    """The split that records are judged on, in words: a tuning stage leaves the test split alone."""
    splits = sorted({str(record.get("judged_on") or "test") for record in records})
    return " or ".join(f"{split} split" for split in splits or ["test"])


def _tuning_budget(study: Any) -> str:
    if getattr(study, "tune", None) is None:
        return ""
    from lrlora.studies.execution.tuning import describe_budget

    return describe_budget(study)


def _ranks(by_variant: Mapping[str, Sequence[Record]], metric: str, maximize: bool) -> RankComparison | None:
    """Ranks over the tasks of the variants that have a score on every one."""
    scores = {name: unit_means(records, metric, "task") for name, records in by_variant.items()}
    tasks = list(dict.fromkeys(task for found in scores.values() for task in found))
    complete = {name: [found[task] for task in tasks] for name, found in scores.items() if len(found) == len(tasks)}
    return compare_ranks(complete, maximize)


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


def _seed_means(records: Sequence[Record], metric: str) -> list[float]:
    return list(unit_means(records, metric, "seed").values())


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
