"""The space of a search: the settings, their values, and the conditions of one on another."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial
from pydantic import Field, model_validator

from lrlora.studies.errors import StudyError
from lrlora.studies.spec.axes import Axis
from lrlora.studies.spec.overrides import parse_overrides
from lrlora.studies.spec.plain_yaml import read_yaml_mapping
from lrlora.studies.spec.schema import Strict, validate

Settings = dict[str, Any]
"""From the names of settings, dotted as in an axis of a study, to their values."""

_EDGE = 0.05
"""The share of an interval, at either end, that counts as its edge."""


class Dimension(Axis):
    """The values of one setting: an interval, as in ``{low: 1e-4, high: 1e-2, log: true}``, or ``{values: [16, 32]}``.

    A list alone stands for ``values``. With ``when`` the setting is tried only where earlier ones, or the variant, have
    the given values, as in an axis of a study.
    """

    values: list[Any] = Field([])
    low: float | None = None
    high: float | None = None
    log: bool = Field(False, description="Spread over the logarithm of the interval.")

    @model_validator(mode="after")
    def _check_interval(self) -> Self:
        if bool(self.values) == (self.low is not None or self.high is not None):
            raise ValueError("takes either low and high, or values")
        if self.values:
            if self.log:
                raise ValueError("log goes with low and high, not with values")
            return self
        if self.low is None or self.high is None:
            raise ValueError(f"{'low' if self.low is None else 'high'} is missing")
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g}, which is not below high, {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, not {self.low:g}")
        return self

    def distribution(self, default: Any) -> BaseDistribution:
        """Optuna's distribution.

        Args:
            default: The untuned value. An interval with integer ends is one of integers if this is one; a list gets
                it as a further choice, so that the untuned variant can be the first trial.
        """
        if self.values:
            return CategoricalDistribution([encode(value) for value in self.choices(default)])
        low, high = self.probes(default)
        whole = isinstance(low, int)
        return IntDistribution(low, high, self.log) if whole else FloatDistribution(low, high, self.log)

    def suggest(self, trial: Trial, setting: str, default: Any) -> Any:
        """Returns the setting's value in a trial of Optuna."""
        if self.values:
            choices = [encode(value) for value in self.choices(default)]
            return self.decode(trial.suggest_categorical(setting, choices), default)
        low, high = self.probes(default)
        if isinstance(low, int):
            return trial.suggest_int(setting, low, high, log=self.log)
        return trial.suggest_float(setting, low, high, log=self.log)

    def decode(self, stored: Any, default: Any) -> Any:
        """Returns the value of a parameter as Optuna stores it."""
        return {encode(value): value for value in self.choices(default)}[stored] if self.values else stored

    def choices(self, default: Any) -> list[Any]:
        """Returns the values, and the default among them where there is one."""
        if default is None or default in self.values:
            return list(self.values)
        both = [default, *self.values]
        return sorted(both) if all(map(is_number, both)) else both

    def probes(self, default: Any) -> list[Any]:
        """Returns the values to check of the dimension: the ends, or every one of a list."""
        if self.values:
            return list(self.values)
        assert self.low is not None
        assert self.high is not None
        whole = is_number(default) and isinstance(default, int) and self.low.is_integer() and self.high.is_integer()
        return [int(self.low), int(self.high)] if whole else [self.low, self.high]

    def edge(self, value: float, default: Any) -> str | None:
        """``"lower"`` or ``"upper"`` if a value is at that edge of the interval, or of a list of over two numbers."""
        if self.values:
            numbers = sorted(filter(is_number, self.choices(default)))
            place = numbers.index(value) / (len(numbers) - 1) if len(numbers) > 2 else 0.5
        else:
            low, high, at = (math.log(x) if self.log else x for x in (*self.probes(default), value))
            place = (at - low) / (high - low)
        return "lower" if place < _EDGE else "upper" if place > 1 - _EDGE else None

    def describe(self, default: Any) -> str:
        """Returns the values in words."""
        text = f"{self.low:g} to {self.high:g}" + (" (log)" if self.log else "") if not self.values else ""
        text = text or "in " + ", ".join(map(show, self.choices(default)))
        return text + (f" where {self.when}" if self.when else "")


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
    """Returns the default space of a method: its learning rate, and for LR-LoRA also settings of its own.

    >>> list(default_space("lora"))
    ['training.learning_rate']
    """
    own = _LRLORA if method == "lrlora" else {}
    return {"training.learning_rate": _RATES.get(method, _RATE), **own}


class _SpaceFile(Strict):
    space: dict[str, Any]


def read_space(path: Path | None, lines: Iterable[str] = ()) -> Space | None:
    """Read a space from a file, from lines of the command line, or from both; None if neither is given.

    Args:
        path: A YAML file with the key ``space`` and nothing else.
        lines: ``"space.SETTING={low: …, high: …}"``, which override the file.

    Raises:
        StudyError: It cannot be read, or is not valid; one line.
    """
    declared = validate(_SpaceFile, read_yaml_mapping(path), str(path)).space if path is not None else {}
    for key, value in parse_overrides(lines).items():
        declared |= value if key == "space" and isinstance(value, dict) else {key.removeprefix("space."): value}
    if path is None and not declared:
        return None
    return make_space(declared, "--set space" if path is None else f"{path}: space")


def make_space(declared: Mapping[str, Any], where: str) -> Space:
    """Returns a space from plain data.

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
    """Returns a value as Optuna stores it among the choices of a list: as JSON if it is no plain value."""
    return value if value is None or isinstance(value, (str, int, float, bool)) else json.dumps(value, sort_keys=True)


def is_number(value: Any) -> bool:
    """Returns whether a value is a number, and no boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def show(value: Any) -> str:
    """Returns a setting's value as text."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
