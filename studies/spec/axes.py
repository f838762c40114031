"""The axes of a study: what it varies. Their product gives its variants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from lrlora.studies.spec.schema import Strict


class Axis(Strict):
    """The values of one setting, or of several that change together.

    In a study's file an axis is a list, as in ``basis: [sinc, gaussian]``. A name such as ``r,lora_alpha`` zips: each
    value is then a list with one entry per setting, as in ``[[4, 4], [8, 8]]``. An axis with ``when`` is conditional:
    it varies only where the axes before it, or the base, have one of the given values. That is how axes nest:
    ``basis_kwargs.degree: {values: [1, 3], when: {basis: bspline}}``.
    """

    values: list[Any]
    when: dict[str, Any] = Field(
        default_factory=dict, description="Settings and the value, or list of values, at which this axis varies."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, given: Any) -> Any:
        return {"values": given} if isinstance(given, list) else given

    @model_validator(mode="after")
    def _check_distinct(self) -> Self:
        for i, value in enumerate(self.values):
            if value in self.values[:i]:
                raise ValueError(f"the value {value!r} is given twice")
        return self

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Whether the axis varies at these settings."""
        return all(
            settings.get(name) in (wanted if isinstance(wanted, list) else [wanted])
            for name, wanted in self.when.items()
        )


def settings_of(axis: str) -> list[str]:
    """Returns the settings that an axis varies: several if it zips.

    >>> settings_of("r, lora_alpha")
    ['r', 'lora_alpha']
    """
    return [name.strip() for name in axis.split(",")]


def check_axes(axes: Mapping[str, Axis]) -> None:
    """Checks that the axes can be multiplied.

    Raises:
        ValueError: A setting is on two axes, a zipped value has the wrong length, or a condition names a later axis.
    """
    known: list[str] = []
    for place, (name, axis) in enumerate(axes.items()):
        if not axis.values:
            raise ValueError(f"axis {name!r} has no values")
        settings = settings_of(name)
        for setting in settings:
            if not setting:
                raise ValueError(f"axis {name!r} names an empty setting")
            if setting in known:
                raise ValueError(f"{setting} is on two axes")
        for value in axis.values:
            if len(settings) > 1 and (not isinstance(value, list) or len(value) != len(settings)):
                raise ValueError(
                    f"axis {name!r} zips {len(settings)} settings, so each value is a list of {len(settings)}, "
                    f"not {value!r}"
                )
        later = [setting for other in list(axes)[place:] for setting in settings_of(other)]
        for condition in axis.when:
            if condition in later:
                raise ValueError(f"axis {name!r} depends on {condition}, which has to stand before it")
        known += settings


def expand_axes(axes: Mapping[str, Axis], base: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the product of the axes: one mapping from settings to values per variant.

    >>> axes = {"basis": Axis(values=["sinc", "bspline"]), "degree": Axis(values=[1, 3], when={"basis": "bspline"})}
    >>> expand_axes(axes, {})
    [{'basis': 'sinc'}, {'basis': 'bspline', 'degree': 1}, {'basis': 'bspline', 'degree': 3}]
    """
    found: list[dict[str, Any]] = [{}] if axes else []
    for name, axis in axes.items():
        settings = settings_of(name)
        further = []
        for chosen in found:
            if not axis.applies({**base, **chosen}):
                further.append(chosen)
                continue
            for value in axis.values:
                values = value if len(settings) > 1 else [value]
                further.append(chosen | dict(zip(settings, values, strict=True)))
        found = further
    return found
