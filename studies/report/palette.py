"""Colours, dashes and markers of the variants: one look per variant in all figures and legends.

Figures are drawn in placeholder colours that become CSS variables on the page, so that one drawing serves a light and
a dark page. The hues are Okabe and Ito's (distinguishable with any common colour blindness), adjusted in the style
sheet to each background; dashes and markers are redundant with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SERIES = 6
"""Number of hues; ``style.css`` defines ``--series-1`` to ``--series-6`` for each colour scheme."""

INK = "#0a0b01"
FAINT = "#0a0b02"
_PLACEHOLDERS = tuple(f"#0a0c{index:02x}" for index in range(1, SERIES + 1))
_DASHES = ("", "5 2", "1.5 2", "6 2 1.5 2")
_MARKERS = ("o", "s", "^", "D", "v", "P")

MARKER_PATHS = {
    "o": "M7.5 4a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0Z",
    "s": "M8 1h6v6h-6Z",
    "^": "M11 .5L15 7.5H7Z",
    "D": "M11 0L15 4L11 8L7 4Z",
    "v": "M11 7.5L15 .5H7Z",
    "P": "M9.7 .5h2.6v2.2h2.2v2.6h-2.2v2.2h-2.6v-2.2h-2.2v-2.6h2.2Z",
}
"""The markers as paths in a legend's box of 22 by 8."""

CSS_COLOURS = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    **{placeholder: f"var(--series-{index})" for index, placeholder in enumerate(_PLACEHOLDERS, start=1)},
}
"""What each placeholder becomes on the page."""

# 3 to 1 at least against both white and GitHub's black.
FILE_COLOURS = dict(
    zip(
        CSS_COLOURS,
        ("#7a828c", "#7a828c59", "#2c8ad1", "#d9662b", "#1f9a74", "#c2619a", "#a8841c", "#7f7bd6"),
        strict=True,
    )
)
"""What each placeholder becomes in a file, which does not know the page that it is shown on."""


@dataclass(frozen=True)
class Look:
    """How a variant is drawn.

    Attributes:
        colour: Placeholder colour, a key of ``CSS_COLOURS``.
        dash: SVG dash array; empty for a solid line.
        marker: matplotlib marker.
    """

    colour: str
    dash: str
    marker: str

    @property
    def css_colour(self) -> str:
        """The colour as CSS."""
        return CSS_COLOURS[self.colour]

    @property
    def marker_path(self) -> str:
        """The marker as an SVG path for a legend."""
        return MARKER_PATHS[self.marker]

    @property
    def line(self) -> dict[str, Any]:
        """Colour and dash as arguments of matplotlib's ``plot``."""
        dashes = (0.0, tuple(map(float, self.dash.split()))) if self.dash else "-"
        return {"color": self.colour, "linestyle": dashes}


def looks(variants: Sequence[str], reference: str | None) -> dict[str, Look]:
    """Returns a look for every variant: the reference in the text's colour, the others in hues, then other dashes."""
    assigned = {name: Look(INK, "4 2", "o") for name in variants if name == reference}
    for index, name in enumerate(name for name in variants if name != reference):
        turn, hue = divmod(index, SERIES)
        # Where hues begin again, markers go on by one: points have no dashes to be told apart by.
        marker = _MARKERS[(hue + turn) % len(_MARKERS)]
        assigned[name] = Look(_PLACEHOLDERS[hue], _DASHES[turn % len(_DASHES)], marker)
    return assigned
