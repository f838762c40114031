"""What is checked of every transformer, whatever it is for, and how a test module names the ones it is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from check_adapters import AdapterChecks, AdapterDetails
from check_merging import MergingChecks, MergingDetails
from check_precision import PrecisionChecks, PrecisionDetails
from check_saving import SavingChecks, SavingDetails
from check_training import TrainingChecks, TrainingDetails, TransformerTrainingChecks
from subjects import Subject, run, same


class TransformerChecks(
    SavingChecks, MergingChecks, TrainingChecks, TransformerTrainingChecks, AdapterChecks, PrecisionChecks
):
    """Checks that every subject goes through."""


class TransformerDetails(SavingDetails, MergingDetails, TrainingDetails, AdapterDetails, PrecisionDetails):
    """Checks that hang on no architecture, for a few subjects."""


def fixture_of(subjects: list[Subject]) -> Any:
    """The fixture ``subject`` of a module."""

    @pytest.fixture(params=subjects, ids=lambda subject: subject.name)
    def subject(request: pytest.FixtureRequest) -> Subject:
        return request.param

    return subject


def of_each(subjects: list[Subject]) -> pytest.MarkDecorator:
    """Marks a class that is about other subjects than its module."""
    return pytest.mark.parametrize("subject", subjects, ids=lambda subject: subject.name)


def loaded_by_itself(subject: Subject, folder: Path, auto: Any, **options: Any) -> Any:
    """Save base and adapter, load both by the adapter's name for its base, and see that they compute the same."""
    subject.base().save_pretrained(folder / "base")
    model = subject.adapted()
    model.peft_config["default"].base_model_name_or_path = str(folder / "base")
    model.save_pretrained(folder / "adapter")
    found = auto.from_pretrained(str(folder / "adapter"), **options).eval()
    same(run(found, subject.batch()), run(model, subject.batch()))
    return found
