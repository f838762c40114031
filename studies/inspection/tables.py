"""An inspection as tables of text, set on the page and on the terminal."""

from __future__ import annotations

from statistics import fmean

from lrlora.analysis import LayerReport
from lrlora.studies.inspection.inspecting import Inspection, note, spread
from lrlora.studies.report.formatting import MISSING, decimal, percentage, significant
from lrlora.studies.report.layer_figures import in_order
from lrlora.studies.report.table import Table, make_table


def layer_table(inspection: Inspection) -> Table:
    """Returns a row for each layer."""
    rows = []
    for layer in inspection.layers:
        row = {
            "Layer": name_of(layer),
            "r": MISSING if layer.r is None else str(layer.r),
            "Stable rank": decimal(layer.stable_rank, 2),
            "Effective rank": decimal(layer.effective_rank, 2),
        }
        if inspection.has_transfer:
            row |= {
                "Nonlinear": percentage(layer.nonlinear_fraction),
                "max |z|": significant(layer.max_abs_z),
                "Outside grid": percentage(layer.outside_grid),
                "Active ψ": percentage(layer.active_basis),
                "": note(layer),
            }
        rows.append(row)
    return make_table("layers", "Diagnostics of each layer.", rows, words={""})


def name_of(layer: LayerReport) -> str:
    """Returns depth and role if a layer has both, else the name of its module."""
    return layer.module if layer.role is None or layer.depth is None else f"{layer.depth} {layer.role}"


def summary_table(inspection: Inspection) -> Table:
    """Returns mean ± standard deviation over the layers of each type of module, as in the LR-LoRA paper's Table 4."""
    by_role: dict[str, list[LayerReport]] = {}
    for layer in inspection.layers:
        by_role.setdefault(layer.role or "other", []).append(layer)
    groups = [(role, by_role[role]) for role in in_order(set(by_role))]
    if len(groups) > 1:
        groups.append(("all", list(inspection.layers)))
    rows = []
    for role, layers in groups:
        row = {
            "Module": role,
            "Layers": str(len(layers)),
            "Stable rank": spread([layer.stable_rank for layer in layers if layer.stable_rank is not None]),
            "Effective rank": spread([layer.effective_rank for layer in layers if layer.effective_rank is not None]),
        }
        if inspection.has_transfer:
            fractions = [layer.nonlinear_fraction for layer in layers if layer.nonlinear_fraction is not None]
            row |= {
                "Nonlinear, mean": percentage(fmean(fractions) if fractions else None),
                "Nonlinear, max": percentage(max(fractions, default=None)),
                "Linear": str(sum(layer.is_linear for layer in layers)),
            }
        rows.append(row)
    return make_table("summary", "By type of module, mean ± standard deviation over its layers.", rows)
