"""What PEFT checks of its methods on decoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from check_adapters import WeightedChecks, WeightedDetails
from check_generation import GenerationChecks, PositionalChecks, scores
from check_transformers import TransformerChecks, TransformerDetails, loaded_by_itself
from peft import AutoPeftModel, AutoPeftModelForCausalLM, PeftModelForCausalLM, get_peft_model
from subjects import (
    Sample,
    Subject,
    adapter_parameters,
    close,
    differ,
    each_with_variants,
    layers_of,
    run,
    same,
    state_of,
)
from tiny_transformers import DECODERS

LLAMA = DECODERS[0]


SUBJECTS = each_with_variants(DECODERS, "llama")
SAMPLE = Sample(SUBJECTS, 2)


class TestEach(TransformerChecks, WeightedChecks):
    pass


class TestDetails(TransformerDetails, WeightedDetails):
    SAMPLE = Sample(SUBJECTS, 1)


class TestGeneration(GenerationChecks, PositionalChecks):
    pass


class TestByItself:
    """Transformers loads, adds and switches adapters on its own models, without a model of PEFT's."""

    def test_it_loads_what_peft_saved(self, subject: Subject, tmp_path: Path) -> None:
        model = subject.adapted()
        model.save_pretrained(tmp_path)
        base = subject.base()
        base.load_adapter(str(tmp_path))
        same(run(base.eval(), subject.batch()), run(model, subject.batch()))
        base.disable_adapters()
        same(run(base, subject.batch()), run(subject.base(), subject.batch()))
        base.enable_adapters()
        same(run(base, subject.batch()), run(model, subject.batch()))

    def test_peft_loads_what_it_saved(self, subject: Subject, tmp_path: Path) -> None:
        base = subject.base()
        torch.manual_seed(1)
        base.add_adapter(subject.config())
        base.eval()
        same(run(base, subject.batch()), run(subject.adapted(), subject.batch()))
        base.save_pretrained(tmp_path)
        assert (tmp_path / "adapter_model.safetensors").is_file()
        assert not (tmp_path / "model.safetensors").exists()
        same(run(subject.loaded(tmp_path), subject.batch()), run(base, subject.batch()))

    @pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
    def test_it_switches_between_two(self, subject: Subject, tmp_path: Path) -> None:
        for number, seed in enumerate((1, 2)):
            subject.adapted(seed=seed).save_pretrained(tmp_path / str(number))
        base = subject.base()
        base.load_adapter(str(tmp_path / "0"), adapter_name="zero")
        base.load_adapter(str(tmp_path / "1"), adapter_name="one")
        for name, seed in (("zero", 1), ("one", 2)):
            base.set_adapter(name)
            assert base.active_adapters() == [name]
            same(run(base.eval(), subject.batch()), run(subject.adapted(seed=seed), subject.batch()))
        with pytest.warns(UserWarning, match="Adapter one was active which is now deleted"):
            base.delete_adapter("one")
        assert not list(adapter_parameters(base, "one"))

    def test_the_adapter_finds_its_base_by_itself(self, subject: Subject, tmp_path: Path) -> None:
        found = loaded_by_itself(subject, tmp_path, AutoPeftModelForCausalLM)
        assert isinstance(found, PeftModelForCausalLM)


def test_without_a_task_the_class_of_the_base_is_remembered(tmp_path: Path) -> None:
    base = LLAMA.base()
    base.save_pretrained(tmp_path / "base")
    config = LLAMA.config()
    config.task_type = None
    model = get_peft_model(base, config).eval()
    config.base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter")
    found = AutoPeftModel.from_pretrained(str(tmp_path / "adapter")).eval()
    assert type(found.get_base_model()) is type(base)
    same(run(found, LLAMA.batch()), run(model, LLAMA.batch()))


class TestTiedWeights:
    """The embedding's weight is the head's as well."""

    @pytest.fixture
    def tied(self) -> Subject:
        import transformers as hf
        from tiny_transformers import SMALL, SPREAD, text

        return Subject(
            "tied llama",
            lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL, **SPREAD, tie_word_embeddings=True)),
            text,
            {"target_modules": ["q_proj"]},
            "CAUSAL_LM",
        )

    def test_an_adapter_elsewhere_leaves_them_tied(self, tied: Subject) -> None:
        plain = tied.adapted().merge_and_unload()
        assert plain.lm_head.weight is plain.model.embed_tokens.weight

    @pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
    def test_an_adapter_on_one_of_them_is_warned_of_and_changes_that_one_alone(
        self, tied: Subject, target: str, tmp_path: Path
    ) -> None:
        with pytest.warns(UserWarning, match="a tied layer is part of the adapter"):
            model = tied.adapted(target_modules=["q_proj", target])
        assert any(name.endswith(target) for name in layers_of(model))
        expected = run(model, tied.batch())
        differ(expected, run(tied.base(), tied.batch()))
        other = "model.embed_tokens" if target == "lm_head" else "lm_head"
        same(model.get_base_model().get_submodule(other).weight, tied.base().get_submodule(other).weight)
        with pytest.warns(UserWarning, match="save_embedding_layers|embedding layers found"):
            model.save_pretrained(tmp_path)
        with pytest.warns(UserWarning, match="a tied layer is part of the adapter"):
            loaded = tied.loaded(tmp_path)
        same(run(loaded, tied.batch()), expected)

    def test_merging_one_of_them_is_warned_of(self, tied: Subject) -> None:
        with pytest.warns(UserWarning, match="a tied layer is part of the adapter"):
            model = tied.adapted(target_modules=["q_proj", "lm_head"])
        with pytest.warns(UserWarning, match="This can lead to complications"):
            model.merge_and_unload()

    def test_a_tied_head_that_is_saved_beside_the_adapter_is_untied_from_the_embedding(self, tied: Subject) -> None:
        with pytest.warns(UserWarning, match="a tied layer is part of the adapter"):
            model = tied.adapted(modules_to_save=["lm_head"])
        before = state_of(model.get_input_embeddings())["weight"]
        model(**tied.batch(), labels=tied.batch()["input_ids"]).loss.backward()
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0).step()
        same(model.get_input_embeddings().weight, before)


def test_a_vocabulary_that_grew_is_saved_with_the_adapter_on_demand(tmp_path: Path) -> None:
    base = LLAMA.base()
    base.resize_token_embeddings(60)
    torch.manual_seed(1)
    model = get_peft_model(base, LLAMA.config()).eval()
    model.save_pretrained(tmp_path, save_embedding_layers=True)
    again = LLAMA.base()
    again.resize_token_embeddings(60)
    from peft import PeftModel

    loaded = PeftModel.from_pretrained(again, str(tmp_path)).eval()
    same(run(loaded, LLAMA.batch()), run(model, LLAMA.batch()))


def test_an_adapter_that_starts_as_identity_generates_as_the_base() -> None:
    model = LLAMA.adapted(init_weights=True)
    close(scores(model, LLAMA), scores(LLAMA.base(), LLAMA), tolerance=1e-6)
