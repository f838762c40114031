"""The published schema of study files says what the program accepts, so that editors help and do not mislead."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from lrlora.studies.catalog import catalog_names, catalog_path
from lrlora.studies.spec.json_schema import study_schema

SCHEMA = catalog_path("basis").with_name("study.schema.json")


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA.read_text()))


def test_the_published_schema_is_that_of_the_program() -> None:
    """To renew it: lrlora study schema > studies/catalog/study.schema.json."""
    assert json.loads(SCHEMA.read_text()) == study_schema()


@pytest.mark.parametrize("name", catalog_names())
def test_every_built_in_study_fits_and_names_the_schema(name: str, validator: Draft202012Validator) -> None:
    text = catalog_path(name).read_text()
    assert text.startswith("# yaml-language-server: $schema=study.schema.json\n")
    validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "data",
    [
        {"name": "x", "axes": {"r": 3}},
        {"name": "x", "budgets": {"quick": {"stepps": 3}}},
        {"name": "x", "base": {"method": "lorra"}},
        {"name": "x", "base": {"training": {"batchsize": 3}}},
        {"name": "x", "seeds": []},
        {"name": "x", "claims": [{"of": "y"}]},
        {"axes": {}},
    ],
)
def test_what_the_program_refuses_an_editor_marks(data: dict[str, Any], validator: Draft202012Validator) -> None:
    assert not validator.is_valid(data)


@pytest.mark.parametrize(
    "data",
    [
        {"name": "x", "task": {"name": "files", "train": "a.csv"}, "backbone": ["minilm", "smollm2"]},
        {"name": "x", "axes": {"r, lora_alpha": [[1, 2]], "basis_kwargs.degree": {"values": [1], "when": {"r": 1}}}},
        {"name": "x", "tune": {"grid": {"training.learning_rate": [1e-3]}}, "base": {"method": "lora", "r": 4}},
    ],
)
def test_short_forms_are_known(data: dict[str, Any], validator: Draft202012Validator) -> None:
    validator.validate(data)
