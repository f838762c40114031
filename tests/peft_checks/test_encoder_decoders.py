"""What PEFT checks of its methods on encoder-decoders."""

from __future__ import annotations

from pathlib import Path

import pytest
from check_adapters import AdapterChecks, AdapterDetails, WeightedChecks, WeightedDetails
from check_generation import GenerationChecks, PositionalChecks
from check_merging import MergingChecks, MergingDetails
from check_precision import PrecisionChecks, PrecisionDetails
from check_saving import SavingChecks, SavingDetails
from check_training import TrainingChecks, TrainingDetails, TransformerTrainingChecks
from peft import AutoPeftModelForSeq2SeqLM, PeftModelForSeq2SeqLM
from subjects import Subject, run, same
from tiny_transformers import ENCODER_DECODERS

IN_DETAIL = ENCODER_DECODERS[:1]


@pytest.fixture(params=ENCODER_DECODERS, ids=lambda subject: subject.name)
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


class TestGeneration(GenerationChecks, PositionalChecks):
    pass


def test_the_adapter_finds_its_base_by_itself(subject: Subject, tmp_path: Path) -> None:
    base = subject.base()
    base.save_pretrained(tmp_path / "base")
    model = subject.adapted()
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter")
    found = AutoPeftModelForSeq2SeqLM.from_pretrained(str(tmp_path / "adapter")).eval()
    assert isinstance(found, PeftModelForSeq2SeqLM)
    same(run(found, subject.batch()), run(model, subject.batch()))
