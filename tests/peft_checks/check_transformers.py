"""What is checked of transformers, whatever they are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from check_adapters import AdapterChecks, AdapterDetails
from check_merging import MergingChecks, MergingDetails
from check_precision import PrecisionChecks, PrecisionDetails
from check_saving import SavingChecks, SavingDetails
from check_training import TrainingChecks, TrainingDetails, TransformerTrainingChecks
from subjects import Subject, run, same


class TransformerChecks(
    SavingChecks, MergingChecks, TrainingChecks, TransformerTrainingChecks, AdapterChecks, PrecisionChecks
):
    """Checks that may hang on the architecture."""


class TransformerDetails(SavingDetails, MergingDetails, TrainingDetails, AdapterDetails, PrecisionDetails):
    """Checks that hang on no architecture."""


def loaded_by_itself(subject: Subject, folder: Path, auto: Any, **options: Any) -> Any:
    """Save base and adapter, load both by the adapter's name for its base, and see that they compute the same."""
    subject.base().save_pretrained(folder / "base")
    model = subject.adapted()
    model.peft_config["default"].base_model_name_or_path = str(folder / "base")
    model.save_pretrained(folder / "adapter")
    found = auto.from_pretrained(str(folder / "adapter"), **options).eval()
    same(run(found, subject.batch()), run(model, subject.batch()))
    return found
