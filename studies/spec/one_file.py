"""A check that a study file of the same name does not replace another one in the record of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrlora.studies.catalog import catalog_names
from lrlora.studies.errors import StudyError
from lrlora.studies.spec.cells import expand_variants
from lrlora.studies.spec.study import Study


def check_one_file(saved: Mapping[str, Any], there: Study, here: Study, where: str) -> None:
    """Checks that a study from another file than the folder's keeps the variants of the folder's study.

    Whoever changes a file, or lays ``--set`` over it, may leave variants out. Their runs stay in the record.

    Args:
        saved: What ``study.json`` holds.
        there: The study of it.
        here: The study that is to be run.
        where: How the message begins, for example with the folder.

    Raises:
        StudyError: It lacks variants of another file; with their names.
    """
    before, now = (saved.get("given_as") or {}).get("source"), here.given_as["source"]
    if before is None or _resolved(before) == _resolved(now):
        return
    names = {variant.name for variant in expand_variants(here)}
    lost = [variant.name for variant in expand_variants(there) if variant.name not in names]
    if lost:
        raise StudyError(
            f"{where}: holds the study {there.name!r} of {before}; {now} has the same name and not its "
            f"{'variant' if len(lost) == 1 else 'variants'} {', '.join(lost[:5])}{', ...' if len(lost) > 5 else ''}: "
            "give one of them another name, or another folder"
        )


def _resolved(source: str) -> str:
    return source if source in catalog_names() else str(Path(source).resolve())
