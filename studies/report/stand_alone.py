"""A figure of a page as a file of its own, for a page of any background."""

from __future__ import annotations

import re

# An image in a page knows nothing of the page's colours. These are of middle lightness: 3 to 1 at least against both
# white and GitHub's black.
_INK = "#7a828c"
_COLOURS = {
    "currentColor": _INK,
    "var(--faint)": "#7a828c59",
    "var(--series-1)": "#2c8ad1",
    "var(--series-2)": "#d9662b",
    "var(--series-3)": "#1f9a74",
    "var(--series-4)": "#c2619a",
    "var(--series-5)": "#a8841c",
    "var(--series-6)": "#7f7bd6",
}


def stand_alone(svg: str) -> str:
    """A fragment of a page as a file of its own."""
    for variable, colour in _COLOURS.items():
        svg = svg.replace(variable, colour)
    svg = svg.replace("font-family: 'DejaVu Sans'", "font-family: 'DejaVu Sans', Verdana, sans-serif")
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box is not None
    size = f'width="{box[1]}" height="{box[2]}"'
    # The sheet that the page has for figures: lines are drawn, not filled.
    sheet = "<style>*{stroke-linejoin:round;stroke-linecap:butt}</style>"
    return re.sub(r"<svg ([^>]*)>", lambda found: f"<svg {spaces} {size} {found[1]}>{sheet}", svg, count=1) + "\n"
