"""The report of a search: ``index.html`` and ``report.json``, and the table on the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from filelock import FileLock
from markupsafe import Markup
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from lrlora.studies.report.formatting import MISSING, Scale, listed
from lrlora.studies.report.table import Table, make_table
from lrlora.studies.report.templates import page_environment
from lrlora.studies.report.terminal import whole_table
from lrlora.studies.report.writing import FOLDER, write_files
from lrlora.studies.search.outcome import Outcome, VariantOutcome
from lrlora.studies.search.plots import importances, plots_of, why_not
from lrlora.studies.search.pruning import describe_pruner
from lrlora.studies.search.space import show
from lrlora.studies.search.tuned_file import TUNED_FILE


def write_report(outcome: Outcome) -> Path:
    """Write the files of the report and return their folder, ``report`` in that of the search."""
    # One at a time: two processes that share a search end at about the same moment.
    with FileLock(outcome.out / ".report.lock"):
        return write_files(
            outcome.out / FOLDER,
            {"index.html": page(outcome), "report.json": json.dumps(report_data(outcome), indent=1, allow_nan=False)},
        )


def report_data(outcome: Outcome) -> dict[str, Any]:
    """The outcome as plain data."""
    return {
        **outcome.content,
        "budget_of_each": outcome.budget(),
        "warnings": outcome.warnings(),
        "found": {
            one.name: {
                "counts": one.counts(),
                "best": None if one.best is None else one.best.plain(),
                "default": None if one.default is None else one.default.plain(),
                "difference": one.difference,
                "standard_error": one.standard_error,
                "importance": importances(one),
                "no_importance": why_not(one),
                "trials": [trial.plain() for trial in one.trials],
            }
            for one in outcome.variants
        },
    }


def headline(outcome: Outcome) -> str:
    """The best trials, in a sentence."""
    scale, told = Scale.of(outcome.metric), []
    for one in outcome.variants:
        if one.best is not None:
            gain = "" if one.difference is None else f" ({scale.value(one.difference, signed=True)} to untuned)"
            gain = " (untuned)" if one.best is one.default else gain
            told.append(f"{one.name} {scale.value(one.best.value)}{scale.unit}{gain}")
    return f"Best {outcome.metric} on the validation split: {listed(told)}." if told else "No trial is complete yet."


def result_table(outcome: Outcome) -> Table:
    """Best and default per variant, their difference, and the number of trials by outcome."""
    scale, counts = Scale.of(outcome.metric), outcome.counts()
    best = f"best {scale.heading(outcome.metric)}"
    rows = [
        {
            "Variant": one.name,
            best: scale.value(one.best.value if one.best else None),
            "untuned": scale.value(one.default.value if one.default else None),
            "difference" + scale.difference_unit.replace(" ", ", "): scale.value(one.difference, signed=True),
            "± SE": scale.value(one.standard_error),
            "best trial": MISSING if one.best is None else str(one.best.number),
            **{name: str(one.counts().get(name, 0)) for name in counts},
        }
        for one in outcome.variants
    ]
    caption = (
        f"{outcome.metric.capitalize()} on the validation split, averaged over the runs of a trial. SE is the standard "
        "error of the difference over paired runs; it does not cover the selection of the best."
    )
    return make_table("results", caption, rows, wraps={best})


def settings_table(outcome: Outcome) -> Table:
    """The settings of each best trial beside the untuned ones."""
    names = list(dict.fromkeys(setting for one in outcome.variants for setting in one.space))
    rows = [
        {"Setting": name.removeprefix("training.")}
        | {f"{one.name}, best (untuned)": _setting(one, name) for one in outcome.variants}
        for name in names
    ]
    return make_table("settings", "The settings of the best trials, as far as they were searched.", rows)


def trial_table(one: VariantOutcome, metric: str) -> Table:
    """Every trial of a variant."""
    scale = Scale.of(metric)
    rows = [
        {
            "Trial": str(trial.number),
            "outcome": trial.outcome,
            scale.heading(metric): scale.value(trial.value),
            "of each run": ", ".join(scale.value(value) for value in trial.values) or MISSING,
            **{
                name.removeprefix("training."): show(trial.settings[name]) if name in trial.settings else MISSING
                for name in one.space
            },
            "MLflow runs": ", ".join(run[:8] for run in trial.runs) or MISSING,
        }
        for trial in one.trials
    ]
    best = [index for index, trial in enumerate(one.trials) if trial is one.best]
    words = {"outcome", "MLflow runs"}
    return make_table(f"trials-{one.name}", f"Trials of {one.name}.", rows, words=words, emphasised=best)


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Print the results, the settings of the best trials, and the caveats."""
    for table in (result_table(outcome), settings_table(outcome)):
        console.print(whole_table(table))
    console.print(Text(headline(outcome), style="bold"))
    for note in (outcome.budget(), *outcome.warnings()):
        console.print(Padding(Text(f"· {note}", style="dim"), (0, 0, 0, 1)))


def page(outcome: Outcome) -> str:
    """The report as a page: no script, no network, light and dark, for narrow and wide windows."""
    sections = [
        {
            "name": one.name,
            "best": None if one.best is None else f"trial {one.best.number}; MLflow runs {', '.join(one.best.runs)}",
            # The drawings are our own markup; their words were escaped when they were drawn.
            "figures": [(plot, Markup(plot.svg)) for plot in plots_of(one, outcome.metric, f"v{index}")],
            "no_importance": why_not(one),
            "trials": trial_table(one, outcome.metric),
        }
        for index, one in enumerate(outcome.variants)
    ]
    return (
        page_environment("lrlora.studies.search")
        .get_template("page.html")
        .render(
            study=outcome.content["study"],
            headline=headline(outcome),
            caveats=outcome.warnings(),
            design=design_facts(outcome),
            results=result_table(outcome),
            settings=settings_table(outcome),
            sections=sections,
            tuned=TUNED_FILE,
        )
    )


def design_facts(outcome: Outcome) -> list[tuple[str, str]]:
    """The space, the sampler and the pruner, as (term, description)."""
    content = outcome.content
    facts = [
        ("study", f"{content['study']} at budget {content['budget']}"),
        ("budget of each", outcome.budget()),
        ("sampler", "TPE (multivariate, seeded by trial). Trial 0 is the untuned variant; trials 1 to 9 are random."),
        ("pruner", describe_pruner(content["pruner"], content["runs_per_trial"])),
        ("changed", ", ".join(f"{key}={value}" for key, value in content["overrides"].items()) or "nothing"),
    ]
    for one in outcome.variants:
        space = [
            f"{name.removeprefix('training.')} {one.space[name].describe(one.defaults[name])}" for name in one.space
        ]
        facts.append((f"space of {one.name}", "; ".join(space)))
    return facts


def _setting(one: VariantOutcome, name: str) -> str:
    if name not in one.space or one.best is None:
        return MISSING
    best, default = one.best.settings, one.defaults.get(name)
    return f"{show(best[name]) if name in best else MISSING} ({MISSING if default is None else show(default)})"
