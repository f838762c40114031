"""The space of a search: the settings, their values, and the conditions of one on another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field, model_validator

from lrlora.studies.errors import StudyError, unknown_key
from lrlora.studies.spec.axes import Axis
from lrlora.studies.spec.overrides import parse_overrides
from lrlora.studies.spec.plain_yaml import read_yaml_mapping
from lrlora.studies.spec.schema import Strict, validate

Settings = dict[str, Any]
"""From the names of settings, dotted as in an axis of a study, to their values."""


class Dimension(Strict):
    """The values of one setting: an interval, as in ``{low: 1e-4, high: 1e-2, log: true}``, or ``{values: [16, 32]}``.

    A list alone stands for ``values``. With ``when`` the setting is tried only where earlier ones, or the variant, have
    the given values, as in an axis of a study.
    """

    low: float | None = None
    high: float | None = None
    log: bool = Field(False, description="Spread over the logarithm of the interval.")
    values: list[Any] | None = None
    when: dict[str, Any] = Field(default_factory=dict, description="Settings and the value, or values, they must have.")

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, given: Any) -> Any:
        return {"values": given} if isinstance(given, list) else given

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.values is None) == (self.low is None and self.high is None):
            raise ValueError("takes either low and high, or values")
        if self.values is not None:
            if self.log:
                raise ValueError("log goes with low and high, not with values")
            if not self.values:
                raise ValueError("values is an empty list")
            for i, value in enumerate(self.values):
                if value in self.values[:i]:
                    raise ValueError(f"the value {value!r} is given twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError(f"{'low' if self.low is None else 'high'} is missing")
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g}, which is not below high, {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, not {self.low:g}")
        return self

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Whether the setting is tried at these settings."""
        return Axis(values=[], when=self.when).applies(settings)

    def distribution(self, default: Any) -> BaseDistribution:
        """Optuna's distribution.

        Args:
            default: The untuned value. An interval with integer ends is one of integers if this is one; a list gets
                it as a further choice, so that the untuned variant can be the first trial.
        """
        if self.values is not None:
            return CategoricalDistribution([encode(value) for value in self.choices(default)])
        assert self.low is not None
        assert self.high is not None
        if is_whole(default) and self.low.is_integer() and self.high.is_integer():
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def choices(self, default: Any) -> list[Any]:
        """The values, and the default among them where there is one."""
        assert self.values is not None
        if default is None or default in self.values:
            return list(self.values)
        numbers = all(_is_number(value) for value in [*self.values, default])
        return sorted([*self.values, default]) if numbers else [default, *self.values]

    def value(self, sampled: Any, default: Any) -> Any:
        """The setting's value for a sample of Optuna's."""
        if self.values is None:
            return sampled
        return next(value for value in self.choices(default) if encode(value) == sampled)

    def probes(self) -> list[Any]:
        """The values to check of the dimension: the ends, or every one of a list."""
        return list(self.values) if self.values is not None else [self.low, self.high]


Space = dict[str, Dimension]

_RATE = Dimension(low=1e-4, high=2e-2, log=True)
_RATES = {
    # Vectors that only scale need larger steps than matrices, and pretrained weights smaller ones: the authors' own
    # choices lie within these.
    **dict.fromkeys(("vera", "ia3", "frozen", "c3a"), Dimension(low=1e-3, high=1e-1, log=True)),
    "full": Dimension(low=1e-6, high=2e-3, log=True),
}
_LRLORA: Space = {
    "transfer_lr_scale": Dimension(low=0.01, high=1.0, log=True),
    "input_scale": Dimension(low=20.0, high=2000.0, log=True),
    "num_grid_points": Dimension(values=[16, 32, 64, 100]),
    "amplitude_init": Dimension(values=["zero", "small:0.001", "small:0.01"]),
    "bandwidth_init": Dimension(low=0.3, high=3.0, log=True),
}


def default_space(method: str) -> Space:
    """The default space of a method: its learning rate, and for LR-LoRA also settings of its own.

    >>> list(default_space("lora"))
    ['training.learning_rate']
    """
    own = _LRLORA if method == "lrlora" else {}
    return {"training.learning_rate": _RATES.get(method, _RATE), **own}


def read_space(path: Path | None, lines: Iterable[str] = ()) -> Space | None:
    """The declared space, or None if there is none: each method's default is then used.

    Args:
        path: A YAML file with the key ``space`` and nothing else.
        lines: ``"space.SETTING={low: …, high: …}"``, which override the file.

    Raises:
        StudyError: It cannot be read, or is not valid; one line.
    """
    declared: dict[str, Any] = {}
    where = "--set space"
    if path is not None:
        data = read_yaml_mapping(path)
        where = f"{path}: space"
        for key in data:
            if key != "space":
                raise unknown_key(key, ["space"], str(path))
        if not isinstance(data.get("space"), dict):
            raise StudyError(f"{where}: holds settings and their values, for example training.learning_rate: [1e-3]")
        declared |= data["space"]
    for key, value in parse_overrides(lines).items():
        declared |= value if key == "space" and isinstance(value, dict) else {key.removeprefix("space."): value}
    if path is None and not declared:
        return None
    return make_space(declared, where)


def make_space(declared: Mapping[str, Any], where: str) -> Space:
    """A space from plain data.

    Raises:
        StudyError: It is empty, a dimension is not valid, or a condition names a setting that comes later.
    """
    if not declared:
        raise StudyError(f"{where}: is empty")
    space = {str(name): validate(Dimension, given, f"{where}: {name}") for name, given in declared.items()}
    names = list(space)
    for place, (name, dimension) in enumerate(space.items()):
        for condition in dimension.when:
            if condition in names[place:]:
                raise StudyError(f"{where}: {name}: depends on {condition}, which has to stand before it")
    return space


def encode(value: Any) -> Any:
    """A value as Optuna stores it among the choices of a list: as JSON if it is no plain value."""
    return value if value is None or isinstance(value, (str, int, float, bool)) else json.dumps(value, sort_keys=True)


def is_whole(value: Any) -> bool:
    """Whether a value is an integer, and no boolean."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
