"""What PEFT checks of its methods on encoder-decoders."""

from __future__ import annotations

from pathlib import Path

from check_adapters import WeightedChecks, WeightedDetails
from check_generation import GenerationChecks, PositionalChecks
from check_transformers import TransformerChecks, TransformerDetails, loaded_by_itself
from peft import AutoPeftModelForSeq2SeqLM, PeftModelForSeq2SeqLM
from subjects import Sample, Subject
from tiny_transformers import ENCODER_DECODERS

SAMPLE = Sample(ENCODER_DECODERS, 1)


class TestEach(TransformerChecks, WeightedChecks):
    pass


class TestDetails(TransformerDetails, WeightedDetails):
    pass


class TestGeneration(GenerationChecks, PositionalChecks):
    pass


def test_the_adapter_finds_its_base_by_itself(subject: Subject, tmp_path: Path) -> None:
    found = loaded_by_itself(subject, tmp_path, AutoPeftModelForSeq2SeqLM)
    assert isinstance(found, PeftModelForSeq2SeqLM)
