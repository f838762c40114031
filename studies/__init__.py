"""What is asked of adapters: declared studies, their runs, their record and their reports.

``Study`` and ``Results`` are imported when they are asked for, so that the command line answers at once.
"""

from __future__ import annotations

if __name__ != "lrlora.studies":
    raise ImportError(f"this folder is the package 'lrlora.studies', not {__name__!r}: import it under its full name")

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrlora.studies.errors import StudyError
    from lrlora.studies.record.results import Results
    from lrlora.studies.spec.study import Study

__all__ = ["Results", "Study", "StudyError"]

_HOMES = {"Study": "spec.study", "StudyError": "errors", "Results": "record.results"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
