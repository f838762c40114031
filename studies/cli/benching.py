"""What the commands of ``lrlora bench`` share: making the rows, showing them, and printing the whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrlora.studies.bench.settings import Effort, Variant
    from lrlora.studies.bench.subjects import Subject


def compare_subjects(
    kind: str,
    subjects: Sequence[Subject],
    variants: Sequence[Variant],
    effort: Effort,
    settings: dict[str, Any],
    plugins: Sequence[str],
    as_json: bool,
    markdown: bool,
) -> None:
    """Measure every variant on every subject, and print what was found as it was asked for."""
    from lrlora.studies.bench.comparing import compare
    from lrlora.studies.bench.document import as_markdown, heading, make_document

    silent = as_json or markdown
    if not silent:
        say(heading(make_document(kind, settings, effort, [])))
    measured = (row.to_dict() for subject in subjects for row in compare(subject, variants, effort, announce, plugins))
    document = make_document(kind, settings, effort, collect(measured, silent))
    if as_json:
        print(json.dumps(document, indent=1))
    elif markdown:
        print(as_markdown(document))


def collect(rows: Iterable[dict[str, Any]], silent: bool) -> list[dict[str, Any]]:
    """All rows, each shown as soon as it is there."""
    from lrlora.studies.bench.document import as_line

    collected = []
    for row in rows:
        collected.append(row)
        if not silent:
            say(as_line(row))
    return collected


def chosen_shapes(layers: Sequence[str] | None, shape: tuple[int, int] | None) -> dict[str, tuple[int, int]]:
    """The shapes that a user chose, by the names that rows call them by.

    Raises:
        UnknownNameError: No layer has this name.
        StudyError: Both a layer and a shape, or one that cannot be.
    """
    from lrlora.studies.bench.shapes import shape_named
    from lrlora.studies.errors import StudyError

    if shape is None:
        return {name: shape_named(name) for name in layers or ["qwen2-0.5b/down"]}
    if layers:
        raise StudyError(f"give --shape or a layer, not both ({' '.join(layers)})")
    if min(shape) < 1:
        raise StudyError(f"--shape takes two whole numbers of at least 1, not {shape[0]} {shape[1]}")
    return {f"{shape[0]}x{shape[1]}": shape}


def announce(line: str) -> None:
    """Say what is going on where it does not mix with what was asked for."""
    from rich.console import Console

    Console(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False, style="dim")


def say(line: str) -> None:
    """Print a line as it is."""
    from rich.console import Console

    Console(soft_wrap=True).print(line, markup=False, highlight=False)
