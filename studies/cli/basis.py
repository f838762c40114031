"""``lrlora basis``: which bases there are."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from lrlora.studies.cli.options import Plugin, load_plugins

app = typer.Typer(help="The bases: families of functions that bend the low-rank product.", no_args_is_help=True)


@app.command("list")
def list_bases(plugin: Plugin = None) -> None:
    """List the bases, built in and plugged in."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lrlora.bases import BASES
    from lrlora.registry import BrokenPluginError

    load_plugins(plugin)
    table = Table("name", "what it is", "from", box=None, pad_edge=False)
    for entry in BASES:
        try:
            about = (inspect.getdoc(BASES.get(entry.name)) or "").partition("\n")[0]
        except BrokenPluginError as error:
            about = f"broken: {error.__cause__}"
        table.add_row(Text(entry.name, style="bold"), Text(about), Text(entry.origin))
    Console().print(table)


@app.command("show")
def show_basis(
    name: Annotated[str, typer.Argument(help="The basis, with options if it has any, as in bspline:2.")],
    plugin: Plugin = None,
) -> None:
    """Show what a basis is, its options, and where it comes from."""
    from rich.console import Console

    from lrlora.bases import BASES
    from lrlora.registry import parse_spec
    from lrlora.studies.errors import StudyError

    load_plugins(plugin)
    plain = parse_spec(name)[0]
    factory = BASES.get(plain)
    try:
        basis = BASES.create(name)
    except (TypeError, ValueError) as error:
        raise StudyError(str(error)) from None
    entry = BASES.entry(plain)
    lines = [
        f"{plain}{inspect.signature(factory)}".removesuffix(" -> None"),
        "",
        inspect.getdoc(factory) or "(says nothing about itself)",
        "",
        f"from: {entry.origin} ({entry.target})",
        f"grid points: {'used' if basis.uses_grid else 'not used'}",
        f"in a config: LRLoraConfig(basis={name!r})",
    ]
    Console().print("\n".join(lines), markup=False, highlight=False)
