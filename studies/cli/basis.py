"""``lrlora basis``: list, show, new, check, plot, bench."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrlora.studies.cli.basis_bench import bench_bases
from lrlora.studies.cli.checking import Expect
from lrlora.studies.cli.drawing import Figure
from lrlora.studies.cli.options import Json, Plugin, load_plugins

if TYPE_CHECKING:
    from lrlora.bases import Basis

app = typer.Typer(help="List, check, plot and time bases: the functions ψ of an adapter.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The basis, with its options, for example bspline:2.")]


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
    name: Name,
    plugin: Plugin = None,
) -> None:
    """Show the description of a basis, its options, and where it comes from."""
    from rich.console import Console

    from lrlora.bases import BASES
    from lrlora.registry import parse_spec

    load_plugins(plugin)
    plain = parse_spec(name)[0]
    factory = BASES.get(plain)
    basis = _make(name)
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


@app.command("new")
def new_basis(
    name: Annotated[str, typer.Argument(help="Name of the new basis, for example logistic_bump.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder to write; by default the name.")] = None,
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="shifted: one kernel over the grid; matrix: any N functions.")
    ] = "shifted",
) -> None:
    """Write a package with a basis to start from: the code, its test, its entry point, and what to type next."""
    from lrlora.studies.authoring.new_package import write_basis_package

    made = write_basis_package(name, out, kind)
    next_steps(made.folder, f"put your formula into {made.module}", f"lrlora basis check {name} --plugin {made.module}")


@app.command("check")
def check_basis(
    name: Name,
    laws: Annotated[bool, typer.Option("--laws", help="Also check the laws on the rank.")] = False,
    expect: Expect = None,
    plugin: Plugin = None,
    as_json: Json = False,
) -> None:
    """Check that a basis works with engines, configs, saved adapters and studies; exit status 1 if it does not."""
    from lrlora.studies.cli.checking import read_expected, report_checks

    load_plugins(plugin)
    basis = _make(name)
    expected = read_expected(expect)
    things: list[object] = [basis]
    if laws:
        from lrlora.testing.laws import Laws

        things.append(Laws(basis))
    raise typer.Exit(report_checks(name, things, expected, as_json))


app.command("bench")(bench_bases)


@app.command("plot")
def plot_basis(
    name: Name,
    out: Figure = None,
    grid_points: Annotated[int, typer.Option("--grid-points", metavar="N", help="Number of functions.")] = 50,
    bandwidth: Annotated[str, typer.Option(metavar="OMEGA", help="A number, or a bandwidth_init.")] = "1.0",
    plugin: Plugin = None,
) -> None:
    """Draw its functions, φ at the start, and what φ makes of the spectrum of BA over the range of BA."""
    from lrlora.studies.cli.drawing import draw_into

    load_plugins(plugin)
    _make(name)

    def draw() -> str:
        from lrlora.studies.authoring.basis_figure import draw_basis
        from lrlora.studies.authoring.policy_kinds import make_policy

        return draw_basis(name, grid_points, make_policy("bandwidth_init", bandwidth))

    draw_into(out, name, draw)


def next_steps(folder: Path, *steps: str) -> None:
    """Say what was written and what to do next."""
    from rich.console import Console

    lines = [f"wrote {folder}", "next:", *(f"  {step}" for step in steps)]
    Console(soft_wrap=True).print("\n".join(lines), markup=False, highlight=False)


def _make(name: str) -> Basis:
    from lrlora.bases import BASES
    from lrlora.studies.errors import said_in_one_line

    with said_in_one_line():
        return BASES.create(name)
