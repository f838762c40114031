"""One variant of a study by itself, at given settings: what a trial trains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from lrlora.studies.errors import StudyError, unknown_key
from lrlora.studies.methods import METHODS
from lrlora.studies.search.space import Dimension, Settings, Space, default_space, is_number
from lrlora.studies.spec.axes import settings_of
from lrlora.studies.spec.cells import Cell, Variant, expand_cells, expand_variants
from lrlora.studies.spec.study import Study, Training
from lrlora.studies.spec.tuning import tuning_variant
from lrlora.studies.stats.source import flatten

THREADS = 1
"""Of PyTorch in the process that trains a cell."""


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

    @cached_property
    def defaults(self) -> Settings:
        """The settings of the untuned variant."""
        return settings_at(self.default)

    def variant(self, settings: Settings) -> Variant:
        """Returns the variant at other settings.

        Raises:
            StudyError, UnknownNameError: The method refuses them.
        """
        (variant,) = expand_variants(self._at(settings))
        return variant

    def cells(self, settings: Settings, label: str = "") -> list[Cell]:
        """Returns the runs of a trial: every seed on every backbone and task.

        Args:
            settings: Override those of the variant.
            label: Appended to the variant's name in progress bars and records.
        """
        found = expand_cells(self._at(settings), THREADS)
        return [replace(cell, variant=replace(cell.variant, name=self.name + label)) for cell in found]

    def refusal(self, settings: Settings) -> str | None:
        """Returns the reason why the method refuses settings, or None."""
        try:
            self.variant(settings)
        except ValueError as error:
            return str(error)
        return None

    def _at(self, settings: Settings) -> Study:
        return self.study.model_copy(update={"tuned": {self.name: settings}})


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
    where, declared = f"study {study.name}: space of {name}", space is not None
    variant = next(one for one in expand_variants(study) if one.name == name)
    kept = {"baselines" if variant.baseline else "variants": {name: tuning_variant(variant, training)}}
    place = study.model_dump(include={"name", "task", "backbone", "metric"})
    alone = Study.from_dict(place | {"base": {}, "seeds": seeds} | kept, where=where)
    subject = Subject(alone, expand_variants(alone)[0], {})
    method, held = variant.config["method"], _held(study, name, declared)
    taken: Space = {}
    for setting, dimension in (space if space is not None else default_space(method)).items():
        if setting in held and declared:
            raise StudyError(f"{where}: {setting} is what sets this variant apart from others, and cannot be tuned")
        methods = dimension.when.get("method", method)
        applies = method in (methods if isinstance(methods, list) else [methods])
        if setting not in held and applies and _has(variant, setting):
            taken[setting] = dimension
    fitting = {setting: _fit(subject, setting, taken, where, declared) for setting in taken}
    fitted = {setting: dimension for setting, dimension in fitting.items() if dimension is not None}
    if not fitted:
        reason = f"since the study itself sets {', '.join(sorted(held))}"
        reason = f"of what is searched, the method {method} has none" if declared else reason
        raise StudyError(f"{where}: nothing is left to tune; {reason}")
    return replace(subject, space=fitted)


def check_settings(variants: list[Variant], space: Space) -> None:
    """Check that every setting of a declared space is one of at least one variant.

    Raises:
        StudyError: One is of none; with the nearest known one.
    """
    known = {key for variant in variants for key in [*settings_at(variant), *_fields(variant)]}

    def check(setting: str, where: str) -> None:
        if not any(_has(variant, setting) for variant in variants):
            raise unknown_key(setting, known, where)

    for setting, dimension in space.items():
        check(setting, "space")
        for condition in dimension.when.keys() - space.keys() - {"method"}:
            check(condition, f"space: {setting}: when")


def settings_at(variant: Variant) -> Settings:
    """Returns all settings of a variant, flat, by the names that a space uses."""
    whole = variant.config | {f"training.{key}": value for key, value in variant.training.resolved().items()}
    return whole | flatten(whole)


def _held(study: Study, name: str, declared: bool) -> set[str]:
    """Returns the settings that define the variant and are not tuned: those of the axes, and its own but for training.

    A baseline's own settings are tuned only if a declared space names them.
    """
    axes = {setting for axis in study.axes for setting in settings_of(axis)}
    own = study.variants.get(name, {})
    if name in study.baselines:
        axes, own = set(), {} if declared else study.baselines[name]
    return axes | {key for key in own if key.split(".")[0] not in ("training", "method")}


def _has(variant: Variant, setting: str) -> bool:
    """Returns whether a setting is one of a variant's method, or of its training."""
    head, _, rest = setting.partition(".")
    if head == "training":
        return rest in Training.model_fields and rest != "test_examples"
    return head in _fields(variant) and head != "method"


def _fields(variant: Variant) -> list[str]:
    known = getattr(METHODS.get(variant.config["method"]), "fields", None)
    return list(known()) if known is not None else list(variant.config)


def _fit(subject: Subject, setting: str, taken: Space, where: str, declared: bool) -> Dimension | None:
    """Returns the dimension with the values that are valid for the method; of a declared one all must be.

    A value is valid if it is with the untuned variant or with some value of another setting.
    """
    dimension, default = taken[setting], subject.defaults.get(setting)
    if not dimension.values and default is not None and not is_number(default):
        if not declared:
            return None
        raise StudyError(f"{where}: {setting}: is {default!r} in the study, so low and high mean nothing; give values")
    others: list[Settings] = [{}]
    for name, other in taken.items():
        others += [{name: value} for value in other.probes(subject.defaults.get(name)) if name != setting]
    probes, found = dimension.probes(default), []
    for value in probes:
        if any(subject.refusal({setting: value, **other}) is None for other in others):
            found.append(value)
        elif declared:
            raise StudyError(f"{where}: {setting}: {value!r} cannot be: {subject.refusal({setting: value})}")
    if dimension.values:
        return dimension.model_copy(update={"values": found}) if found else None
    return dimension if found == probes else None
