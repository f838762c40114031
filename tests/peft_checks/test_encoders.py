"""What PEFT checks of its methods on encoders."""

from __future__ import annotations

from pathlib import Path

import transformers as hf
from check_adapters import WeightedChecks, WeightedDetails
from check_transformers import TransformerChecks, TransformerDetails, loaded_by_itself
from peft import AutoPeftModelForFeatureExtraction, PeftModelForFeatureExtraction
from subjects import Sample, Subject, run
from tiny_transformers import ENCODERS

SAMPLE = Sample(ENCODERS, 1)


class TestEach(TransformerChecks, WeightedChecks):
    pass


class TestDetails(TransformerDetails, WeightedDetails):
    pass


def test_embeddings_can_be_handed_in(subject: Subject) -> None:
    model, batch = subject.adapted(), subject.batch()
    embedded = model.get_input_embeddings()(batch.pop("input_ids"))
    assert isinstance(model, PeftModelForFeatureExtraction)
    assert run(model, {**batch, "inputs_embeds": embedded}).isfinite().all()


def test_the_adapter_finds_its_base_by_itself(subject: Subject, tmp_path: Path) -> None:
    found = loaded_by_itself(subject, tmp_path, AutoPeftModelForFeatureExtraction)
    assert isinstance(found.get_base_model(), hf.PreTrainedModel)
