"""What PEFT checks of its methods on encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers as hf
from check_adapters import AdapterChecks, AdapterDetails, WeightedChecks, WeightedDetails
from check_merging import MergingChecks, MergingDetails
from check_precision import PrecisionChecks, PrecisionDetails
from check_saving import SavingChecks, SavingDetails
from check_training import TrainingChecks, TrainingDetails, TransformerTrainingChecks
from peft import AutoPeftModelForFeatureExtraction, PeftModelForFeatureExtraction
from subjects import Subject, run, same
from tiny_transformers import ENCODERS

IN_DETAIL = ENCODERS[:1]


@pytest.fixture(params=ENCODERS, ids=lambda subject: subject.name)
def subject(request: pytest.FixtureRequest) -> Subject:
    return request.param


class TestSaving(SavingChecks):
    pass


class TestMerging(MergingChecks):
    pass


class TestTraining(TrainingChecks, TransformerTrainingChecks):
    pass


class TestAdapters(AdapterChecks):
    pass


class TestWeighted(WeightedChecks):
    pass


class TestPrecision(PrecisionChecks):
    pass


class TestDetails(SavingDetails, MergingDetails, TrainingDetails, AdapterDetails, WeightedDetails, PrecisionDetails):
    @pytest.fixture(params=IN_DETAIL, ids=lambda subject: subject.name)
    def subject(self, request: pytest.FixtureRequest) -> Subject:
        return request.param


def test_embeddings_can_be_handed_in(subject: Subject) -> None:
    model, batch = subject.adapted(), subject.batch()
    embedded = model.get_input_embeddings()(batch.pop("input_ids"))
    assert isinstance(model, PeftModelForFeatureExtraction)
    assert run(model, {**batch, "inputs_embeds": embedded}).isfinite().all()


def test_the_adapter_finds_its_base_by_itself(subject: Subject, tmp_path: Path) -> None:
    base = subject.base()
    base.save_pretrained(tmp_path / "base")
    model = subject.adapted()
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter")
    found = AutoPeftModelForFeatureExtraction.from_pretrained(str(tmp_path / "adapter")).eval()
    assert isinstance(found.get_base_model(), hf.PreTrainedModel)
    same(run(found, subject.batch()), run(model, subject.batch()))
