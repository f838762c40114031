"""One variant of a study by itself, at given settings: what a trial trains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lrlora.studies.errors import StudyError, unknown_key
from lrlora.studies.methods import METHODS
from lrlora.studies.search.space import Dimension, Settings, Space, default_space, is_whole
from lrlora.studies.spec.axes import settings_of
from lrlora.studies.spec.cells import Cell, Variant, expand_cells, expand_variants
from lrlora.studies.spec.schema import validate
from lrlora.studies.spec.study import Study, Training


@dataclass(frozen=True)
class Subject:
    """A variant that is tuned.

    Attributes:
        study: The study with this variant alone, on the tuning stage's seeds, without a test split.
        default: The variant as the study has it.
        space: What is searched for it.
    """

    study: Study
    default: Variant
    space: Space

    @property
    def name(self) -> str:
        """The variant's name in the study."""
        return self.default.name

    def default_of(self, setting: str) -> Any:
        """The untuned variant's value of a setting; None if it has none."""
        return settings_at(self.default).get(setting)

    def variant(self, settings: Settings) -> Variant:
        """The variant at other settings.

        Raises:
            StudyError, UnknownNameError: The method refuses them.
        """
        return alone(self.study, self.name, settings)

    def cells(self, settings: Settings, label: str = "") -> list[Cell]:
        """The runs of a trial: every seed on every backbone and task.

        Args:
            settings: Override those of the variant.
            label: Appended to the variant's name in progress bars and records.
        """
        found = expand_cells(self.study.model_copy(update={"tuned": {self.name: settings}}))
        return [replace(cell, variant=replace(cell.variant, name=self.name + label)) for cell in found]


def make_subject(study: Study, name: str, space: Space | None, seeds: list[int], training: Settings) -> Subject:
    """Make the subject of a search from a variant of a study.

    Args:
        study: Resolved and untuned.
        name: The variant's.
        space: The declared space, or None for the method's own. Settings that the method does not have are left out.
        seeds: Of the tuning.
        training: Overrides the training of every variant, for all trials.

    Raises:
        StudyError: Nothing is left to tune, a setting is an axis of the study, or a value of the space is not valid.
    """
    where = f"study {study.name}: space of {name}"
    single = _single(study, name)
    # A variant's own training wins over the study's, and so does what holds for all trials.
    found = alone(single, name)
    fixed = found.training.resolved() | training
    tuned = single.model_copy(update={"seeds": seeds, "training": validate(Training, fixed, where)})
    tuned = _without_training(tuned, name)
    default = alone(tuned, name)
    declared = space is not None
    held = _held(study, name, declared)
    taken: Space = {}
    for setting, dimension in (space if space is not None else default_space(default.config["method"])).items():
        if setting in held and declared:
            raise StudyError(f"{where}: {setting} is what sets this variant apart from others, and cannot be tuned")
        if setting not in held and _has(default, setting) and _could_apply(dimension, default):
            taken[setting] = dimension
    subject = Subject(tuned, default, {})
    kept: Space = {}
    for setting, dimension in taken.items():
        fitted = _checked(subject, setting, dimension, taken, where, declared)
        if fitted is not None:
            kept[setting] = fitted
    if not kept:
        raise StudyError(
            f"{where}: nothing is left to tune; of what is searched, the method {default.config['method']} has none"
            if declared
            else f"{where}: nothing is left to tune, since the study itself sets {', '.join(sorted(held))}"
        )
    return Subject(tuned, default, kept)


def check_settings(subjects_of: list[Variant], space: Space) -> None:
    """Check that every setting of a declared space is one of at least one variant.

    Raises:
        StudyError: One is of none; with the nearest known one.
    """
    known = {key for variant in subjects_of for key in settings_at(variant)}
    known |= {field for variant in subjects_of for field in _fields(variant)}
    for setting in space:
        if not any(_has(variant, setting) for variant in subjects_of):
            raise unknown_key(setting, known, "space")
        for condition in space[setting].when:
            if condition not in space and not any(_has(variant, condition) for variant in subjects_of):
                raise unknown_key(condition, known, f"space: {setting}: when")


def alone(study: Study, name: str, settings: Settings | None = None) -> Variant:
    """The variant of a study that has one only, at settings."""
    tuned = {name: settings} if settings else {}
    (variant,) = expand_variants(study.model_copy(update={"tuned": tuned}))
    return variant


def settings_at(variant: Variant) -> Settings:
    """All settings of a variant, flat, by the names that a space uses."""
    flat: Settings = {}

    def flatten(prefix: str, given: dict[str, Any]) -> None:
        for key, value in given.items():
            flat[prefix + key] = value
            if isinstance(value, dict):
                flatten(f"{prefix}{key}.", value)

    flatten("", variant.config)
    flatten("training.", variant.training.resolved())
    return flat


def _single(study: Study, name: str) -> Study:
    """The study with one of its variants, under the same name."""
    of_axes = {variant.name: variant.axes for variant in expand_variants(study) if variant.axes}
    changes: dict[str, Any] = {"axes": {}, "variants": {}, "baselines": {}, "reference": None, "tune": None}
    changes |= {"comparisons": [], "claims": []}
    if name in study.baselines:
        changes["baselines"] = {name: study.baselines[name]}
    elif name in study.variants:
        changes["variants"] = {name: study.variants[name]}
    else:
        changes["variants"] = {name: of_axes.get(name, {})}
    return study.model_copy(update=changes)


def _without_training(study: Study, name: str) -> Study:
    """The study with the training of its one variant moved to the study."""

    def stripped(given: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in given.items() if key.split(".")[0] != "training"}

    return study.model_copy(
        update={
            "base": stripped(study.base),
            "variants": {key: stripped(value) for key, value in study.variants.items()},
            "baselines": {key: stripped(value) for key, value in study.baselines.items()},
        }
    )


def _held(study: Study, name: str, declared: bool) -> set[str]:
    """The settings that define the variant and are not tuned: those of the axes, and its own except for training.

    A baseline's own settings are tuned only if a declared space names them.
    """
    axes = {setting for axis in study.axes for setting in settings_of(axis)}
    own = study.variants.get(name, {})
    if name in study.baselines:
        axes, own = set(), {} if declared else study.baselines[name]
    return axes | {key for key in own if key.split(".")[0] not in ("training", "method")}


def _has(variant: Variant, setting: str) -> bool:
    """Whether a setting is one of a variant's method, or of its training."""
    head, _, rest = setting.partition(".")
    if head == "training":
        return rest in Training.model_fields and rest != "test_examples"
    return head in _fields(variant) and head != "method"


def _fields(variant: Variant) -> list[str]:
    known = getattr(METHODS.get(variant.config["method"]), "fields", None)
    return list(known()) if known is not None else list(variant.config)


def _could_apply(dimension: Dimension, variant: Variant) -> bool:
    """Whether a condition on the method, as in ``when: {method: lrlora}``, allows the dimension for the variant."""
    wanted = dimension.when.get("method", variant.config["method"])
    return variant.config["method"] in (wanted if isinstance(wanted, list) else [wanted])


def _checked(
    subject: Subject, setting: str, dimension: Dimension, taken: Space, where: str, declared: bool
) -> Dimension | None:
    """The dimension with the values that are valid for the method; of a declared one all must be.

    A value is valid if it is with the untuned variant or with some value of another setting.
    """
    default = subject.default_of(setting)
    number = isinstance(default, (int, float)) and not isinstance(default, bool)
    if dimension.values is None and default is not None and not number:
        if not declared:
            return None
        raise StudyError(f"{where}: {setting}: is {default!r} in the study, so low and high mean nothing; give values")
    others = [(name, value) for name, other in taken.items() if name != setting for value in other.probes()]
    found: list[Any] = []
    for value in dimension.probes():
        reasons = (_refusal(subject, {setting: value, **together}) for together in ({}, *({k: v} for k, v in others)))
        first = next(reasons)
        if first is None or any(reason is None for reason in reasons):
            found.append(value)
        elif declared:
            raise StudyError(f"{where}: {setting}: {value!r} cannot be: {first}")
    if dimension.values is None:
        return dimension if len(found) == 2 else None
    return dimension.model_copy(update={"values": found}) if found else None


def _refusal(subject: Subject, settings: Settings) -> str | None:
    """The reason why the variant refuses settings, or None."""
    whole = {
        key: int(value)
        for key, value in settings.items()
        if isinstance(value, float) and value.is_integer() and is_whole(subject.default_of(key))
    }
    try:
        subject.variant(settings | whole)
    except ValueError as error:
        return str(error)
    return None
