"""The record of one run: what it was, how it ended, what was measured, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lrlora.studies.errors import StudyError
from lrlora.studies.spec.cells import Cell

Figures = dict[str, float | None]
"""By name; None stands for a number that is not finite."""


class Provenance(BaseModel):
    """The code, packages, plugins and machine of a run.

    Attributes:
        commit: The commit of lrlora's repository; None if lrlora was installed from a wheel.
        dirty: Whether tracked files differed from the commit.
        python: The version of Python.
        versions: The versions of packages, lrlora's among them.
        plugins: The origin of each plugin: a file, or a package with its version.
        machine: Platform, processor, cores, threads, device.
        parts: The parts of the cell's identity, see :mod:`lrlora.studies.spec.identity`; hashes of plugins included.
    """

    model_config = ConfigDict(extra="forbid")

    commit: str | None = None
    dirty: bool | None = None
    python: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    plugins: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)
    parts: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, environment: Mapping[str, Any], parts: Mapping[str, str]) -> Self:
        """Returns the provenance of a run that is about to start.

        Args:
            environment: From :func:`lrlora.studies.record.environment.describe_environment`.
            parts: The parts of the cell's identity.
        """
        rest = {key: value for key, value in environment.items() if key not in ("git", "python", "packages", "plugins")}
        if "threads" in parts:
            rest["threads"] = int(parts["threads"])
        git = environment.get("git") or {}
        return cls(
            commit=git.get("commit"),
            dirty=git.get("dirty"),
            python=str(environment.get("python", "")),
            versions=environment.get("packages") or {},
            plugins=environment.get("plugins") or {},
            machine=rest,
            parts=dict(parts),
        )

    def as_environment(self) -> dict[str, Any]:
        """Returns the provenance in the form of ``describe_environment``."""
        found: dict[str, Any] = {"python": self.python, **self.machine, "packages": self.versions}
        found["git"] = {"commit": self.commit, "dirty": self.dirty}
        return found | ({"plugins": self.plugins} if self.plugins else {})


class RunRecord(BaseModel):
    """The record of one run of one cell.

    Attributes:
        cell: The id of the cell.
        task: Its name, or its name and options if it has any.
        status: ``finished``, ``diverged``, ``pruned`` or ``failed``.
        reason: The reason for which it did not finish.
        judged_on: The split of ``metrics``.
        chance: Accuracy of a classifier that knows the class frequencies alone.
        train_metrics: As ``metrics``, on training examples.
        predictions: The name of the file with the result of every test example; None if there is none.
        parameters: Numbers of scalars.
        step_seconds: Median duration of a step, in seconds.
        train_loss: One value for each step, as in ``learning_rate`` and ``grad_norm``.
        validation: The metrics of each validation, with its step.
        resumed_at: The steps after which the run was resumed.
        layers: Measures of the trained adapter, see :func:`lrlora.analysis.layer_report`.
        snapshots: Measures of the layers during the run.
        reused_from: The MLflow run that this record was taken from, if the cell was not run for this study.
        taken_from: The MLflow run, of another store, whose record was taken from a file.
        provenance: None in records of lrlora 0.1.0.
        left_out: Fields of a record of another version that this one does not know; not written.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")

    cell: str
    study: str
    variant: str
    axes: dict[str, Any] = Field(default_factory=dict)
    method: str
    seed: int
    task: str | dict[str, Any]
    backbone: str
    config: dict[str, Any]
    training: dict[str, Any]
    status: str = "failed"
    diverged_at: int | None = None
    divergence: dict[str, Any] | None = None
    reason: str | None = None
    judged_on: str = "test"
    chance: float | None = None
    metrics: Figures = Field(default_factory=dict)
    train_metrics: Figures = Field(default_factory=dict)
    predictions: str | None = None
    parameters: dict[str, int] = Field(default_factory=dict)
    step_seconds: float = 0.0
    peak_memory_bytes: int = 0
    peak_memory_source: str = ""
    train_loss: list[float | None] = Field(default_factory=list)
    learning_rate: list[float | None] = Field(default_factory=list)
    grad_norm: list[float | None] = Field(default_factory=list)
    validation: list[dict[str, Any]] = Field(default_factory=list)
    resumed_at: list[int] = Field(default_factory=list)
    examples_seen: int = 0
    tokens_seen: int = 0
    tokens_per_second: float | None = None
    layers: list[dict[str, Any]] = Field(default_factory=list)
    snapshots: list[dict[str, Any]] = Field(default_factory=list)
    mlflow_run_id: str = ""
    duration_seconds: float = 0.0
    reused_from: str | None = None
    taken_from: str | None = None
    provenance: Provenance | None = None
    left_out: list[str] = Field(default_factory=list)

    @classmethod
    def of(cls, cell: Cell, **known: Any) -> Self:
        """Returns the record of a cell that has not been run, which is that of a failed one.

        Args:
            cell: The cell.
            known: Fields of the record that are known.
        """
        variant = cell.variant
        plain = {
            "cell": cell.id,
            "study": cell.study,
            "variant": variant.name,
            "axes": variant.axes,
            "method": variant.config["method"],
            "seed": cell.seed,
            "task": cell.task if cell.task["options"] else cell.task["name"],
            "backbone": cell.backbone,
            "config": variant.config,
            "training": variant.training.used(),
        }
        return cls.model_validate(plain | known)

    @classmethod
    def read(cls, text: str, where: str) -> Self:
        """Reads the text of the artifact.

        Fields that this version does not know are left out of the records of other versions.

        Raises:
            StudyError: If the text is not a record; one line, with the version of lrlora that wrote it.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise StudyError(f"{where}: is no record of a run: {error}") from None
        here, author = version("lrlora"), ""
        if isinstance(data, dict) and (written := written_by(data)) != here:
            data = _known(data)
            author = f"; lrlora {written or '0.1.0'} wrote it, and this is {here}"
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise StudyError(f"{where}: is no record of a run: {place}: {first['msg']}{author}") from None

    def write(self) -> str:
        """Returns the text of the artifact; numbers that are not finite become null."""
        return self.model_dump_json(indent=1, exclude={"left_out"})

    def plain(self) -> dict[str, Any]:
        """Returns the record as plain data, as reports read it."""
        return self.model_dump()

    @property
    def parts(self) -> dict[str, str]:
        """The parts of the cell's identity; none in records of lrlora 0.1.0."""
        return self.provenance.parts if self.provenance is not None else {}


def written_by(record: Mapping[str, Any]) -> str | None:
    """Returns the version of lrlora that wrote a record; None for records of 0.1.0, which do not say."""
    provenance = record.get("provenance")
    versions = provenance.get("versions") if isinstance(provenance, Mapping) else None
    found = versions.get("lrlora") if isinstance(versions, Mapping) else None
    return found if isinstance(found, str) else None


def left_out(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a sentence on the fields that were left out of records of other versions of lrlora; none if none was."""
    partial = [record for record in records if record.get("left_out")]
    if not partial:
        return []
    fields = sorted({name for record in partial for name in record["left_out"]})
    authors = sorted({written_by(record) or "0.1.0" for record in partial})
    return [
        f"{len(partial)} of {len(records)} records were written by lrlora {', '.join(authors)}: fields that "
        f"{version('lrlora')} does not know are left out ({', '.join(fields)})."
    ]


def _known(data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a record of another version that this one knows."""
    known = {name: value for name, value in data.items() if name in RunRecord.model_fields}
    unknown = [name for name in data if name not in known]
    if isinstance(found := known.get("provenance"), Mapping):
        known["provenance"] = {name: value for name, value in found.items() if name in Provenance.model_fields}
        unknown += [f"provenance.{name}" for name in found if name not in known["provenance"]]
    return known | {"left_out": unknown}
