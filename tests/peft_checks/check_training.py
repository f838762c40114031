"""Training: what takes gradients and moves is the adapter, and what PEFT trains beside it; the base stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from subjects import Subject, adapter_parameters, close, differ, first_output, layers_of, run, same
from subjects import state_of as snapshot
from torch import Tensor, nn


def loss_of(model: nn.Module, subject: Subject) -> Tensor:
    """A loss that depends on every output, also on one that was normed."""
    outputs = first_output(model(**subject.batch()))
    wanted = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(2))
    return (outputs - wanted).square().mean()


def steps(model: nn.Module, subject: Subject, number: int = 3, rate: float = 0.02) -> None:
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    for _ in range(number):
        optimizer.zero_grad()
        loss_of(model, subject).backward()
        optimizer.step()


def beside(name: str, subject: Subject) -> bool:
    return "modules_to_save.default" in name and any(f".{module}." in name for module in subject.trained_beside)


class TrainingChecks:
    """For every subject."""

    def test_only_the_adapter_is_trained_and_what_is_saved_beside_it(self, subject: Subject) -> None:
        model = subject.adapted()
        learned = {id(p) for _, p in adapter_parameters(model)} - {id(p) for p in _fixed(model)}
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == (id(parameter) in learned or beside(name, subject)), name
        assert any(beside(name, subject) for name, _ in model.named_parameters()) == bool(subject.trained_beside)

    def test_gradients_reach_what_is_trained_and_nothing_else(self, subject: Subject) -> None:
        model = subject.adapted().train()
        loss_of(model, subject).backward()
        for name, parameter in model.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name
            if parameter.grad is not None:
                assert parameter.grad.isfinite().all(), name

    def test_steps_move_the_adapter_and_leave_the_base_bit_by_bit(self, subject: Subject) -> None:
        model = subject.adapted().eval()  # batch norm would move in training mode, with or without an adapter
        before = snapshot(model)
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        losses = [loss_of(model, subject).item()]
        steps(model, subject)
        losses.append(loss_of(model, subject).item())
        assert losses[1] < losses[0]
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, before[name]) == (name not in trained), name
        for name, buffer in model.named_buffers():
            if name in before:
                same(buffer, before[name])

    def test_what_was_learned_is_saved_and_loaded(self, subject: Subject, tmp_path: Path) -> None:
        model = subject.adapted()
        untrained = run(model, subject.batch())
        steps(model.eval(), subject)
        expected = run(model, subject.batch())
        differ(expected, untrained, tolerance=1e-4)
        model.save_pretrained(tmp_path)
        loaded = subject.loaded(tmp_path)
        after = snapshot(loaded)
        for key, value in snapshot(model).items():
            same(after[key], value)
        same(run(loaded, subject.batch()), expected)


class TrainingDetails:
    """What does not depend on the architecture, for some subjects."""

    def test_a_loaded_adapter_trains_on(self, subject: Subject, tmp_path: Path) -> None:
        subject.adapted().save_pretrained(tmp_path)
        model = subject.loaded(tmp_path, is_trainable=True)
        before = snapshot(model)
        steps(model, subject, number=1)
        moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert moved == {name for name, p in model.named_parameters() if p.requires_grad}

    def test_the_counts_agree_with_the_parameters(self, subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
        model = subject.adapted()
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        total = sum(p.numel() for p in model.parameters())
        assert model.get_nb_trainable_parameters() == (trained, total)
        model.print_trainable_parameters()
        said = capsys.readouterr().out
        assert f"trainable params: {trained:,d} || all params: {total:,d}" in said
        status = model.get_model_status()
        assert (status.trainable_params, status.total_params) == (trained, total)

    def test_a_frozen_adapter_computes_the_same(self, subject: Subject) -> None:
        model = subject.adapted()
        expected = run(model, subject.batch())
        model.set_requires_grad("default", requires_grad=False)
        assert not any(p.requires_grad for p in model.parameters())
        same(run(model, subject.batch()), expected)
        model.set_requires_grad("default")
        loss_of(model, subject).backward()
        assert any(p.grad is not None for p in model.parameters())


def _fixed(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that the configuration does not let learn."""
    found = []
    for layer in layers_of(model).values():
        for adapter, parts in layer.frozen_peft_weight_names.items():
            for part in parts:
                found += list(getattr(layer, part)[adapter].parameters())
    return found


class TransformerTrainingChecks:
    """For models of transformers."""

    def test_the_inputs_take_gradients_where_they_are_asked_to(self, subject: Subject) -> None:
        model = subject.adapted()
        ids = subject.batch()["input_ids"]
        assert not model.get_input_embeddings()(ids).requires_grad
        model.enable_input_require_grads()
        assert model.get_input_embeddings()(ids).requires_grad

    def test_the_layers_to_transform_are_transformed(self, subject: Subject, tmp_path: Path) -> None:
        model = subject.adapted(layers_to_transform=[0])
        everywhere = subject.adapted()
        assert 0 < len(layers_of(model)) < len(layers_of(everywhere))
        assert all(".0." in name for name in layers_of(model))
        loss_of(model, subject).backward()
        own = {id(p) for _, p in adapter_parameters(model)}
        for name, parameter in model.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name
            assert not parameter.requires_grad or id(parameter) in own or beside(name, subject), name
        expected = run(model, subject.batch())
        model.save_pretrained(tmp_path)
        loaded = subject.loaded(tmp_path)
        assert layers_of(loaded).keys() == layers_of(model).keys()
        same(run(loaded, subject.batch()), expected)

    @pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
    @pytest.mark.parametrize("reentrant", [True, False], ids=["reentrant", "not reentrant"])
    def test_checkpointing_changes_no_gradient(self, subject: Subject, reentrant: bool) -> None:
        model = subject.adapted(lora_dropout=0.0)
        for module in model.modules():  # of the base: it would draw other numbers
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        model.train()

        def gradients() -> dict[str, Tensor]:
            model.zero_grad()
            loss_of(model, subject).backward()
            return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

        plain = gradients()
        model.prepare_model_for_gradient_checkpointing(model)
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        checkpointed = gradients()
        assert plain.keys() == checkpointed.keys()
        for name, gradient in plain.items():
            close(checkpointed[name], gradient, tolerance=1e-5)
