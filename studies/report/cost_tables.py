"""Tables of cost, of further measures, and of the diagnostics of layers."""

from __future__ import annotations

from lrlora.studies.report.formatting import (
    MISSING,
    Scale,
    count,
    decimal,
    percentage,
    plural,
    significant,
)
from lrlora.studies.report.table import Table, variant_table
from lrlora.studies.stats.layers import LayerSummary, linear_layers
from lrlora.studies.stats.measures import DERIVED
from lrlora.studies.stats.paired import Estimate
from lrlora.studies.stats.summary import FURTHER_MEASURES, StudySummary

PARAMETERS = {"Trainable": "trainable", "Adapter": "adapter", "Transfer φ": "transfer"}
HEADINGS = {
    "convergence_step": "Converged at step",
    "active_basis": "Active basis functions, %",
    "generalization_gap": "Generalisation gap, points",
    "tokens_per_second": "Tokens per second",
}
"""The headings of the further measures."""


def cost_table(summary: StudySummary) -> Table:
    """Parameters, time and memory."""
    rows = [
        {
            "Variant": variant.name,
            **{name: count(variant.parameters.get(kind)) for name, kind in PARAMETERS.items()},
            "Step, ms": significant(None if variant.step_seconds is None else 1000 * variant.step_seconds),
            f"Step ÷ {summary.reference or 'reference'}": decimal(variant.step_ratio, 2),
            "Peak memory, MiB": MISSING if size is None else f"{size / 2**20:,.0f}",
        }
        for variant, size in ((variant, variant.peak_memory_bytes) for variant in summary.variants)
    ]
    return variant_table(summary, "cost", "Trained parameters, step time and memory.", rows)


def measured_table(summary: StudySummary) -> Table | None:
    """Further measures per variant, mean ± standard deviation; None if nothing was recorded."""
    shown = _measured(summary)
    if not shown and not any(variant.diverged for variant in summary.variants):
        return None
    rows = [
        {"Variant": variant.name}
        | {HEADINGS[name]: _spread(name, variant.measured.get(name)) for name in shown}
        | {"Diverged": f"{len(variant.diverged)} of {variant.recorded}"}
        for variant in summary.variants
    ]
    caption = f"Further measures: mean ± standard deviation over {summary.unit}s, finished cells only."
    return variant_table(summary, "measured", caption, rows, wraps=set(HEADINGS.values()))


def measured_definitions(summary: StudySummary) -> list[tuple[str, str]]:
    """Returns the definition of each measure in the table."""
    return [(HEADINGS[name].partition(",")[0].lower(), DERIVED[name][1]) for name in _measured(summary)]


def layer_table(summary: StudySummary) -> Table:
    """Diagnostics of the adapted layers."""
    linear = {v.name: linear_layers(summary.records_of(v.name)) for v in summary.variants if v.has_transfer}
    counted = any(found is not None for found in linear.values())
    proposed = any(found is not None and found.proposed is not None for found in linear.values())
    evaluated = any(variant.layers and variant.layers.evaluations for variant in summary.variants)
    rows = []
    for variant in summary.variants:
        layers, found = variant.layers, linear.get(variant.name)
        row = dict.fromkeys(
            ("Layers", "Stable rank", "Nonlinear, mean", "Nonlinear, max", "max |z|", "Outside grid"), MISSING
        )
        if layers is not None:
            spread = "" if layers.stable_rank_std is None else f" ± {decimal(layers.stable_rank_std, 2)}"
            row |= {
                "Layers": str(layers.layers),
                "Stable rank": decimal(layers.stable_rank, 2) + spread,
                "Nonlinear, mean": percentage(layers.nonlinear_fraction),
                "Nonlinear, max": percentage(layers.nonlinear_fraction_max),
                "max |z|": significant(layers.max_abs_z),
                "Outside grid": percentage(layers.outside_grid) if variant.has_transfer else MISSING,
            }
        if counted:
            row["Linear"] = f"{found.straight} of {found.layers}" if found else MISSING
        if proposed:
            row["Proposed s_in"] = significant(found.proposed if found else None)
        if evaluated:
            row["Evaluated as"] = _evaluated_as(layers) if layers is not None else MISSING
        rows.append({"Variant": variant.name, **row})
    caption = "Diagnostics of the adapted layers: stable rank of ΔW, and how nonlinear φ is."
    return variant_table(summary, "layers", caption, rows, words={"Evaluated as"}, wraps={"Evaluated as"})


def _measured(summary: StudySummary) -> list[str]:
    return [name for name in FURTHER_MEASURES if any(name in variant.measured for variant in summary.variants)]


def _spread(name: str, found: Estimate | None) -> str:
    if found is None:
        return MISSING
    scale = Scale.of(name)
    digits = 1 if scale.factor == 100.0 else scale.digits
    spread = "" if found.std is None else f" ± {decimal(found.std * scale.factor, digits)}"
    return decimal(found.mean * scale.factor, digits) + spread


def _evaluated_as(layers: LayerSummary) -> str:
    """Returns the commonest way in which ΔW was evaluated, the number of others, and the largest error made."""
    if not layers.evaluations:
        return MISSING
    others = len(layers.evaluations) - 1
    error = layers.evaluation_error
    return (
        next(iter(layers.evaluations))
        + (f" and {plural(others, 'other')}" if others else "")
        + (f", error up to {significant(error, 1)}" if error else "")
    )
