"""An inspection as tables of text, set on the page and on the terminal."""

from __future__ import annotations

from statistics import fmean

from lrlora.analysis import LayerReport
from lrlora.studies.inspection.inspecting import Inspection, note, spread
from lrlora.studies.report.formatting import MISSING, decimal, percentage, significant
from lrlora.studies.report.layer_figures import in_order
from lrlora.studies.report.table import Column, Table


def layer_table(inspection: Inspection) -> Table:
    """Returns a row for each layer."""
    with_transfer = inspection.has_transfer
    columns = [Column("Layer", False), Column("r"), Column("Stable rank"), Column("Effective rank")]
    if with_transfer:
        columns += [
            Column("Nonlinear"),
            Column("max |z|"),
            Column("Outside grid"),
            Column("Active ψ"),
            Column("", False),
        ]
    rows = []
    for layer in inspection.layers:
        row = [
            name_of(layer),
            MISSING if layer.r is None else str(layer.r),
            decimal(layer.stable_rank, 2),
            decimal(layer.effective_rank, 2),
        ]
        if with_transfer:
            row += [
                percentage(layer.nonlinear_fraction),
                significant(layer.max_abs_z),
                percentage(layer.outside_grid),
                percentage(layer.active_basis),
                note(layer),
            ]
        rows.append(tuple(row))
    return Table("layers", "Diagnostics of each layer.", tuple(columns), tuple(rows))


def name_of(layer: LayerReport) -> str:
    """Depth and role if a layer has both, else the name of its module."""
    return layer.module if layer.role is None or layer.depth is None else f"{layer.depth} {layer.role}"


def summary_table(inspection: Inspection) -> Table:
    """Mean ± standard deviation over the layers of each type of module, as in the LR-LoRA paper's Table 4."""
    by_role: dict[str, list[LayerReport]] = {}
    for layer in inspection.layers:
        by_role.setdefault(layer.role or "other", []).append(layer)
    with_transfer = inspection.has_transfer
    columns = [Column("Module", False), Column("Layers"), Column("Stable rank"), Column("Effective rank")]
    if with_transfer:
        columns += [Column("Nonlinear, mean"), Column("Nonlinear, max"), Column("Linear")]
    groups = [(role, by_role[role]) for role in in_order(set(by_role))]
    if len(groups) > 1:
        groups.append(("all", list(inspection.layers)))
    rows = []
    for role, layers in groups:
        ranks = [layer.stable_rank for layer in layers if layer.stable_rank is not None]
        effective = [layer.effective_rank for layer in layers if layer.effective_rank is not None]
        row = [role, str(len(layers)), spread(ranks), spread(effective)]
        if with_transfer:
            bends = [layer.nonlinear_fraction for layer in layers if layer.nonlinear_fraction is not None]
            straight = sum(layer.is_linear for layer in layers)
            row += [percentage(fmean(bends) if bends else None), percentage(max(bends, default=None)), str(straight)]
        rows.append(tuple(row))
    return Table(
        "summary", "By type of module, mean ± standard deviation over its layers.", tuple(columns), tuple(rows)
    )
