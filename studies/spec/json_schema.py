"""The JSON schema of study files, by which editors complete and check them."""

from __future__ import annotations

from typing import Any

from lrlora.studies.methods import METHODS
from lrlora.studies.spec.study import IN_BUDGETS, Study, Training


def study_schema() -> dict[str, Any]:
    """Returns the schema of a study file, short forms included, with the settings of every built-in method."""
    schema = Study.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A study of lrlora"
    definitions = schema["$defs"]
    definitions["Axis"] = {"anyOf": [{"type": "array", "minItems": 1}, definitions["Axis"]]}
    task = definitions["TaskChoice"]
    # `task: sarcasm`, and a mapping whose other keys are the task's options.
    definitions["TaskChoice"] = {"anyOf": [{"type": "string"}, task | {"additionalProperties": True}]}
    definitions["Settings"] = _settings()
    properties = schema["properties"]
    properties["base"] = {"$ref": "#/$defs/Settings"}
    for several in ("variants", "baselines"):
        properties[several] |= {"additionalProperties": {"$ref": "#/$defs/Settings"}}
    in_budgets = _training() | {key: properties[key] for key in IN_BUDGETS}
    budget = {"type": "object", "additionalProperties": False, "properties": in_budgets}
    properties["budgets"] |= {"additionalProperties": budget}
    properties["extends"] = {"type": "string", "description": "A study's file that this one is laid over."}
    return schema


def _settings() -> dict[str, Any]:
    """Returns the properties of a variant: the method, its fields, and the training."""
    fields: dict[str, Any] = {"method": {"enum": sorted(METHODS.names())}}
    for name in METHODS.names():
        known = getattr(METHODS.get(name), "fields", None)
        fields |= {field: {} for field in (known() if known is not None else ()) if field not in fields}
    training = {"type": "object", "additionalProperties": False, "properties": _training()}
    # A method of a plugin has fields of its own, and a dotted key sets a part of one.
    return {"type": "object", "properties": dict(sorted(fields.items())) | {"training": training}}


def _training() -> dict[str, Any]:
    found: dict[str, Any] = Training.model_json_schema()["properties"]
    return found
