"""The entry point. A user's error is printed in one line, with exit status 2; other errors keep their traceback."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer
from rich.console import Console

from lrlora.registry import BrokenPluginError, DuplicateNameError, UnknownNameError
from lrlora.studies.cli import basis, bench, data, export, inspect, params, policy, study, train, tune, ui
from lrlora.studies.cli.surroundings import check_arguments, explain_surroundings, prepare_output
from lrlora.studies.errors import StudyError
from lrlora.studies.execution.quiet import quiet

USER_ERROR = 2
INTERRUPTED = 130

# Typer shows click's base class of a wrong command line only through this one, and carries its own copy of click.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="lrlora",
    help="Learnable-Rank LoRA: adapters whose rank is learned, and studies that compare them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(basis.app, name="basis")
app.add_typer(policy.app, name="policy")
app.add_typer(study.app, name="study")
app.command("tune")(tune.tune)
app.command("train")(train.train)
app.command("params")(params.params)
app.command("inspect")(inspect.inspect)
app.command("ui")(ui.ui)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
app.add_typer(export.app, name="export")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status.

    Args:
        arguments: What follows ``lrlora``; by default what the process was given.
    """
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status: 0, 1 (a cell failed), 2 (a user's error) or 130."""
    prepare_output()
    try:
        check_arguments(arguments)
        with quiet():
            status = app(list(arguments), standalone_mode=False, prog_name="lrlora")
    except (StudyError, UnknownNameError, DuplicateNameError, BrokenPluginError) as error:
        return _refuse(str(error), USER_ERROR)
    except _UsageError as error:
        # A group without a command has shown its help by now, and says nothing more.
        message = error.format_message()  # type: ignore[attr-defined]
        return _refuse(message, USER_ERROR) if message.strip() else USER_ERROR
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        if (said := explain_surroundings(error)) is None:
            raise
        return _refuse(said, USER_ERROR)
    if status == INTERRUPTED:  # which is also what typer makes of Ctrl-C
        return _refuse("interrupted: run the same command again to continue", INTERRUPTED, prefix="lrlora: ")
    return status if isinstance(status, int) else 0


def _refuse(message: str, status: int, prefix: str = "lrlora: error: ") -> int:
    # Plain text on one line: no markup, since messages quote what the user wrote, brackets and all.
    Console(stderr=True, soft_wrap=True).print(
        prefix + " ".join(message.split()), markup=False, highlight=False, emoji=False
    )
    return status
