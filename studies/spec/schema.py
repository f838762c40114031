"""Strict pydantic models whose errors are one line: where, what, and the nearest key that exists."""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from lrlora.studies.errors import StudyError, unknown_key


class Strict(BaseModel):
    """A model that refuses unknown keys, numbers that are not finite or too large, and true and false as numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _check_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = _types_in(cast("Hashable", cls.model_fields[str(info.field_name)].annotation))
        if not wanted & {int, float} or wanted & {bool, Any}:
            return value
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bool):
                raise ValueError(f"a number is wanted (given: {str(one).lower()})")
            if isinstance(one, int) and abs(one) >= 2**63:
                raise ValueError("a number below 2**63 is wanted")
        return value


M = TypeVar("M", bound=Strict)


def validate(model: type[M], data: Any, where: str) -> M:
    """Returns a ``model`` made of plain data.

    Args:
        model: The pydantic model.
        data: What a YAML file or a caller holds.
        where: What the data is called in messages, for example a file's name.

    Raises:
        StudyError: One line about the first thing that is wrong.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _explain(error, model, data, where) from None


_WANTED = {
    "dict_type": "keys and values are wanted",
    "model_type": "keys and values are wanted",
    "model_attributes_type": "keys and values are wanted",
    "list_type": "a list is wanted",
    "string_type": "text is wanted",
    "string_pattern_mismatch": "a name is wanted that has only A to Z, a to z, 0 to 9, '.', '_' and '-'",
    "int_type": "a whole number is wanted",
    "int_parsing": "a whole number is wanted",
    "int_from_float": "a whole number is wanted",
    "float_type": "a number is wanted",
    "float_parsing": "a number is wanted",
    "finite_number": "a finite number is wanted",
    "bool_type": "true or false is wanted",
    "bool_parsing": "true or false is wanted",
}
"""The messages for types of pydantic's errors, in the words of a YAML file."""


def _explain(error: ValidationError, model: type[BaseModel], data: Any, where: str) -> StudyError:
    # An unknown key is usually a misspelt one whose absence causes the other errors: it goes first. Of the forms that a
    # value may have, the one that fits furthest is meant.
    found = [(_place(one["loc"], data, one["type"] == "missing"), one) for one in error.errors()]
    location, first = min(found, key=lambda pair: (pair[1]["type"] != "extra_forbidden", -len(pair[0])))
    path = [str(part) for part in location]
    if first["type"] == "extra_forbidden":
        parent = _model_at(model, location[:-1])
        place = ": ".join([where, ".".join(path[:-1])]) if path[:-1] else where
        return unknown_key(path[-1], parent.model_fields if parent is not None else [], place)
    if first["loc"] and first["loc"][-1] == "[key]":
        return StudyError(f"{where}: {'.'.join(path[:-1])}: {first['input']!r} is no text; put it in quotes")
    cause = first.get("ctx", {}).get("error")
    given = repr(first["input"])
    given = given if len(given) <= 100 else given[:97] + "..."
    message = (
        str(cause) if isinstance(cause, Exception) else f"{_WANTED.get(first['type'], first['msg'])} (given: {given})"
    )
    if isinstance(cause, Exception) and not path:
        return StudyError(f"{where}: {message}")
    return StudyError(f"{where}: {'.'.join(path) or 'the whole'}: {message}")


def _place(location: Sequence[str | int], data: Any, missing: bool) -> list[str | int]:
    """Returns a location of pydantic's, without the names of the members of a union."""
    found: list[str | int] = []
    for part in location:
        if (part in data) if isinstance(data, Mapping) else (isinstance(data, list) and isinstance(part, int)):
            data = data[part]
            found.append(part)
    return found + ([location[-1]] if missing else [])


def _model_at(model: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel] | None:
    """Returns the model at a location within ``model``; locations are pydantic's."""
    here: Any = model
    for part in location:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = field.annotation if field is not None else None
        else:
            here = _item_type(here)
        if get_origin(here) in (Union, types.UnionType):
            here = next((option for option in get_args(here) if option is not type(None)), None)
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


@cache
def _types_in(annotation: Any) -> frozenset[Any]:
    """Returns the types that an annotation is made of, for example ``int`` and ``None`` of ``int | None``."""
    arguments = get_args(annotation)
    return frozenset().union(*map(_types_in, arguments)) if arguments else frozenset([annotation])


def _item_type(container: Any) -> Any:
    arguments = get_args(container)
    origin = get_origin(container)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return arguments[1]
    return arguments[0] if arguments else None
