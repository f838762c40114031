"""The sentences of a report: headline, caveats, resolution and definitions, each no stronger than the numbers."""

from __future__ import annotations

import json
import shlex

from lrlora.studies.report.cost_tables import measured_definitions
from lrlora.studies.report.formatting import (
    Scale,
    at_steps,
    equals_probability,
    listed,
    percentage,
    plural,
)
from lrlora.studies.stats.comparisons import VariantComparison
from lrlora.studies.stats.measures import STANDARD_ERRORS
from lrlora.studies.stats.runs import unit_means
from lrlora.studies.stats.sequential import LOOKS
from lrlora.studies.stats.source import flatten
from lrlora.studies.stats.summary import StudySummary, VariantSummary

VERDICT = (
    "the claims are one family: the probability to say anything false of any of them is at most 5 %, so each is "
    "tested at 5 % over their number. Supported and contradicted: the interval excludes 0. No effect of that size: it "
    "lies within ± the smallest effect of interest, the margin. Smaller than published: it excludes the published "
    "effect. p is the level of the family at which the verdict would just hold"
)

LOOK = (
    f"a claim is looked at after {listed([str(seeds) for seeds in LOOKS])} seeds, each time at an equal share of its "
    "level; the first look that settles it gives the verdict, and one that would hardly be settled with all seeds is "
    "given up"
)


def headline(summary: StudySummary) -> str:
    """Returns the best variant, its difference to the reference, and whether that is significant."""
    ranked = summary.ranked
    if not ranked:
        return "No cell has finished with a metric: there is nothing to compare yet."
    scale = Scale.of(summary.metric)
    best = ranked[0]
    assert best.metric is not None
    superlative = "highest" if summary.maximize else "lowest"
    lead = (
        f"{best.name} has the {superlative} mean {summary.metric}, {scale.spread(best.metric.mean, best.metric.std)}"
        f"{scale.unit} ({_repetitions(best.metric.n, summary)})"
    )
    reference = summary.reference_variant
    tied = [
        v.name for v in ranked if v.metric is not None and scale.value(v.metric.mean) == scale.value(best.metric.mean)
    ]
    if len(tied) > 1:
        shared = (
            f"{listed(tied)} share the {superlative} mean {summary.metric}, {scale.value(best.metric.mean)}{scale.unit}"
        )
        if reference is None or reference.metric is None:
            return f"{shared}. {_why_no_reference(summary)}"
        if reference.name in tied:
            return f"{shared}, the reference {reference.name} among them."
        return f"{shared}. Their differences to the reference {reference.name} are in the table."
    if reference is None or reference.metric is None:
        return f"{lead}. {_why_no_reference(summary)}"
    if len(ranked) == 1:
        return f"{lead}; no other variant has a result."
    if best.is_reference:
        compared = ((v.name, v.comparison) for v in ranked[1:] if v.comparison and v.comparison.against == best.name)
        nearest = next(compared, None)
        if nearest is None:
            return f"{lead}. It is the reference; no other variant was compared with it."
        return f"The reference {lead}. The nearest, {nearest[0]}, {_standing(nearest[1], scale)}"
    if best.comparison is None:
        here, there = (
            unit_means(summary.runs[summary.runs["variant"] == name], summary.metric, summary.unit)
            for name in (best.name, reference.name)
        )
        if here.keys() & there.keys():
            return f"{lead}. The study does not compare it with the reference {reference.name}."
        return (
            f"{lead}, but shares no finished {summary.unit} with the reference {reference.name}: no paired difference."
        )
    return f"{lead}. It {_standing(best.comparison, scale)}"


def caveats(summary: StudySummary) -> list[str]:
    """Caveats, most important first."""
    notes = []
    missing = summary.planned - len(summary.records)
    if missing > 0:
        notes.append(
            f"The study is partial: {missing} of {plural(summary.planned, 'planned cell')} "
            f"{'is' if missing == 1 else 'are'} not recorded."
        )
    notes += summary.notes
    if summary.paths:
        notes.append(
            "Seeds were added where claims were open. The verdicts allow for that; the p values and 95 % intervals of "
            "the comparisons do not."
        )
    notes += [_unfinished(variant) for variant in summary.variants if variant.finished < variant.recorded]
    notes += _untrained([variant for variant in summary.variants if variant.at_chance])
    notes += _linear([variant for variant in summary.variants if variant.is_linear])
    if summary.records and summary.reference_variant is None:
        notes.append(_why_no_reference(summary))
    if summary.reference_variant and summary.ranked and not any(v.comparison for v in summary.variants):
        notes.append("No variant shares a finished cell with the reference, so there are no paired differences.")
    lost = [variant for variant in summary.variants if variant.comparison and variant.comparison.lost_pairs]
    if lost:
        notes.append(
            "Cells without a finished partner are excluded from the paired difference of "
            f"{listed([variant.name for variant in lost])}: it is conditional on both runs of a pair finishing."
        )
    untested: dict[str, list[str]] = {}
    for verdict in summary.verdicts:
        if verdict.note:
            untested.setdefault(verdict.note, []).append(f'"{verdict.claim.says}"')
    notes += [f"Not settled: {listed(claims)}: {why}." for why, claims in untested.items()]
    if " or " in summary.split:
        notes.append(f"The cells are not all evaluated on the same split ({summary.split}): do not compare them.")
    if len(notes_on_memory := sorted({str(r.get("peak_memory_source")) for r in summary.records})) > 1:
        notes.append(f"Peak memory was measured in different ways ({listed(notes_on_memory)}): do not compare it.")
    if any("dirty" in key.lower() and value is True for key, value in flatten(summary.environment).items()):
        notes.append("The code had uncommitted changes, so the commit alone does not reproduce these numbers.")
    return notes


def resolution(summary: StudySummary) -> list[str]:
    """Returns the resolution of the design: the minimum detectable effect, and what the intervals cover."""
    comparisons = [variant.comparison for variant in summary.variants if variant.comparison]
    if not comparisons:
        return []
    scale = Scale.of(summary.metric)
    pairs = sorted({comparison.difference.n for comparison in comparisons})
    notes = []
    tested = [c.difference for c in comparisons if c.difference.detectable is not None]
    detectable = [found.detectable for found in tested if found.detectable is not None]
    if detectable:
        low, high = scale.value(min(detectable)), scale.value(max(detectable))
        unit = scale.difference_unit
        counts = sorted({found.n for found in tested})
        with_spread = "1 pair" if counts == [1] else f"{_span(counts)} pairs"
        size = f"{low}{unit}" if low == high else f"{low} to {high}{unit}, depending on the variant,"
        notes.append(
            f"With {with_spread} per comparison and the spread observed, a single test at 5 % detects "
            f"a true difference of {size} with 80 % power; the correction for several comparisons lowers that power."
        )
    elif pairs[-1] == 1:
        notes.append(
            f"There is one pair per comparison. One {summary.unit} has no spread, so there is no interval and no test."
        )
    else:
        notes.append("The paired differences have no spread, so no detectable difference can be given.")
    leading = next((v for v in summary.ranked if v.comparison and v.comparison.across_tasks), None)
    if leading is not None and leading.comparison is not None and leading.comparison.across_tasks is not None:
        interval = scale.interval(*leading.comparison.across_tasks)
        notes.append(
            f"With tasks and the seeds within each resampled, the difference of {leading.name} to "
            f"{leading.comparison.against} has the 95 % bootstrap interval {interval}{scale.difference_unit}."
        )
    notes += _shared_split(summary, scale)
    same = [v.name for v in summary.variants if v.comparison and v.comparison.difference.std == 0.0]
    if same:
        notes.append(
            f"{listed(same)}: the difference is the same in every pair. It is tested with the spread that rounding to "
            "multiples of that difference would have hidden; a difference of 0 is not tested."
        )
    return notes


def _shared_split(summary: StudySummary, scale: Scale) -> list[str]:
    """Returns the size of one test example in the metric, and what intervals cover."""
    sizes = {(record.get("training") or {}).get("test_examples") for record in summary.records}
    if summary.metric != "accuracy" or len(sizes) != 1 or not isinstance(size := sizes.pop(), int) or size < 1:
        return []
    covered = {comparison.difference.examples is not None for comparison in summary.comparisons}
    covers = "the variation over seeds, not over test examples"
    if covered == {True} and {comparison.difference.n for comparison in summary.comparisons} == {1}:
        covers = "the sampling of test examples, not the variation over seeds"
    elif covered == {True}:
        covers = "the variation over seeds and the sampling of test examples"
    return [
        f"All runs are evaluated on the same {size} test examples, where one example is "
        f"{scale.value(1 / size)}{scale.difference_unit}. The intervals cover {covers}."
    ]


def paper_note(summary: StudySummary) -> str | None:
    """Returns the source of the published column and how to read it; None without one."""
    if not any(variant.published for variant in summary.variants if not variant.is_reference):
        return None
    origin = "; ".join(
        text.rstrip(".") if key in ("source", "setting", "note") else f"{key.replace('_', ' ')} {text.rstrip('.')}"
        for key, text in summary.paper.items()
    )
    return (
        f"Paper{f' ({origin})' if origin else ''}: another model and task, so only its differences to the reference "
        "are comparable with ours. A difference of the published sign is supported if our interval, at 5 % over the "
        "number of comparisons, excludes 0; it is smaller than published if the interval excludes the published one."
    )


def definitions(summary: StudySummary) -> list[tuple[str, str]]:
    """Returns the definition of each number, as (term, definition)."""
    reference = summary.partner or "its partner"
    across_tasks = any(comparison.across_tasks for comparison in summary.comparisons)
    transfer = any(variant.has_transfer for variant in summary.variants)
    repetition = "seeds" if summary.unit == "seed" else "tasks, seeds averaged within each"
    memory = listed(sorted({str(r["peak_memory_source"]) for r in summary.records if r.get("peak_memory_source")}))
    return [
        (
            summary.metric,
            f"on the {summary.split}; mean ± standard deviation (n − 1) over {repetition}, finished cells only",
        ),
        (
            "difference",
            f"variant minus {reference} over matched cells (same task, backbone and seed, so the same data order and "
            "split), with its 95 % interval, not widened for multiplicity: of the paired t-test over seeds, widened by "
            "the sampling of test examples where the results of each were kept; from six pairs on also the BCa "
            "bootstrap interval over seeds",
        ),
        *(
            [
                (
                    "tasks and seeds",
                    "bootstrap interval at 95 % of the mean over tasks of the mean over seeds, both resampled: how "
                    "the difference generalises to other tasks of the kind and other seeds",
                )
            ]
            if across_tasks
            else []
        ),
        ("p", "two-sided; Holm: corrected over all comparisons of the study"),
        *([("verdict", VERDICT)] if summary.verdicts else []),
        *([("look", LOOK)] if summary.paths else []),
        ("detectable", "the true difference that such a test detects with 80 % power, given the observed spread"),
        ("stable rank", "‖ΔW‖_F² / σ_max(ΔW)², averaged over seeds per layer; mean ± standard deviation over layers"),
        ("nonlinear fraction", "‖ΔW − c·BA‖_F / ‖ΔW‖_F at the best constant c; 0 means that φ is linear"),
        *([("linear", "layers with a nonlinear fraction below 1 %, averaged over seeds")] if transfer else []),
        (
            "max |z|",
            "largest entry of z = s_in·BA in any layer and seed (of BA for plain LoRA); outside: share beyond the grid",
        ),
        (
            "step time",
            "median over the steps of a cell, then over cells; the ratio is one of medians; other load is not removed",
        ),
        ("peak memory", "the largest of any cell" + (f", from {memory}" if memory else "")),
        *measured_definitions(summary),
        (
            "parameters",
            "trainable: all that is trained, a task head included; adapter: its share; transfer: the scalars of φ",
        ),
    ]


def reproduce_command(summary: StudySummary) -> str:
    """Returns the command that runs this study again, with its overrides."""
    words = ["lrlora", "study", "run", str(summary.given_as.get("source") or summary.name), "--budget", summary.budget]
    for key, value in summary.given_as.get("overrides", {}).items():
        words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    if summary.paths:
        words += ["--until", "decided"]
    return shlex.join(words)


def _standing(comparison: VariantComparison, scale: Scale) -> str:
    """Rest of a sentence about one comparison, from ``is`` to its full stop."""
    found, reference = comparison.difference, comparison.against
    apart = f"{scale.value(abs(found.mean))}{scale.difference_unit}"
    side = f"{apart} {'above' if found.mean > 0 else 'below'} {reference}" if found.mean else f"equal to {reference}"
    if found.n == 1 and found.low is not None:
        interval = scale.interval(found.low, found.high)
        return f"is {side} on one {comparison.unit}; the 95 % interval {interval} covers the sampling of test examples."
    if found.n == 1:
        return f"is {side} on one {comparison.unit}: without repetition there is no interval."
    if found.low is None:
        return f"is {side} in each of {plural(found.n, 'pair')}: without spread there is no interval."
    interval = f"95 % interval {scale.interval(found.low, found.high)} over {plural(found.n, 'pair')}"
    assert comparison.p_holm is not None
    corrected = f"Holm-corrected {equals_probability(comparison.p_holm)}"
    if not found.excludes_zero:
        return f"is {side}, but the {interval} includes 0: undecided."
    if not comparison.decided:
        return f"is {side}; the {interval} excludes 0, but the difference is not significant ({corrected})."
    return f"is {side}; the {interval} excludes 0 ({corrected})."


def _repetitions(n: int, summary: StudySummary) -> str:
    return f"{plural(n, summary.unit)}"


def _why_no_reference(summary: StudySummary) -> str:
    if summary.reference is None:
        return "The study declares no reference, so no difference was tested."
    if summary.reference_variant is None:
        return f"The reference {summary.reference} has no record, so no difference was tested."
    return f"The reference {summary.reference} has no finished cell, so no difference was tested."


def _linear(variants: list[VariantSummary]) -> list[str]:
    found = [f"{v.name} ({percentage(v.layers.nonlinear_fraction)})" for v in variants if v.layers is not None]
    if not found:
        return []
    return [f"φ is linear (mean nonlinear fraction below 1 %) in {listed(found)}: this compares LoRA with LoRA."]


def _untrained(variants: list[VariantSummary]) -> list[str]:
    if not variants:
        return []
    first, *others = variants
    found = [f"{first.name} ({first.at_chance} of {plural(first.finished, 'cell')})"]
    found += [f"{variant.name} ({variant.at_chance} of {variant.finished})" for variant in others]
    return [
        f"Within {STANDARD_ERRORS} SE of the majority baseline, or below it: {listed(found)}. These runs did not "
        "learn, so a difference to them does not show which variant is better."
    ]


def _unfinished(variant: VariantSummary) -> str:
    parts = []
    if variant.diverged:
        parts.append(
            f"{len(variant.diverged)} of {plural(variant.recorded, 'cell')} diverged{at_steps(variant.diverged)}"
        )
    if variant.failed:
        reasons = listed(sorted(set(variant.failed)))
        parts.append(f"{len(variant.failed)} of {plural(variant.recorded, 'cell')} failed ({reasons})")
    rest = "its results are those of the finished cells" if variant.finished else "it has no result"
    return f"{variant.name}: {'; '.join(parts) or 'not finished'}; {rest}."


def _span(numbers: list[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
