"""The record of one run: what it was, how it ended, what was measured, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lrlora.studies.errors import StudyError

Figures = dict[str, float | None]
"""By name; None stands for what is not finite."""


class Provenance(BaseModel):
    """From which code, packages, plugins and machine a run comes.

    Attributes:
        commit: Of lrlora's repository; None where it was installed from a wheel.
        dirty: Whether tracked files differed from the commit.
        python: Version.
        versions: Of packages, lrlora's among them.
        plugins: Where each plugin comes from: a file, or a package with its version.
        machine: Platform, processor, cores, threads, device.
        parts: Of the cell's identity, see :mod:`lrlora.studies.spec.identity`; the hashes of plugins are among them.
    """

    model_config = ConfigDict(extra="allow")

    commit: str | None = None
    dirty: bool | None = None
    python: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    plugins: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, Any] = Field(default_factory=dict)
    parts: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, environment: Mapping[str, Any], parts: Mapping[str, str]) -> Self:
        """What is known of a run before it starts.

        Args:
            environment: From :func:`lrlora.studies.record.environment.describe_environment`.
            parts: Of the cell.
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
        """The same in the form of ``describe_environment``."""
        found: dict[str, Any] = {"python": self.python, **self.machine, "packages": self.versions}
        found["git"] = {"commit": self.commit, "dirty": self.dirty}
        return found | ({"plugins": self.plugins} if self.plugins else {})


class RunRecord(BaseModel):
    """One run of one cell. Fields that a later version adds are kept.

    Attributes:
        cell: The cell's id.
        task: Its name, or name and options where it has any.
        status: ``finished``, ``diverged``, ``pruned`` or ``failed``.
        reason: Why it did not finish.
        judged_on: The split that ``metrics`` are of.
        chance: Accuracy of a classifier that knows the class frequencies alone.
        train_metrics: As ``metrics``, of training examples.
        parameters: Counts of scalars.
        step_seconds: Median duration of a step, in seconds.
        train_loss: By step, and so are ``learning_rate`` and ``grad_norm``.
        validation: Figures with the step that they were measured after.
        layers: Of the trained adapter, see :func:`lrlora.analysis.layer_report`.
        snapshots: Looks at the layers during the run.
        reused_from: The MLflow run that this record was taken from, where the cell was not run for this study.
        taken_from: The MLflow run, of another store, whose record was taken from a file.
        provenance: None in records of lrlora 0.1.0.
    """

    model_config = ConfigDict(extra="allow", ser_json_inf_nan="null")

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
    parameters: dict[str, int] = Field(default_factory=dict)
    step_seconds: float = 0.0
    peak_memory_bytes: int = 0
    peak_memory_source: str = ""
    train_loss: list[float | None] = Field(default_factory=list)
    learning_rate: list[float | None] = Field(default_factory=list)
    grad_norm: list[float | None] = Field(default_factory=list)
    validation: list[dict[str, Any]] = Field(default_factory=list)
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

    @classmethod
    def read(cls, text: str, where: str) -> Self:
        """From the artifact's text.

        Raises:
            StudyError: It is no record; one line.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise StudyError(f"{where}: is no record of a run: {place}: {first['msg']}") from None

    def write(self) -> str:
        """The artifact's text; numbers that are not finite become null."""
        return self.model_dump_json(indent=1)

    def plain(self) -> dict[str, Any]:
        """As plain data, as reports read it."""
        return self.model_dump()

    @property
    def parts(self) -> dict[str, str]:
        """Of the cell's identity; none in records of lrlora 0.1.0."""
        return self.provenance.parts if self.provenance is not None else {}
