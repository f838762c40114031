"""An inspection as one self-contained page, in the style of the report."""

from __future__ import annotations

from markupsafe import Markup

from lrlora.studies.inspection.figures import inspection_figures
from lrlora.studies.inspection.inspecting import Inspection, headline
from lrlora.studies.inspection.tables import layer_table, summary_table
from lrlora.studies.report.templates import page_environment

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
    """The page: no script, no network, light and dark, for narrow and wide windows."""
    return (
        page_environment("lrlora.studies.inspection")
        .get_template("page.html")
        .render(
            inspection=inspection,
            headline=headline(inspection),
            summary=summary_table(inspection),
            layers=layer_table(inspection),
            # The drawings are our own markup; their words were escaped when they were drawn.
            figures=[
                {"name": figure.name, "svg": Markup(figure.svg), "caption": figure.caption}
                for figure in inspection_figures(inspection)
            ],
            definitions=_OF_ALL + (_OF_TRANSFER if inspection.has_transfer else ()),
        )
    )
