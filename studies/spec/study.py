"""A study as it is declared: axes, baselines, seeds, budgets and a metric.

Nothing here trains, downloads or imports a framework, so a study can be listed and planned at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PrivateAttr, field_validator, model_validator

from lrlora.studies.catalog import catalog_names, catalog_path
from lrlora.studies.errors import StudyError, unknown_key
from lrlora.studies.spec.axes import Axis, check_axes
from lrlora.studies.spec.claims import Claim, Comparison
from lrlora.studies.spec.overrides import apply_overrides, expand_shortcuts, parse_overrides
from lrlora.studies.spec.plain_yaml import read_yaml_mapping
from lrlora.studies.spec.schema import Strict, validate

if TYPE_CHECKING:
    from rich.console import Console

    from lrlora.studies.execution.deciding import UntilDecided
    from lrlora.studies.execution.resources import Execution
    from lrlora.studies.record.results import Results

Scalar = str | int | float | bool | None


class Metric(Strict):
    """The metric of the test split that variants are compared by."""

    name: str = "accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"


class Training(Strict):
    """How each cell is trained; the same for all variants unless a variant says otherwise."""

    learning_rate: float = Field(1e-3, gt=0)
    batch_size: int = Field(32, ge=1)
    steps: int = Field(100, ge=1, description="Optimizer steps; the most of them where tokens or seconds say less.")
    tokens: int | None = Field(None, ge=1, description="Stop after so many tokens, padding not counted.")
    seconds: float | None = Field(None, gt=0, description="Stop after so many seconds of training.")
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="Share of the steps over which the rate rises.")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, ge=0, description="Gradients are clipped to this norm; 0 switches it off.")
    max_length: int = Field(64, ge=4, description="Tokens after which an example is cut.")
    eval_every: int = Field(0, ge=0, description="Steps between validations; 0 is once, at the end.")
    eval_batch_size: int = Field(128, ge=1)
    train_examples: int | None = Field(None, ge=1, description="Drawn by the seed of the run; None takes all.")
    validation_examples: int | None = Field(None, ge=1, description="The first so many; None takes all.")
    test_examples: int | None = Field(
        None, ge=0, description="The first so many; None takes all, and 0 leaves the test split alone."
    )
    start: Literal["own", "svd"] = Field(
        "own",
        description="The method's own start, or the best approximation by its rank of updates that the task knows.",
    )

    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Of the frozen weights; what is trained stays in float32."
    )
    precision: Literal["none", "bf16", "fp16"] = Field("none", description="Of autocast, in training and evaluation.")
    gradient_accumulation: int = Field(
        1, ge=1, description="Batches per optimizer step: a step is of batch_size x gradient_accumulation examples."
    )
    gradient_checkpointing: bool = Field(False, description="Compute activations again in the backward pass.")
    quantization: Literal["none", "int8", "nf4"] = Field(
        "none", description="Of the frozen linear layers: int8 needs torchao, nf4 bitsandbytes."
    )

    def resolved(self) -> dict[str, Any]:
        """Returns the settings that identify a run: all, but for those of :data:`_OPTIONAL` at their defaults."""
        fields = type(self).model_fields
        return self.model_dump(exclude={name for name in _OPTIONAL if getattr(self, name) == fields[name].default})

    def used(self) -> dict[str, Any]:
        """Returns all settings for the record of a run, except for limits that are not set."""
        return self.model_dump(exclude={name for name in ("tokens", "seconds") if getattr(self, name) is None})


_OPTIONAL = (
    "tokens",
    "seconds",
    "start",
    "dtype",
    "precision",
    "gradient_accumulation",
    "gradient_checkpointing",
    "quantization",
)
"""Settings added after runs were recorded. Left out at their defaults, they change no identifier of a cell."""


class TaskChoice(Strict):
    """A task by name, with its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name of the task, with its options if it has any."""
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.options.items())})" if self.options else self.name

    @model_validator(mode="before")
    @classmethod
    def _read_short_forms(cls, given: Any) -> Any:
        # `task: sarcasm` and `task: {name: files, train: a.csv}` are how people write it.
        if isinstance(given, str):
            return {"name": given}
        if isinstance(given, Mapping) and "name" in given:
            others = {key: value for key, value in given.items() if key != "name"}
            # A task may have an option called options. --set lays task.train=b.csv over the long form as well.
            if isinstance(others.get("options"), Mapping):
                others = {**others.pop("options"), **others}
            return {"name": given["name"], "options": others}
        return given


class Tuning(Strict):
    """A stage before the study, in which every variant gets the same budget to find its settings.

    Each variant is trained at every point of the grid, on seeds of its own, and keeps the point with the best mean
    validation metric. The test split is not used.
    """

    grid: dict[str, list[Any]] = Field(
        default_factory=lambda: {"training.learning_rate": [5e-4, 1e-3, 2e-3, 4e-3]},
        min_length=1,
        description="Settings and the values that are tried, as of axes.",
    )
    seeds: list[int] = Field(default_factory=lambda: [7], min_length=1, description="Not those of the study.")
    steps: int | None = Field(None, ge=1, description="Optimizer steps; None: as many as the study's.")


class Study(Strict):
    """A declared design. Make one with :meth:`load`; run it with :meth:`run`.

    The variants are the product of the ``axes`` over ``base``, and every entry of ``variants`` laid over ``base``.
    ``baselines`` stand on their own. Any of them may hold ``training:`` to differ in how it is trained, and an axis
    called ``training.learning_rate`` varies that. Every variant is run on every task and every backbone.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    question: str = ""
    task: TaskChoice | list[TaskChoice] = TaskChoice(name="sarcasm")
    backbone: str | list[str] = "minilm"
    base: dict[str, Any] = Field(default_factory=lambda: {"method": "lrlora"})
    axes: dict[str, Axis] = Field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)
    baselines: dict[str, dict[str, Any]] = Field(default_factory=dict)
    reference: str | None = Field(None, description="The variant that the others are compared with.")
    comparisons: list[Comparison] = Field(
        default_factory=list,
        description="What is tested, as one family; by default every variant against the reference.",
    )
    claims: list[Claim] = Field(default_factory=list, description="The claims that the study tests.")
    seeds: list[int] = Field(default_factory=lambda: [42, 123, 456], min_length=1)
    metric: Metric = Metric()
    training: Training = Training()
    budgets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seconds_per_example: NonNegativeFloat | dict[str, NonNegativeFloat] | None = Field(
        None,
        description="Measured cost of training on one example, or this by backbone, for estimates before anything ran.",
    )
    tune: Tuning | None = Field(None, description="A tuning stage before the study, the same for every variant.")
    tuned: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="By variant, the settings that the tuning stage found; they win over its own."
    )
    tuning: str = Field("", description="What was tuned, for whom; a comparison of untuned rivals has to say so.")
    shortcuts: dict[str, str] = Field(
        default_factory=dict, description="Short names for keys in --set, as in bases: axes.basis."
    )
    paper: dict[str, Any] = Field(default_factory=dict, description="The published values, shown beside ours.")

    _overrides: dict[str, Any] = PrivateAttr(default_factory=dict)
    _source: str = PrivateAttr("")

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"a seed is given twice: {seeds}")
        if any(not 0 <= seed < 2**32 for seed in seeds):
            raise ValueError(f"seeds lie between 0 and 2**32 - 1: {seeds}")
        return seeds

    @field_validator("axes")
    @classmethod
    def _check_axes(cls, axes: dict[str, Axis]) -> dict[str, Axis]:
        check_axes(axes)
        return axes

    @model_validator(mode="after")
    def _check_places(self) -> Self:
        for what, chosen in (("task", [task.label for task in self.tasks]), ("backbone", self.backbones)):
            if not chosen:
                raise ValueError(f"{what} is an empty list")
            if len(set(chosen)) != len(chosen):
                raise ValueError(f"a {what} is given twice: {chosen}")
        return self

    @model_validator(mode="after")
    def _check_budgets(self) -> Self:
        for budget, changes in self.budgets.items():
            _split_budget(changes, f"budgets.{budget}")
        return self

    @property
    def tasks(self) -> list[TaskChoice]:
        """All tasks."""
        return self.task if isinstance(self.task, list) else [self.task]

    @property
    def backbones(self) -> list[str]:
        """All backbones."""
        return self.backbone if isinstance(self.backbone, list) else [self.backbone]

    # -- making ---------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, source: str | Path, overrides: Iterable[str] | Mapping[str, Any] = ()) -> Study:
        """Returns a study from the catalog or from a YAML file.

        Args:
            source: A catalog name such as ``"basis"``, or the path of a YAML file.
            overrides: ``"a.b=c"`` lines, or the same as a mapping with dotted keys. They win over the file and
                over the budget.

        Raises:
            StudyError: No such study, or it says something that cannot be; one line.
        """
        path = catalog_path(str(source)) if is_catalog_name(source) else Path(source)
        study = cls.from_dict(_read(path), overrides, where=str(source))
        study._source = str(source)
        return study

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], overrides: Iterable[str] | Mapping[str, Any] = (), where: str = "study"
    ) -> Study:
        """Returns a study made of plain data; see :meth:`load`."""
        chosen = dict(overrides) if isinstance(overrides, Mapping) else parse_overrides(overrides)
        shortcuts = data.get("shortcuts") or {}
        if isinstance(shortcuts, Mapping):
            chosen = expand_shortcuts(chosen, shortcuts, cls.model_fields)
        nested = [f"training.{field}" for field in Training.model_fields]
        study = validate(cls, apply_overrides(data, chosen, cls.model_fields, nested), where)
        study._overrides.update(chosen)
        return study

    def resolve(self, budget: str) -> Study:
        """Returns the study at a budget: default < file < budget < overrides.

        Raises:
            StudyError: No such budget.
        """
        if budget not in self.budgets:
            raise StudyError(str(unknown_key(budget, self.budgets, f"study {self.name}")).replace("key", "budget", 1))
        training, others = _split_budget(self.budgets[budget], f"budgets.{budget}")
        if isinstance(others.get("tune"), Mapping) and self.tune is not None:
            others["tune"] = self.tune.model_dump(exclude_unset=True) | dict(others["tune"])
        data = self.model_dump() | others
        data["training"] |= training
        data["reference"] = self.reference or next(iter(self.baselines), None)
        resolved = type(self).from_dict(data, self._overrides, where=f"study {self.name} at budget {budget}")
        resolved._source = self._source
        return resolved

    def with_seeds(self, seeds: list[int]) -> Study:
        """Returns the same study on other seeds, which :attr:`given_as` then names."""
        if seeds == self.seeds:
            return self
        study = self.model_copy(update={"seeds": seeds})
        study._overrides = self._overrides | {"seeds": seeds}
        return study

    @property
    def given_as(self) -> dict[str, Any]:
        """The name or file that the study was loaded from, and the overrides."""
        return {"source": self._source or self.name, "overrides": dict(self._overrides)}

    @property
    def redesigned(self) -> bool:
        """Whether an override changed what is compared, so that the file's claims may name what is not there."""
        return any(key.split(".")[0] in ("axes", "variants", "baselines", "base") for key in self._overrides)

    # -- using ----------------------------------------------------------------------------------------------

    def run(
        self,
        budget: str = "quick",
        out: str | Path | None = None,
        console: Console | None = None,
        execution: Execution | None = None,
        until: UntilDecided | None = None,
    ) -> Results:
        """Runs the missing cells of the study and returns its record.

        Args:
            budget: One of ``budgets``.
            out: Where optuna.db, mlflow.db and the artifacts are; by default ``runs/<name>-<budget>``.
            console: Where progress is shown; by default the terminal.
            execution: How many workers, and where; by default one for each core, with one thread each.
            until: Add seeds until the claims are decided; by default the declared seeds are run.

        Raises:
            StudyError: The study cannot be run as it is written; nothing has been written.
        """
        from lrlora.studies.execution.run import run_study

        folder = Path(out) if out is not None else default_out(self.name, budget)
        return run_study(self, budget, folder, console, execution, until=until)


def is_catalog_name(source: str | Path) -> bool:
    """Returns whether a study is given by its catalog name, not by a path.

    Raises:
        StudyError: It is neither; with the nearest name.
    """
    text = str(source)
    if text in catalog_names():
        return True
    if isinstance(source, Path) or text.endswith((".yaml", ".yml")) or "/" in text or Path(text).is_file():
        return False
    raise StudyError(str(unknown_key(text, catalog_names(), "study")).replace("study: unknown key", "unknown study", 1))


def default_out(name: str, budget: str) -> Path:
    """Returns the default folder of a study's record."""
    return Path("runs") / f"{name}-{budget}"


IN_BUDGETS = ("seeds", "task", "backbone", "tune")
"""The keys of a budget besides those of the training."""


def _split_budget(changes: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the changes of a budget to the training, and those to other keys."""
    others = {key: value for key, value in changes.items() if key in IN_BUDGETS}
    training = {key: value for key, value in changes.items() if key not in others}
    for key in training:
        if key not in Training.model_fields:
            raise unknown_key(key, [*Training.model_fields, *IN_BUDGETS], where)
    if isinstance(others.get("tune"), Mapping):
        validate(Tuning, others["tune"], f"{where}.tune")
    checked = validate(Training, training, where)
    return checked.model_dump(include=set(training)), others


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Reads a study's file and applies it to the one that it ``extends``: training and budgets by key, the rest whole.

    Raises:
        StudyError: One of the files cannot be read, or they extend each other in a circle.
    """
    data = read_yaml_mapping(path)
    below = data.pop("extends", None)
    if below is None:
        return data
    other = _extended(path, str(below))
    if other in (*above, path.resolve()):
        raise StudyError(f"{path}: extends {below}, which leads back to it")
    merged = _read(other, (*above, path.resolve()))
    for key, value in data.items():
        if key in ("training", "budgets") and isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            value = _over(merged[key], value)
        merged[key] = value
    return merged


def _extended(path: Path, below: str) -> Path:
    """Returns the file that a study's file extends: a name of the catalog, or a path relative to the file.

    Raises:
        StudyError: It looks like a name of the catalogue and is none; with the nearest.
    """
    if below in catalog_names():
        return catalog_path(below).resolve()
    other = (path.parent / below).resolve()
    if not Path(below).suffix and not other.exists():
        message = str(unknown_key(below, catalog_names(), f"{path}: extends"))
        raise StudyError(message.replace("unknown key", "unknown study", 1))
    return other


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = _over(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged
