"""The report of a search: ``index.html`` and ``report.json``, and the table on the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from filelock import FileLock
from markupsafe import Markup
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from lrlora.studies.report.formatting import MISSING, Scale, listed
from lrlora.studies.report.page import Figures, Folded, Part, Section, render_page
from lrlora.studies.report.table import Table, make_table
from lrlora.studies.report.terminal import whole_table
from lrlora.studies.report.writing import FOLDER, write_files
from lrlora.studies.search.outcome import Outcome, VariantOutcome
from lrlora.studies.search.plots import importances, plots_of, why_not
from lrlora.studies.search.pruning import describe_pruner
from lrlora.studies.search.space import show
from lrlora.studies.search.trials import INDEX, LOSSES, OUTCOME, REASON, RUNS, VALUES
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
    """Returns the outcome as plain data."""
    return {
        **outcome.content,
        "budget_of_each": outcome.budget(),
        "warnings": outcome.warnings(),
        "found": {
            one.name: {
                "counts": one.counts(),
                "best": None if one.best is None else _plain(one, one.best),
                "default": None if one.default is None else _plain(one, one.default),
                "difference": one.difference,
                "standard_error": one.standard_error,
                "importance": importances(one),
                "no_importance": why_not(one),
                "trials": [_plain(one, trial) for trial in one.trials],
            }
            for one in outcome.variants
        },
    }


def _plain(one: VariantOutcome, trial: FrozenTrial) -> dict[str, Any]:
    """Returns a trial as plain data."""
    return {
        "number": trial.user_attrs[INDEX],
        "settings": one.settings(trial),
        "value": _value(trial),
        "seconds": trial.duration.total_seconds() if trial.duration else None,
        **{key: trial.user_attrs[key] for key in (VALUES, LOSSES, RUNS, REASON, OUTCOME)},
    }


def _value(trial: FrozenTrial) -> float | None:
    """Returns the value of a complete trial: Optuna has one of pruned trials too."""
    return trial.value if trial.state == TrialState.COMPLETE else None


def headline(outcome: Outcome) -> str:
    """Returns the best trials, in a sentence."""
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
            "best trial": MISSING if one.best is None else str(one.best.user_attrs[INDEX]),
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
    """Returns the settings of each best trial beside the untuned ones."""
    names = list(dict.fromkeys(setting for one in outcome.variants for setting in one.space))
    rows = [
        {"Setting": name.removeprefix("training.")}
        | {f"{one.name}, best (untuned)": _setting(one, name) for one in outcome.variants}
        for name in names
    ]
    return make_table("settings", "The settings of the best trials, as far as they were searched.", rows)


def trial_table(one: VariantOutcome, metric: str) -> Table:
    """Returns a table of every trial of a variant."""
    scale, rows = Scale.of(metric), []
    for trial in one.trials:
        facts, settings = trial.user_attrs, one.settings(trial)
        rows.append(
            {
                "Trial": str(facts[INDEX]),
                "outcome": facts[OUTCOME],
                scale.heading(metric): scale.value(_value(trial)),
                "of each run": ", ".join(map(scale.value, facts[VALUES])) or MISSING,
                **{
                    name.removeprefix("training."): show(settings[name]) if name in settings else MISSING
                    for name in one.space
                },
                "MLflow runs": ", ".join(run[:8] for run in facts[RUNS]) or MISSING,
            }
        )
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
    """Returns the report as a page."""
    link = Markup('<a href="{0}">{1}</a>').format
    data = Markup("The study with these settings: {}. The same as data: {}.").format(
        link(f"../{TUNED_FILE}", TUNED_FILE), link("report.json", "report.json")
    )
    sections = [
        Section("Results", [result_table(outcome), settings_table(outcome), data]),
        Section("Design", [design_facts(outcome)]),
    ]
    for index, one in enumerate(outcome.variants):
        best, reason = one.best, why_not(one)
        parts: list[Part] = [Figures(plots_of(one, outcome.metric, f"v{index}"), light=True)]
        if reason is not None:
            parts.insert(0, f"No importance of settings is given: {reason}.")
        if best is not None:
            parts.insert(0, f"Best: trial {best.user_attrs[INDEX]}; MLflow runs {', '.join(best.user_attrs[RUNS])}.")
        sections.append(
            Section(one.name, [*parts, Folded(f"Every trial of {one.name}", trial_table(one, outcome.metric))])
        )
    study = outcome.content["study"]
    return render_page(
        f"{study}: tuning report",
        f"Tuning of study {study}",
        f"Which settings are best for each variant of {study}?",
        headline(outcome),
        sections,
        outcome.warnings(),
    )


def design_facts(outcome: Outcome) -> list[tuple[str, str]]:
    """Returns the space, the sampler and the pruner, as (term, description)."""
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
    best, default = one.settings(one.best), one.defaults.get(name)
    return f"{show(best[name]) if name in best else MISSING} ({MISSING if default is None else show(default)})"
