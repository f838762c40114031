"""What PEFT checks of its methods on classifiers of sequences, whose head is trained and saved beside the adapter."""

from __future__ import annotations

from pathlib import Path

import torch
from check_training import steps
from check_transformers import TransformerChecks, TransformerDetails, loaded_by_itself
from peft import AutoPeftModelForSequenceClassification, PeftModelForSequenceClassification
from peft.utils import ModulesToSaveWrapper
from safetensors.torch import load_file
from subjects import Sample, Subject, differ, layers_of, run, same
from tiny_transformers import SEQUENCE_CLASSIFIERS

SAMPLE = Sample(SEQUENCE_CLASSIFIERS, 1)


class TestEach(TransformerChecks):
    pass


class TestDetails(TransformerDetails):
    pass


def head_of(model: torch.nn.Module) -> ModulesToSaveWrapper:
    (head,) = [module for module in model.modules() if isinstance(module, ModulesToSaveWrapper)]
    return head


def test_the_head_is_trained_saved_and_loaded(subject: Subject, tmp_path: Path) -> None:
    model = subject.adapted()
    assert isinstance(model, PeftModelForSequenceClassification)
    original = head_of(model).original_module.weight.clone()
    labels = torch.tensor([0, 2])
    loss = model(**subject.batch(), labels=labels).loss
    loss.backward()
    steps(model, subject)
    trained = head_of(model).modules_to_save["default"].weight
    differ(trained, original, tolerance=1e-4)
    same(head_of(model).original_module.weight, original)
    model.save_pretrained(tmp_path)
    assert any(subject.trained_beside[0] in key for key in load_file(tmp_path / "adapter_model.safetensors"))
    loaded = subject.loaded(tmp_path)
    same(head_of(loaded).modules_to_save["default"].weight, trained)
    same(run(loaded, subject.batch()), run(model, subject.batch()))


def test_each_adapter_has_a_head_of_its_own(subject: Subject) -> None:
    model = subject.adapted()
    subject.add(model, "other")
    with torch.no_grad():
        head_of(model).modules_to_save["other"].weight.add_(1)
    first = run(model, subject.batch())
    model.set_adapter("other")
    differ(run(model.eval(), subject.batch()), first)
    with model.disable_adapter():
        same(run(model, subject.batch()), run(subject.base(), subject.batch()))


def test_the_head_is_no_target_even_of_all_linear_layers(subject: Subject) -> None:
    for targets in ("all-linear", [subject.trained_beside[0], *subject.fields["target_modules"]]):
        model = subject.adapted(target_modules=targets)
        assert layers_of(model)
        assert not any(subject.trained_beside[0] in name for name in layers_of(model))


def test_merged_it_keeps_the_trained_head(subject: Subject) -> None:
    model = subject.adapted()
    steps(model, subject)
    expected, head = run(model, subject.batch()), head_of(model).modules_to_save["default"].weight.clone()
    plain = model.merge_and_unload()
    same(plain.get_submodule(subject.trained_beside[0]).weight, head)
    torch.testing.assert_close(run(plain, subject.batch()), expected, rtol=1e-4, atol=1e-5)


def test_the_adapter_finds_its_base_by_itself(subject: Subject, tmp_path: Path) -> None:
    loaded_by_itself(subject, tmp_path, AutoPeftModelForSequenceClassification, num_labels=3)
