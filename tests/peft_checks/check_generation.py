"""Generation: every way to ask for it, with the adapter, without it, and after it was merged."""

from __future__ import annotations

import pytest
import torch
from subjects import Subject, close, differ, run, same
from torch import Tensor, nn

LENGTH = {"max_new_tokens": 3, "do_sample": False}


def scores(model: nn.Module, subject: Subject) -> Tensor:
    """What the first new token is chosen by: tokens could be the same by chance."""
    asked = {key: value for key, value in subject.batch().items() if key != "decoder_input_ids"}
    return model.generate(**asked, **LENGTH, return_dict_in_generate=True, output_scores=True).scores[0]


class GenerationChecks:
    """For models that generate."""

    def test_it_generates(self, subject: Subject) -> None:
        model = subject.adapted()
        ids = subject.batch()["input_ids"]
        told = model.generate(input_ids=ids, **LENGTH)
        assert told.shape[0] == len(ids)
        assert told.shape[1] > (0 if subject.task == "SEQ_2_SEQ_LM" else ids.shape[1])
        close(scores(model, subject), scores(model.merge_and_unload(), subject))

    def test_it_generates_with_its_adapter_and_without(self, subject: Subject) -> None:
        model = subject.adapted()
        base, adapted = scores(subject.base(), subject), scores(model, subject)
        differ(base, adapted, tolerance=1e-4)
        with model.disable_adapter():
            close(scores(model, subject), base, tolerance=1e-6)
        close(scores(model, subject), adapted, tolerance=1e-6)

    def test_beams_are_searched(self, subject: Subject) -> None:
        model = subject.adapted()
        told = model.generate(input_ids=subject.batch()["input_ids"], num_beams=2, **LENGTH)
        assert len(told) == len(subject.batch()["input_ids"])

    def test_it_generates_in_half_precision(self, subject: Subject) -> None:
        ids = torch.tensor([[3, 3, 3], [4, 3, 4]])
        mask = torch.tensor([[1, 1, 1], [1, 0, 1]])
        model = subject.adapted().to(torch.bfloat16)
        assert len(model.generate(input_ids=ids, attention_mask=mask, **LENGTH)) == 2
        model = subject.adapted()
        with torch.autocast("cpu", torch.bfloat16):
            assert len(model.generate(input_ids=ids, attention_mask=mask, **LENGTH)) == 2

    def test_rows_with_adapters_of_their_own_are_refused(self, subject: Subject) -> None:
        model = subject.adapted()
        subject.add(model, "other")
        with pytest.raises(ValueError, match="takes no adapter_names"):
            model.generate(input_ids=subject.batch()["input_ids"], adapter_names=["default", "other"], **LENGTH)

    def test_embeddings_can_be_handed_in(self, subject: Subject) -> None:
        model, batch = subject.adapted(), subject.batch()
        embedded = model.get_input_embeddings()(batch.pop("input_ids"))
        result = run(model, {**batch, "inputs_embeds": embedded})
        if subject.name != "gemma":  # scales its embeddings where it looks them up itself
            close(result, run(model, subject.batch()))


class PositionalChecks:
    """PEFT's models for causal language modelling take positions, those for sequence to sequence do not."""

    def test_inputs_by_position(self, subject: Subject) -> None:
        model = subject.adapted()
        ids = subject.batch()["input_ids"]
        if subject.task == "SEQ_2_SEQ_LM":
            with pytest.raises(TypeError):
                model.generate(ids, **LENGTH)
        else:
            same(model.generate(ids, **LENGTH), model.generate(input_ids=ids, **LENGTH))
