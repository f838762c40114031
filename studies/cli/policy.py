"""``lrlora policy``: the choices an adapter is composed of, and what an author of one needs: new, check, plot."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from lrlora.studies.cli.checking import Expect
from lrlora.studies.cli.drawing import Figure
from lrlora.studies.cli.options import Json, Plugin, load_plugins

app = typer.Typer(
    help="List, check and plot policies: grid, sharing, placement, rank and other choices of an adapter.",
    no_args_is_help=True,
)

Kind = Annotated[str, typer.Argument(help="The field of the config, for example grid or rank_allocation.")]
Name = Annotated[str, typer.Argument(help="The policy, with its options, for example jittered:0.2.")]


@app.command("list")
def list_policies(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="List this kind only.")] = None,
    plugin: Plugin = None,
) -> None:
    """List the policies, built in and plugged in, by the field of a config that takes them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lrlora.policies import KINDS
    from lrlora.registry import BrokenPluginError
    from lrlora.studies.authoring.policy_kinds import registry_of

    load_plugins(plugin)
    table = Table("kind", "name", "what it is", "from", box=None, pad_edge=False)
    for field in sorted(KINDS) if kind is None else [kind]:
        registry = registry_of(field)
        for entry in registry:
            try:
                about = (inspect.getdoc(registry.get(entry.name)) or "").partition("\n")[0]
            except BrokenPluginError as error:
                about = f"broken: {error.__cause__}"
            table.add_row(Text(field), Text(entry.name, style="bold"), Text(about), Text(entry.origin))
    Console().print(table)


@app.command("show")
def show_policy(kind: Kind, name: Name, plugin: Plugin = None) -> None:
    """Show what a policy is, its options, and where it comes from."""
    from rich.console import Console

    from lrlora.registry import parse_spec
    from lrlora.studies.authoring.policy_kinds import make_policy, registry_of

    load_plugins(plugin)
    registry = registry_of(kind)
    made = make_policy(kind, name)
    given = parse_spec(name)[0]
    plain = given if given in registry else registry.name_of(made) or given  # of a bare number, what it stands for
    factory, entry = registry.get(plain), registry.entry(plain)
    lines = [
        f"{plain}{inspect.signature(factory)}".partition(" ->")[0],
        "",
        inspect.getdoc(factory) or "(says nothing about itself)",
        "",
        f"from: {entry.origin} ({entry.target})",
        f"in a config: LRLoraConfig({kind}={name!r})",
    ]
    Console().print("\n".join(lines), markup=False, highlight=False)


@app.command("check")
def check_policy(kind: Kind, name: Name, expect: Expect = None, plugin: Plugin = None, as_json: Json = False) -> None:
    """Check that a policy does what an adapter relies on; exit status 1 if not."""
    from lrlora.studies.authoring.policy_kinds import make_policy
    from lrlora.studies.cli.checking import read_expected, report_checks

    load_plugins(plugin)
    policy = make_policy(kind, name)
    raise typer.Exit(report_checks(f"{kind} {name}", [policy], read_expected(expect), as_json))


@app.command("new")
def new_policy(
    kind: Kind,
    name: Annotated[str, typer.Argument(help="Name of the new policy, for example log_spaced.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder to write; by default the name.")] = None,
) -> None:
    """Write a package with a policy to start from: the code, its test, its entry point, and what to type next."""
    from lrlora.studies.authoring.new_package import write_policy_package
    from lrlora.studies.cli.basis import next_steps

    made = write_policy_package(kind, name, out)
    check = f"lrlora policy check {kind} {name} --plugin {made.module}"
    next_steps(made.folder, f"put your rule into {made.module}", check)


@app.command("plot")
def plot_policy(kind: Kind, name: Name, out: Figure = None, plugin: Plugin = None) -> None:
    """Draw a grid's points, an amplitude_init's φ, a bandwidth_init by depth, a rank_allocation by layer and role."""
    from lrlora.studies.cli.drawing import draw_into

    load_plugins(plugin)

    def draw() -> str:
        from lrlora.studies.authoring.policy_figure import draw_policy

        return draw_policy(kind, name)

    draw_into(out, f"{kind}-{name}", draw)
