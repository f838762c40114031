"""The declaration of a search: a study, the variants that are tuned, their spaces, and the budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrlora.studies.errors import StudyError, unknown_key
from lrlora.studies.execution.checks import check_design
from lrlora.studies.execution.folder import write_whole
from lrlora.studies.search.pruning import choose_pruner, validation_interval
from lrlora.studies.search.space import Space
from lrlora.studies.search.subject import Subject, check_settings, make_subject
from lrlora.studies.spec.cells import expand_variants
from lrlora.studies.spec.study import Study, is_catalog_name
from lrlora.studies.spec.tuning import check_tuning_seeds, untuned
from lrlora.studies.stats.source import flatten

TUNE_FILE = "tune.json"
TRIALS = 20
SEEDS = [7, 8]
ALL = "all"


@dataclass(frozen=True)
class Tune:
    """A search over the settings of some variants of a study, each with the same trials, seeds and steps.

    Attributes:
        study: Resolved and untuned.
        source: The study's name in the catalogue, or the absolute path of its file.
        budget: What it was resolved for.
        overrides: The overrides of the study, by dotted key.
        subjects: The variants that are tuned now.
        trials: For each of them.
        pruner: Name of the pruner.
    """

    study: Study
    source: str
    budget: str
    overrides: dict[str, Any]
    subjects: list[Subject]
    trials: int
    pruner: str

    @property
    def name(self) -> str:
        """The name of the search in MLflow."""
        return f"{self.study.name}-tune"

    @property
    def runs_per_trial(self) -> int:
        """Seeds times backbones times tasks."""
        return len(self.subjects[0].cells({}))

    def content(self) -> dict[str, Any]:
        """Returns the declaration as plain data; it identifies a folder."""
        first = self.subjects[0]
        return {
            "study": self.study.name,
            "source": self.source,
            "budget": self.budget,
            "overrides": self.overrides,
            "tasks": [task.model_dump(mode="json") for task in self.study.tasks],
            "backbones": self.study.backbones,
            "pruner": self.pruner,
            "metric": self.study.metric.model_dump(),
            "seeds": first.study.seeds,
            "steps": first.default.training.steps,
            "runs_per_trial": self.runs_per_trial,
            "variants": {
                subject.name: {
                    "method": subject.default.config["method"],
                    "config": subject.default.config,
                    "training": subject.default.training.resolved(),
                    "space": {key: value.model_dump(exclude_defaults=True) for key, value in subject.space.items()},
                    "default": {key: subject.defaults.get(key) for key in subject.space},
                }
                for subject in self.subjects
            },
        }


def declare(
    source: str,
    variants: Sequence[str],
    budget: str = "quick",
    overrides: Sequence[str] = (),
    space: Space | None = None,
    trials: int = TRIALS,
    pruner: str | None = None,
) -> Tune:
    """Declare a search and check it, without reading data or weights and without writing.

    Args:
        source: A catalogue name, or the path of a study's file.
        variants: Names of its variants and baselines; ``all`` for every one.
        budget: One of the study's.
        overrides: ``"a.b=c"`` lines for the study. ``tune.seeds`` and ``tune.steps`` are the search's own.
        space: The space; None for each method's own.
        trials: For each variant.
        pruner: ``wilcoxon``, ``hyperband`` or ``none``; None chooses by the number of runs in a trial.

    Raises:
        ValueError: The first error, in one line.
    """
    if trials < 1:
        raise StudyError(f"--trials {trials}: at least 1, which is the untuned variant")
    loaded = Study.load(source, overrides)
    study = untuned(loaded.resolve(budget))
    check_design(study)
    everything = expand_variants(study)
    names = [variant.name for variant in everything]
    chosen = names if ALL in variants and ALL not in names else list(dict.fromkeys(variants))
    for name in chosen:
        if name not in names:
            message = str(unknown_key(name, [*names, ALL], f"study {study.name}: --variant"))
            raise StudyError(message.replace("unknown key", "unknown variant", 1))
    if space is not None:
        check_settings([variant for variant in everything if variant.name in chosen], space)
    seeds = _seeds(loaded, study, budget)
    check_tuning_seeds(study, seeds)
    if not seeds:
        raise StudyError(f"study {study.name}: uses the seeds {SEEDS} itself; give others: --set tune.seeds=[…]")
    runs = len(seeds) * len(study.backbones) * len(study.tasks)
    named = pruner if pruner is not None else choose_pruner(runs)
    training = {"steps": study.tune.steps} if study.tune is not None and study.tune.steps is not None else {}
    steps = training.get("steps", study.training.steps)
    training["eval_every"] = validation_interval(named, steps, study.training.eval_every)
    subjects = [make_subject(study, name, space, seeds, training) for name in chosen]
    place = source if is_catalog_name(source) else str(Path(source).resolve())
    return Tune(study, place, budget, dict(loaded._overrides), subjects, trials, named)


def _seeds(loaded: Study, resolved: Study, budget: str) -> list[int]:
    """Returns the seeds that the study, or its budget, has for tuning; else two that are none of the study's."""
    own = loaded.tune is not None and "seeds" in loaded.tune.model_fields_set
    if resolved.tune is not None and (own or "seeds" in (loaded.budgets[budget].get("tune") or {})):
        return resolved.tune.seeds
    return [seed for seed in SEEDS if seed not in resolved.seeds]


def read_tune_file(out: Path) -> dict[str, Any] | None:
    """Returns the content of tune.json, or None if there is none.

    Raises:
        StudyError: It is not readable.
    """
    path = out / TUNE_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: cannot be read: {error}") from None
    return dict(found)


def check_tune_folder(out: Path, tune: Tune) -> dict[str, Any]:
    """Check that a folder is free for a search, or holds the same one with maybe other trials and variants.

    Returns:
        The declaration that the folder is to hold, with the variants of earlier commands.

    Raises:
        StudyError: The folder holds something else; with the first thing that differs.
    """
    if out.exists() and not out.is_dir():
        raise StudyError(f"--out {out}: is a file")
    here: dict[str, Any] = json.loads(json.dumps(tune.content()))
    there = read_tune_file(out)
    if there is None:
        if any((out / name).exists() for name in ("mlflow.db", "optuna.db", "study.json")):
            raise StudyError(f"--out {out}: holds the record of something else; give another folder")
        return here
    if difference := _difference(there, here):
        raise StudyError(f"--out {out}: holds another search: {difference}; give another folder")
    return here | {"variants": there["variants"] | here["variants"]}


def _difference(there: dict[str, Any], here: dict[str, Any]) -> str | None:
    """Returns the first difference that another command in the folder may not make; it may add variants and trials."""
    variants = there["variants"].keys() & here["variants"].keys()

    def binding(content: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in content.items() if key not in ("source", "overrides")}
        return flatten(kept | {"variants": {name: content["variants"][name] for name in variants}})

    old, new = binding(there), binding(here)
    changed = (key for key in {**new, **old} if old.get(key) != new.get(key))
    return next((f"{key} is {old.get(key)!r} there and {new.get(key)!r} here" for key in changed), None)


def write_tune_file(out: Path, content: dict[str, Any]) -> None:
    """Write tune.json, whole or not at all."""
    write_whole(out / TUNE_FILE, content)
