"""The variants and the cells of a declared study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lrlora.studies.errors import StudyError, unknown_key
from lrlora.studies.spec.axes import expand_axes, settings_of
from lrlora.studies.spec.claims import matching, pairs
from lrlora.studies.spec.fingerprints import Fingerprints
from lrlora.studies.spec.identity import Parts, hash_parts, hash_settings, parts_of
from lrlora.studies.spec.resolved_settings import resolve_settings
from lrlora.studies.spec.schema import validate
from lrlora.studies.spec.study import Study, TaskChoice, Training


@dataclass(frozen=True)
class Variant:
    """What a study compares: the configuration of a method, defaults included, and its training."""

    name: str
    config: dict[str, Any]
    training: Training
    axes: dict[str, Any] = field(default_factory=dict)
    baseline: bool = False
    given: dict[str, Any] = field(default_factory=dict)
    """The configuration as declared: defaults that depend on other settings are not in it yet."""

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits of the settings."""
        return hash_settings({"config": self.config, "training": self.training.resolved()})


@dataclass(frozen=True)
class Cell:
    """One run: a variant at a seed, on a task and a backbone. Its id is a hash of its content."""

    study: str
    variant: Variant
    seed: int
    task: dict[str, Any]
    backbone: str
    place: str = ""
    """Task and backbone for labels, if the study has several."""

    threads: int | None = None
    """PyTorch's threads in the process that runs it; None: as many as in this one."""
    device: str | None = None
    """The device that it runs on, ``"cpu"`` or ``"cuda"``; None: ``"cuda"`` if this process can use a GPU."""
    content: Fingerprints = field(default_factory=Fingerprints, repr=False, compare=False)
    """Hashes data and weights, once for all cells of an expansion."""

    @cached_property
    def parts(self) -> Parts:
        """The parts that the numbers depend on, by name; see :mod:`lrlora.studies.spec.identity`.

        They are found when they are first asked for, and go along where the cell is sent to another process.
        """
        return parts_of(self._settings, self.threads, self.content, self.device)

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that change with everything that changes the numbers, and with nothing else.

        The names of the study and of the variant are not part of it.
        """
        return hash_parts(self.parts)

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits of the settings alone, by which earlier versions of a cell are found."""
        return hash_settings(self._settings)

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "backbone": self.backbone,
            "config": self.variant.config,
            "training": self.variant.training.resolved(),
            "seed": self.seed,
        }

    @property
    def label(self) -> str:
        """The name of the cell in progress bars and lists."""
        place = f" on {self.place}" if self.place else ""
        return f"{self.variant.name}{place} seed {self.seed}"


def expand_variants(study: Study) -> list[Variant]:
    """Returns all variants of a study, baselines last.

    Raises:
        StudyError: Two variants have one name or one configuration, the reference is none of them, or the base sets
            what an axis varies.
    """
    for name, axis in study.axes.items():
        for setting in settings_of(name):
            if setting in study.base and not axis.when:
                raise StudyError(
                    f"study {study.name}: base.{setting} has no effect, since {setting} is an axis; "
                    f"set axes.{name}=[...] instead"
                )
    variants: list[Variant] = []
    zipped = {follower for name in study.axes for follower in settings_of(name)[1:]}
    for axes in expand_axes(study.axes, study.base):
        named = {setting: value for setting, value in axes.items() if setting not in zipped}
        name = name_of_settings(named) or str(study.base.get("method", "base"))
        variants.append(_variant(study, name, study.base, axes, axes=axes))
    for name, changes in study.variants.items():
        variants.append(_variant(study, name, study.base, changes))
    if not variants and study.base and not study.baselines:
        variants.append(_variant(study, str(study.base.get("method", "base")), study.base, {}))
    variants += [_variant(study, name, {}, changes, baseline=True) for name, changes in study.baselines.items()]
    _check_distinct(study, variants)
    return variants


def expand_cells(study: Study, threads: int | None = None, device: str | None = None) -> list[Cell]:
    """Returns all cells of a resolved study, seed by seed, so that an interrupted study holds whole comparisons.

    Within a seed they are in the order of backbones, and then of tasks.

    Args:
        study: Resolved.
        threads: PyTorch's threads in the processes that run them; None: as many as in this one.
        device: The device that they run on, as in :class:`Cell`.

    Raises:
        StudyError: As :func:`expand_variants`.
    """
    variants, content = expand_variants(study), Fingerprints()
    return [
        Cell(
            study.name,
            variant,
            seed,
            task.model_dump(mode="json"),
            backbone,
            _place(study, task, backbone),
            threads,
            device,
            content,
        )
        for seed in study.seeds
        for backbone in study.backbones
        for task in study.tasks
        for variant in variants
    ]


def expand_comparisons(study: Study, names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the pairs of variants that a study tests: those it names, or every variant against the reference.

    Args:
        study: Resolved.
        names: Of its variants. What names none of them, since this run leaves it out, is left out as well.
    """
    declared = [(one.of, one.against) for one in study.comparisons]
    if not declared and study.reference is not None:
        declared = [("*", study.reference)]
    found = {(of, against): None for one in declared for _, of, against in pairs(*one, names)}
    return list(found)


def check_comparisons(study: Study, names: Sequence[str]) -> None:
    """Checks that every comparison and claim names variants.

    Raises:
        StudyError: One does not; with the nearest that does.
    """

    def unknown(name: str, place: str) -> StudyError:
        message = str(unknown_key(name, names, f"study {study.name}: {place}"))
        return StudyError(message.replace("unknown key", "unknown variant", 1))

    for weighed in [name for claim in study.claims for name in claim.weights]:
        if weighed not in names:
            raise unknown(weighed, "claims")
    declared = [(one.of, one.against, pairs(one.of, one.against, names), "comparisons") for one in study.comparisons]
    for claim in study.claims:
        if claim.of:
            against = claim.against or study.reference or ""
            declared.append((claim.of, against, claim.pairs(names, study.reference), "claims"))
    for of, against, found, place in declared:
        if found:
            continue
        for pattern in (of, against):
            if not matching(pattern, names):
                raise unknown(pattern, place)
        raise StudyError(f"study {study.name}: {place}: no variant fits both {of!r} and {against!r}")


def _place(study: Study, task: TaskChoice, backbone: str) -> str:
    several = [(task.label, len(study.tasks) > 1), (backbone, len(study.backbones) > 1)]
    return ", ".join(name for name, is_one_of_several in several if is_one_of_several)


def _variant(
    study: Study,
    name: str,
    base: Mapping[str, Any],
    changes: Mapping[str, Any],
    axes: dict[str, Any] | None = None,
    baseline: bool = False,
) -> Variant:
    where = f"study {study.name}: {'baseline' if baseline else 'variant'} {name}"
    changes = {**changes, **study.tuned.get(name, {})}
    config: dict[str, Any] = {}
    training: dict[str, Any] = {}
    for key, value in [*base.items(), *changes.items()]:
        if key == "training":
            if not isinstance(value, Mapping):
                raise StudyError(f"{where}: training holds keys and values, not {value!r}")
            training |= value
        elif key.startswith("training."):
            training[key.removeprefix("training.")] = value
        else:
            _set(config, key, value, where)
    for key in training:
        if key not in Training.model_fields:
            raise unknown_key(key, Training.model_fields, f"{where}: training")
    if not isinstance(config.get("method"), str):
        raise StudyError(f"{where}: says no method; add for example 'method: lora'")
    checked = validate(Training, study.training.model_dump() | training, f"{where}: training")
    _check_plain(config, where)
    return Variant(name, resolve_settings(config, where), checked, axes or {}, baseline, config)


def _set(config: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Sets a setting; a dotted name, such as ``basis_kwargs.degree``, is set within another."""
    *parents, last = key.split(".")
    for parent in parents:
        inner = config.get(parent) or {}
        if not isinstance(inner, Mapping):
            raise StudyError(f"{where}: {key} cannot be set, since {parent} is {inner!r}")
        config[parent] = dict(inner)  # what came from the base stays as it is
        config = config[parent]
    config[last] = value


def _check_plain(config: dict[str, Any], where: str) -> None:
    for key, value in config.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise StudyError(
                f"{where}: {key}: names, finite numbers, and lists of them are wanted (given: {str(value)[:60]})"
            ) from None


def name_of_settings(axes: Mapping[str, Any]) -> str:
    """Returns the name of a variant: ``sinc`` if the one axis has names as values, else ``r=4,basis=sinc``."""
    if len(axes) == 1:
        ((axis, value),) = axes.items()
        return value if isinstance(value, str) else f"{axis.removeprefix('training.')}={_show(value)}"
    return ",".join(f"{axis.removeprefix('training.')}={_show(value)}" for axis, value in axes.items())


def _show(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _check_distinct(study: Study, variants: list[Variant]) -> None:
    if not variants:
        raise StudyError(f"study {study.name}: has no variants; give it axes, variants or baselines")
    names: set[str] = set()
    owner: dict[str, str] = {}
    for variant in variants:
        if variant.name in names:
            raise StudyError(f"study {study.name}: two variants are called {variant.name!r}; rename one")
        names.add(variant.name)
        same = owner.setdefault(variant.key, variant.name)
        if same != variant.name:
            raise StudyError(f"study {study.name}: variants {same!r} and {variant.name!r} are the same configuration")
    reference = study.reference
    if reference is not None and reference not in names:
        message = str(unknown_key(reference, names, f"study {study.name}: reference"))
        raise StudyError(message.replace("unknown key", "unknown variant", 1))
