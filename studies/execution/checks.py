"""Checks before a study writes anything: of names, settings, data and backbones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lrlora.studies.errors import StudyError, library_errors, unknown_key
from lrlora.studies.execution.folder import check_stores
from lrlora.studies.kinds import Kind, kind_class
from lrlora.studies.methods import make_method
from lrlora.studies.models.backbones import check_backbone, locate, prepare_backbone
from lrlora.studies.record.results import is_recorded, read_study_file, why_not_resumed
from lrlora.studies.spec.cells import Variant, check_comparisons, expand_variants
from lrlora.studies.spec.one_file import check_one_file
from lrlora.studies.spec.study import Study
from lrlora.studies.tasks import make_task
from lrlora.studies.training.encoding import kind_for
from lrlora.studies.training.numerics import check_numerics

if TYPE_CHECKING:
    from torch import nn


def check_design(study: Study) -> list[Variant]:
    """See that every name and setting of a resolved study exists, without touching data, network or model.

    Raises:
        ValueError: The first thing that is wrong, in one line (StudyError, UnknownNameError).
        ImportError: A plugin that is named does not import.
    """
    variants = expand_variants(study)
    if not study.redesigned:
        check_comparisons(study, [variant.name for variant in variants])
    for task in study.tasks:
        _check_metric(study, kind_class(make_task(task.name, task.options)), task.label)
    for backbone in study.backbones:
        locate(backbone)
    return variants


def check_inputs(study: Study, announce: Callable[[str], None]) -> None:
    """See that data and backbone are there and whole, and fit each other; get what is missing, if that is known.

    Raises:
        StudyError: What is missing, and the command that gets it; or what does not fit.
    """
    variants = expand_variants(study)
    for backbone in study.backbones:
        prepare_backbone(backbone, announce)
        check_backbone(backbone)
    for task in study.tasks:
        make_task(task.name, task.options).prepare(announce)
        for backbone in study.backbones:
            kind = kind_for(task.model_dump(mode="json"), backbone)
            _check_metric(study, kind, f"{task.label} with {backbone}")
            for variant in variants:
                _check_modules(variant, study.name, kind)


def with_tuned(study: Study, out: Path) -> Study:
    """The study with what its tuning stage chose, where that has been run into ``out``."""
    saved = read_study_file(out) if study.tune is not None and not study.tuned else None
    chosen = (saved or {}).get("study", {}).get("tuned") or {}
    return study.model_copy(update={"tuned": chosen}) if chosen else study


def check_folder(out: Path, study: Study) -> Study:
    """See that a folder holds nothing yet, or the same study with other seeds or further variants.

    A declaration without a record was written by a command that ended within its first seconds, and binds nobody.

    Returns:
        The study, with the seeds that were run there before among its own, so that nothing drops out of its record.

    Raises:
        StudyError: The folder holds something else.
    """
    check_stores(out)
    saved = read_study_file(out)
    if saved is None or not is_recorded(out):
        return study
    if reason := why_not_resumed(out, saved):
        raise StudyError(f"--out {reason}")
    try:
        other = Study.from_dict(saved["study"], where=str(out))
    except (StudyError, KeyError) as error:
        raise StudyError(f"--out {out}: holds a study that this version cannot read ({error})") from None
    difference = _difference(other, study)
    if difference is not None:
        raise StudyError(f"--out {out}: holds another study: {difference}; give another folder")
    check_one_file(saved, other, study, f"--out {out}")
    seeds = [*other.seeds, *(seed for seed in study.seeds if seed not in other.seeds)]
    return study.with_seeds(seeds)


def _check_metric(study: Study, kind: Kind | type[Kind], place: str) -> None:
    """Check that the task has the metric of the study, and that the direction is right."""
    metric, known, where = study.metric, kind.metrics, f"study {study.name}: metric"
    if metric.name not in known:
        message = str(unknown_key(metric.name, known, f"{where} on {place}"))
        raise StudyError(message.replace("unknown key", "unknown metric", 1))
    if metric.direction != known[metric.name]:
        better = known[metric.name]
        side = "higher" if better == "maximize" else "lower"
        raise StudyError(f"{where}: a {side} {metric.name} is better; set metric.direction={better}")


def _check_modules(variant: Variant, study: str, kind: Kind) -> None:
    """Put the adapter into a model without weights, where a module that the model does not have is found at once."""
    where = f"study {study}: {variant.name}"
    method = make_method(variant.config, where)
    model = kind.empty()
    check_module_names(variant.config.get("target_modules"), model, where)
    check_numerics(variant.training, variant.config["method"], kind, model, where)
    if (problem := kind.problem_with(variant.training.model_dump())) is not None:
        raise StudyError(f"{where}: {problem}")
    with library_errors(where):
        method.adapt(model, kind.task_type)
    if variant.training.start == "svd":
        from lrlora.studies.training.starts import check_svd_start

        check_svd_start(kind, variant.config, where)


def check_module_names(targets: object, model: nn.Module, where: str) -> None:
    """See that each of a list of module names occurs in a model; other forms of ``target_modules`` are PEFT's.

    Raises:
        StudyError: One does not; with the nearest name that does.
    """
    if not isinstance(targets, list):
        return
    names = [name for name, _ in model.named_modules() if name]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            endings = {name.rpartition(".")[2] for name in names if not name.rpartition(".")[2].isdigit()}
            message = str(unknown_key(str(target), endings, f"{where}: target_modules"))
            raise StudyError(message.replace("unknown key", "the model has no module", 1))


def _difference(there: Study, here: Study) -> str | None:
    """The first thing by which two studies give one variant two meanings, or None."""
    if there.name != here.name:
        return f"its name is {there.name!r}, not {here.name!r}"
    for key in ("task", "backbone", "metric", "tune"):
        if getattr(there, key) != getattr(here, key):
            old, new = (getattr(study, key) for study in (there, here))
            return f"{key} is {_short(old)} there and {_short(new)} here"
    known = {variant.name: variant for variant in expand_variants(there)}
    for variant in expand_variants(here):
        other = known.get(variant.name)
        if other is not None and other.key != variant.key:
            before = other.config | {f"training.{key}": value for key, value in other.training.model_dump().items()}
            after = variant.config | {f"training.{key}": value for key, value in variant.training.model_dump().items()}
            key = next(key for key in [*after, *before] if before.get(key) != after.get(key))
            return f"{key} of {variant.name} is {before.get(key)!r} there and {after.get(key)!r} here"
    return None


def _short(value: object) -> str:
    dump = getattr(value, "model_dump", None)
    return repr(dump()) if dump is not None else repr(value)
