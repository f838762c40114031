"""What the pages of reports, comparisons, searches and inspections have in common: style, tables, how text is set."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

_HERE = "lrlora.studies.report"


def page_environment(package: str = _HERE) -> Environment:
    """The templates of a package, beside those that all pages share.

    Args:
        package: Where the pages lie.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, ""), PackageLoader(_HERE, "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_unbroken,
    )
    environment.filters["subscripts"] = _subscripts
    environment.globals["stylesheet"] = Markup(files(_HERE).joinpath("style.css").read_text(encoding="utf-8"))
    return environment


def _unbroken(value: Any) -> Any:
    """Keep a number and its per cent sign on one line."""
    return value.replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value


def _subscripts(text: str) -> Markup:
    """Set the indices of the mathematics low: the plain-text forms write them with an underscore."""
    return Markup(re.sub(r"_(F|max|in|z)(?![a-z])", r"<sub>\1</sub>", str(_unbroken(str(escape(text))))))
