"""Several adapters on one model: adding, switching, combining, disabling and deleting, and what their state says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import rescale_adapter_scale
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.conversion import convert_to_lora
from peft.utils import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from peft.utils.hotswap import hotswap_adapter
from peft.utils.save_and_load import set_peft_model_state_dict
from subjects import (
    Subject,
    adapter_parameters,
    close,
    differ,
    layers_of,
    run,
    same,
    state_of,
)
from torch import nn


def is_gone(model: nn.Module, adapter_name: str) -> None:
    """Assert that nothing of an adapter is left anywhere."""
    assert adapter_name not in model.peft_config
    for layer in layers_of(model).values():
        for attribute in (*layer.adapter_layer_names, *layer.other_param_names):
            assert adapter_name not in getattr(layer, attribute), attribute
        assert adapter_name not in layer.frozen_peft_weight_names
    for module in model.modules():
        if isinstance(module, AuxiliaryTrainingWrapper):
            assert adapter_name not in module._adapters
        if isinstance(module, ModulesToSaveWrapper):
            assert adapter_name not in module.modules_to_save
    assert not any(adapter_name in name.split(".") for name, _ in model.named_parameters())


class AdapterChecks:
    """For every subject."""

    def test_an_adapter_may_have_any_name(self, subject: Subject) -> None:
        model = subject.adapted(adapter_name="test-adapter")
        names = [name for name, _ in adapter_parameters(model, "test-adapter")]
        assert names
        assert all("test-adapter" in name for name in names)
        assert not list(adapter_parameters(model, "default"))
        assert model.active_adapters == ["test-adapter"]
        same(run(model, subject.batch()), run(subject.adapted(), subject.batch()))

    def test_another_adapter_leaves_the_first_as_it_is(self, subject: Subject) -> None:
        model, batch = subject.adapted(), subject.batch()
        expected, before = run(model, batch), state_of(model)
        subject.add(model, "other")
        assert model.active_adapters == ["default"]
        after = state_of(model)
        assert before.keys() <= after.keys()
        for key, value in before.items():
            same(after[key], value)
        same(run(model, batch), expected)
        model.set_adapter("other")
        differ(run(model.eval(), batch), expected)
        model.set_adapter("default")
        same(run(model.eval(), batch), expected)

    def test_active_adapters_add_up(self, subject: Subject) -> None:
        model = subject.adapted()
        subject.add(model, "other")
        weights = {name: layer.get_base_layer().weight.clone() for name, layer in layers_of(model).items()}
        model.base_model.set_adapter(["default"] if subject.trained_beside else ["default", "other"])
        active = model.active_adapters
        merged = run(model, subject.batch())
        model.merge_adapter()
        for name, layer in layers_of(model).items():
            with torch.no_grad():  # with a gradient the engine may fit otherwise, within its tolerance
                total = sum(layer.get_delta_weight(adapter) for adapter in active)
            close(layer.get_base_layer().weight, weights[name] + total, tolerance=1e-5)
        close(run(model, subject.batch()), merged)

    def test_disabled_it_is_the_base_bit_by_bit_and_enabled_it_is_back(self, subject: Subject) -> None:
        model, batch = subject.adapted(), subject.batch()
        base, expected = run(subject.base(), batch), run(model, batch)
        with model.disable_adapter():
            same(run(model, batch), base)
            assert model.get_model_status().enabled is False
            with model.disable_adapter():
                same(run(model, batch), base)
            same(run(model, batch), base)
        assert model.get_model_status().enabled is True
        same(run(model, batch), expected)
        model.base_model.disable_adapter_layers()
        same(run(model, batch), base)
        with model.disable_adapter():
            same(run(model, batch), base)
        same(run(model, batch), base)
        model.base_model.enable_adapter_layers()
        same(run(model, batch), expected)

    @pytest.mark.parametrize("active", [True, False], ids=["active", "inactive"])
    def test_deleted_it_is_gone(self, subject: Subject, active: bool) -> None:
        model, batch = subject.adapted(), subject.batch()
        expected = run(model, batch)
        subject.add(model, "delete_me")
        if active:
            model.set_adapter("delete_me")
            with pytest.warns(UserWarning, match="Adapter delete_me was active which is now deleted"):
                model.delete_adapter("delete_me")
        else:
            model.delete_adapter("delete_me")
        is_gone(model, "delete_me")
        assert model.active_adapters == ["default"]
        same(run(model.eval(), batch), expected)

        model.delete_adapter("default")
        is_gone(model, "default")
        assert model.active_adapters == []
        if not subject.trained_beside:
            # A PEFT model expects an active adapter; its tuner does not.
            same(run(model.base_model, batch), run(subject.base(), batch))

    def test_rows_with_adapters_of_their_own_are_refused(self, subject: Subject) -> None:
        """PEFT drops the argument where a method does not take it, and every row would get the active adapter."""
        model, batch = subject.adapted(), subject.batch()
        subject.add(model, "other")
        number = len(next(iter(batch.values())))
        with pytest.raises(ValueError, match="takes no adapter_names: all rows of a batch go through the active"):
            model(**batch, adapter_names=["other"] * number)

    @pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")
    def test_pefts_lora_takes_over_its_update(self, subject: Subject) -> None:
        model, batch = subject.adapted(), subject.batch()
        if any(layer.get_base_layer().weight.ndim != 2 for layer in layers_of(model).values()) or any(
            isinstance(layer.get_base_layer(), nn.Embedding) for layer in layers_of(model).values()
        ):
            # PEFT converts linear layers only.
            assert not model.supports_lora_conversion()
            with pytest.raises(TypeError, match="do not support LoRA conversion"):
                convert_to_lora(model, rank=2)
            return
        assert model.supports_lora_conversion()
        expected = run(model, batch)
        config, state = convert_to_lora(model, rank=1.0)
        assert config.peft_type == "LORA"
        converted = get_peft_model(subject.base(), config).eval()
        assert not set_peft_model_state_dict(converted, state).unexpected_keys
        assert any(isinstance(module, LoraLayer) for module in converted.modules())
        close(run(converted, batch), expected, tolerance=1e-3)


class AdapterDetails:
    """What does not depend on the architecture, for some subjects."""

    def test_a_name_is_taken_once_and_only_known_ones_are_set(self, subject: Subject) -> None:
        model = subject.adapted()
        with pytest.raises(ValueError, match="already exists"):
            model.add_adapter("default", subject.config())
        with pytest.raises(ValueError, match="not found"):
            model.set_adapter("gone")
        with pytest.raises(ValueError, match="Cannot combine adapters with different peft types"):
            model.add_adapter("other", LoraConfig(r=2, target_modules=["lin0"]))
        assert model.active_adapters == ["default"]
        assert set(model.peft_config) == {"default"}

    def test_an_adapter_that_cannot_be_added_leaves_no_trace(self, subject: Subject) -> None:
        model, batch = subject.adapted(), subject.batch()
        expected = run(model, batch)
        with pytest.raises(ValueError, match=r"not found in the base model|No modules were targeted"):
            model.add_adapter("broken", subject.config(target_modules=["no_such_module"]))
        is_gone(model, "broken")
        same(run(model, batch), expected)

    def test_a_deleted_name_can_be_used_again(self, subject: Subject) -> None:
        model, batch = subject.adapted(), subject.batch()
        for seed in (3, 4):
            subject.add(model, "other", seed=seed)
            model.set_adapter("other")
            differ(run(model.eval(), batch), run(subject.adapted(), batch))
            model.set_adapter("default")
            model.delete_adapter("other")
        same(run(model.eval(), batch), run(subject.adapted(), batch))

    def test_what_is_not_there_cannot_be_deleted(self, subject: Subject) -> None:
        model = subject.adapted()
        with pytest.raises(ValueError, match="Adapter unknown-adapter does not exist"):
            model.delete_adapter("unknown-adapter")

    def test_its_status_says_what_is_so(self, subject: Subject) -> None:
        model = subject.adapted()
        subject.add(model, "other")
        # PEFT says so of an adapter of which something is held fixed; ours are, but for a learned grid.
        fixed = any(layer.frozen_peft_weight_names for layer in layers_of(model).values())
        requires_grad = {"default": "irregular" if fixed else True, "other": False}
        layers = [status for status in model.get_layer_status() if status.module_type.startswith("lrlora.")]
        assert len(layers) == len(layers_of(model))
        for status in layers:
            assert status.enabled
            assert status.active_adapters == ["default"]
            assert status.merged_adapters == []
            assert status.requires_grad == requires_grad
            assert status.available_adapters == ["default", "other"]
            assert status.devices == {"default": ["cpu"], "other": ["cpu"]}
            assert status.quantization_backend is None
        whole = model.get_model_status()
        assert whole.adapter_model_type == "LRLoraModel"
        assert whole.peft_types == {"default": "LRLORA", "other": "LRLORA"}
        assert whole.base_model_type == type(subject.base()).__name__
        assert whole.enabled is True
        assert whole.active_adapters == ["default"]
        assert whole.requires_grad == requires_grad
        if not subject.trained_beside:
            model.merge_adapter()
            assert model.get_model_status().merged_adapters == ["default"]

    def test_it_can_be_printed(self, subject: Subject) -> None:
        model = subject.adapted()
        for layer in layers_of(model).values():
            text = repr(layer)
            assert text.startswith("lrlora.")
            for part in ("base_layer", "lrlora_A", "lrlora_B", "lrlora_amplitude", "default"):
                assert part in text
        assert "lrlora." in repr(model)

    def test_methods_are_not_mixed(self, subject: Subject) -> None:
        with pytest.raises(ValueError, match="'LRLORA' is not compatible with the `PeftMixedModel`"):
            get_peft_model(subject.base(), subject.config(), mixed=True)

    def test_weights_are_not_swapped_in_place(self, subject: Subject, tmp_path: Path) -> None:
        model, batch = subject.adapted(), subject.batch()
        expected = run(model, batch)
        subject.adapted(seed=5).save_pretrained(tmp_path)
        with pytest.raises(ValueError, match="Hotswapping only supports LORA but LRLORA was passed"):
            hotswap_adapter(model, str(tmp_path), "default", torch_device="cpu")
        same(run(model, batch), expected)

    def test_it_is_not_rescaled_as_lora_is(self, subject: Subject) -> None:
        model = subject.adapted()
        refused = pytest.raises(ValueError, match="scaling is only supported for models with `LoraLayer`s")
        with refused, rescale_adapter_scale(model, 0.5):
            pass


class WeightedChecks:
    """For subjects with nothing trained beside the adapter."""

    @pytest.mark.parametrize("weights", [[0.5, 1.5], [-0.5, -0.8]], ids=["positive", "negative"])
    def test_a_weighted_sum_is_that_of_the_updates(self, subject: Subject, weights: list[float]) -> None:
        model = subject.adapted()
        subject.add(model, "other", r=3)
        before = state_of(model)
        errors = model.add_weighted_adapter(["default", "other"], weights, "sum", svd_rank=64)
        assert model.active_adapters == ["default"]
        for key, value in before.items():
            same(model.state_dict()[key], value)
        for name, layer in layers_of(model).items():
            wanted = weights[0] * layer.get_delta_weight("default") + weights[1] * layer.get_delta_weight("other")
            # The svd is as exact as the engine evaluates a straight line.
            assert (layer.get_delta_weight("sum") - wanted).norm() <= 1e-3 * wanted.norm()
            assert errors[name.removeprefix("base_model.model.")] < 1e-4
        model.set_adapter("sum")
        model.merge_adapter(safe_merge=True)
        assert run(model.eval(), subject.batch()).isfinite().all()


class WeightedDetails:
    """For some subjects with nothing trained beside the adapter."""

    def test_one_adapter_is_weighted(self, subject: Subject) -> None:
        model = subject.adapted()
        model.add_weighted_adapter(["default"], [-0.5], "halved", svd_rank=64)
        for layer in layers_of(model).values():
            wanted = -0.5 * layer.get_delta_weight("default")
            assert (layer.get_delta_weight("halved") - wanted).norm() <= 1e-3 * wanted.norm()

    def test_a_truncated_sum_says_what_it_loses(self, subject: Subject, tmp_path: Path) -> None:
        model = subject.adapted()
        subject.add(model, "other")
        errors = model.add_weighted_adapter(["default", "other"], [1.0, 1.0], "sum", svd_rank=1)
        for name, layer in layers_of(model).items():
            wanted = layer.get_delta_weight("default") + layer.get_delta_weight("other")
            lost = (layer.get_delta_weight("sum") - wanted).norm() / wanted.norm()
            assert lost.item() == pytest.approx(errors[name.removeprefix("base_model.model.")], abs=1e-2)
            assert layer.r["sum"] == 1
        model.set_adapter("sum")
        expected = run(model.eval(), subject.batch())
        model.save_pretrained(tmp_path, selected_adapters=["sum"])
        same(run(subject.loaded(tmp_path / "sum"), subject.batch()), expected)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ((["default", "gone"], [1.0, 1.0], "sum"), "'gone'"),
            ((["default", "other"], [1.0], "sum"), "weights"),
            ((["default", "other"], [1.0, 1.0], "other"), "'other'"),
            ((["default", "other"], [1.0, 1.0], "sum", "ties"), "'ties'"),
            ((["default", "other"], [1.0, 1.0], "sum", "linear"), "'linear'"),
            (([], [], "sum"), "no adapter"),
        ],
        ids=["unknown adapter", "too few weights", "name taken", "ties", "linear", "no adapters"],
    )
    def test_what_cannot_be_combined_is_refused(self, subject: Subject, arguments: tuple, says: str) -> None:
        model = subject.adapted()
        subject.add(model, "other")
        with pytest.raises(ValueError, match=says):
            model.add_weighted_adapter(*arguments)
        assert set(model.peft_config) == {"default", "other"}
