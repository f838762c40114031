"""An inspection as one self-contained page, in the style of the report."""

from __future__ import annotations

from lrlora.studies.inspection.figures import inspection_figures
from lrlora.studies.inspection.inspecting import Inspection, headline
from lrlora.studies.inspection.tables import layer_table, summary_table
from lrlora.studies.report.page import Figures, Section, render_page

_OF_ALL = (
    ("stable rank", "‖ΔW‖_F² / σ₁², between 1 and the rank of ΔW."),
    ("effective rank", "exp of the entropy of the singular values, normalised to a sum of 1."),
)
_OF_TRANSFER = (
    (
        "nonlinear",
        "‖ΔW − c·BA‖ / ‖ΔW‖ at the best constant c. Under 1 % φ is linear, and the layer equivalent to LoRA.",
    ),
    (
        "would be nonlinear at",
        "the input scale at which the nonlinear fraction would be 1 % with the same A, B, θ and s_in · s_out. Training "
        "at that scale gives other A, B and θ: it is a hint for the next run.",
    ),
    ("z", "s_in · BA; “outside grid” is the share of its entries beyond the grid's bound."),
    ("active ψ", "share of the basis functions with |a_i| of at least 1 % of the layer's largest."),
)


def inspection_page(inspection: Inspection) -> str:
    """Returns the page: no script, no network, light and dark, for narrow and wide windows."""
    settings = ", ".join(f"{term}={text}" for term, text in inspection.settings.items())
    figures = inspection_figures(inspection)
    return render_page(
        f"{inspection.adapter}: inspection",
        f"{inspection.method} adapter",
        "Diagnostics of the adapted layers",
        headline(inspection),
        [
            Section(
                "Adapter",
                [
                    [
                        ("folder", inspection.adapter),
                        ("base model", inspection.base or "not named"),
                        ("settings", settings),
                    ]
                ],
            ),
            Section("By type of module", [summary_table(inspection)]),
            *([Section("Figures", [Figures(figures)])] if figures else []),
            Section("Layer by layer", [layer_table(inspection)]),
            Section("Definitions", [list(_OF_ALL + (_OF_TRANSFER if inspection.has_transfer else ()))]),
        ],
    )
