"""Merging: the outputs stay, the base weights come back, and what would break them is refused before it is written."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from subjects import Subject, adapter_parameters, close, differ, first_output, layers_of, run, same
from torch import Tensor, nn

BROKEN = "NaNs detected in the merged weights. The adapter default seems to be broken"
"""What PEFT's methods say of an adapter that is not finite, and what is looked for in logs."""


def base_weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: layer.get_base_layer().weight.detach().clone() for name, layer in layers_of(model).items()}


def break_adapter(model: PeftModel, value: float) -> None:
    with torch.no_grad():
        for _, parameter in adapter_parameters(model):
            parameter.view(-1)[0] = value


class MergingChecks:
    """For every subject."""

    def test_merged_unmerged_and_unloaded_compute_the_same(self, subject: Subject, tmp_path: Path) -> None:
        model, batch = subject.adapted(), subject.batch()
        before, weights = run(model, batch), base_weights(model)
        model.merge_adapter()
        merged = run(model, batch)
        assert all(layer.merged_adapters == ["default"] for layer in layers_of(model).values())
        assert all(not torch.equal(after, weights[name]) for name, after in base_weights(model).items())
        model.unmerge_adapter()
        for name, after in base_weights(model).items():
            same(after, weights[name])
        same(run(model, batch), before)
        close(merged, before)

        plain = model.merge_and_unload()
        assert not any(isinstance(module, BaseTunerLayer) for module in plain.modules())
        assert not hasattr(plain, "peft_config")
        assert type(plain) is type(subject.base())
        close(run(plain, batch), before)
        differ(run(plain, batch), run(subject.base(), batch))
        assert plain.state_dict().keys() == subject.base().state_dict().keys()

        # A merged model is a plain one: it is saved and loaded without this package.
        if subject.is_transformers_model:
            plain.save_pretrained(tmp_path)
            again = type(plain).from_pretrained(tmp_path).eval()
        else:
            save_file({key: value.contiguous() for key, value in plain.state_dict().items()}, tmp_path / "plain")
            again = subject.base()
            again.load_state_dict(load_file(tmp_path / "plain"))
        close(run(again, batch), before)

    def test_a_safe_merge_is_as_exact_and_leaves_weights_that_can_be_saved(
        self, subject: Subject, tmp_path: Path
    ) -> None:
        model, batch = subject.adapted(), subject.batch()
        before = run(model, batch)
        plain = model.merge_and_unload(safe_merge=True)
        close(run(plain, batch), before, tolerance=1e-5)
        assert all(value.is_contiguous() for value in plain.state_dict().values())

    def test_several_adapters_merge_alone_and_together_in_any_order(self, subject: Subject) -> None:
        model, batch = subject.adapted(), subject.batch()
        first = run(model, batch)
        subject.add(model, "second")
        model.set_adapter("second")
        second = run(model.eval(), batch)
        differ(first, second)
        if not subject.trained_beside:  # PEFT lets one module at a time take the place of a head
            model.base_model.set_adapter(["default", "second"])
            together = run(model, batch)
            for order in (["default", "second"], ["second", "default"]):
                close(run(copy.deepcopy(model).merge_and_unload(adapter_names=order), batch), together)
        for name, alone in (("default", first), ("second", second)):
            model.set_adapter(name)
            close(run(copy.deepcopy(model).merge_and_unload(adapter_names=[name]), batch), alone)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_broken_adapter_is_not_merged(self, subject: Subject, value: float) -> None:
        model = subject.adapted()
        weights = base_weights(model)
        break_adapter(model, value)
        with pytest.raises(ValueError, match=BROKEN):
            model.merge_and_unload(safe_merge=True)
        for layer in layers_of(model).values():
            with pytest.raises(ValueError, match="NaNs detected"):
                layer.merge(safe_merge=True)
            assert not layer.merged
        for name, after in base_weights(model).items():
            same(after, weights[name])

    def test_disabling_while_merged_gives_the_base_and_then_the_adapter_again(self, subject: Subject) -> None:
        model, batch = subject.adapted(), subject.batch()
        expected, base = run(model, batch), run(subject.base(), batch)
        model.merge_adapter()
        with model.disable_adapter():
            same(run(model, batch), base)
        close(run(model, batch), expected)

    def test_unloading_gives_the_base_back(self, subject: Subject) -> None:
        model, batch = subject.adapted(), subject.batch()
        with_adapter = run(model, batch)
        plain = model.unload()
        assert not any(isinstance(module, BaseTunerLayer) for module in plain.modules())
        assert not hasattr(plain, "peft_config")
        before = subject.base().state_dict()
        assert plain.state_dict().keys() == before.keys()
        for key, value in plain.state_dict().items():
            same(value, before[key])
        same(run(plain, batch), run(subject.base(), batch))
        differ(run(plain, batch), with_adapter)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
    def test_half_precision_merges(self, subject: Subject, dtype: torch.dtype) -> None:
        model = subject.adapted().to(dtype)
        layer = next(iter(layers_of(model).values()))
        exact = layer.get_base_layer().weight.double() + layer.get_delta_weight("default").double()
        plain = model.merge_and_unload()
        assert {value.dtype for value in plain.state_dict().values() if value.is_floating_point()} == {dtype}
        merged = layer.get_base_layer().weight.double()
        # One rounding of the sum, and the rounding of the adapter's own parameters.
        assert (merged - exact).norm() <= 2 * torch.finfo(dtype).eps * exact.norm()


class MergingDetails:
    """What does not depend on the architecture, for some subjects."""

    def test_a_merge_is_exact_to_rounding_with_a_graph_and_without(self, subject: Subject) -> None:
        model, batch = subject.adapted(), subject.batch()
        with_graph, without = first_output(model(**batch)).detach(), run(model, batch)
        merged = run(model.merge_and_unload(), batch)
        same(with_graph, without)
        close(merged, without, tolerance=5e-6)

    def test_merging_again_changes_nothing_and_says_so(self, subject: Subject) -> None:
        model, batch = subject.adapted(), subject.batch()
        model.merge_adapter()
        once, weights = run(model, batch), base_weights(model)
        with pytest.warns(UserWarning, match="All adapters are already merged, nothing to do"):
            model.merge_adapter()
        same(run(model, batch), once)
        for name, after in base_weights(model).items():
            same(after, weights[name])

    def test_unmerging_what_is_not_merged_changes_nothing_and_says_so(self, subject: Subject) -> None:
        model, batch = subject.adapted(), subject.batch()
        before = run(model, batch)
        with pytest.warns(UserWarning, match="Already unmerged"):
            model.unmerge_adapter()
        same(run(model, batch), before)

    def test_one_after_the_other_is_both_and_unmerging_undoes_both(self, subject: Subject) -> None:
        model = subject.adapted()
        subject.add(model, "second")
        weights = base_weights(model)
        model.merge_adapter(["default"])
        one = base_weights(model)
        with pytest.warns(UserWarning, match="Already following adapters were merged default"):
            model.merge_adapter(["second"])
        assert all(layer.merged_adapters == ["default", "second"] for layer in layers_of(model).values())
        for name, layer in layers_of(model).items():
            close(layer.get_base_layer().weight, one[name] + layer.get_delta_weight("second"), tolerance=1e-5)
        model.unmerge_adapter()
        for name, after in base_weights(model).items():
            same(after, weights[name])

    def test_a_broken_bias_of_the_base_is_left_to_the_base(self, subject: Subject) -> None:
        model = subject.adapted()
        for layer in layers_of(model).values():
            base = layer.get_base_layer()
            if getattr(base, "bias", None) is None:
                continue
            with torch.no_grad():
                base.bias.view(-1)[0] = float("inf")
            bias = base.bias.detach().clone()
            layer.merge(safe_merge=True)
            same(base.bias, bias)
            assert base.weight.isfinite().all()

    def test_setting_an_adapter_while_merged_unmerges_and_says_so(self, subject: Subject) -> None:
        model, batch = subject.adapted(), subject.batch()
        subject.add(model, "second")
        weights = base_weights(model)
        model.merge_adapter()
        with pytest.warns(UserWarning, match="Adapter cannot be set when the model is merged"):
            model.set_adapter("second")
        for name, after in base_weights(model).items():
            same(after, weights[name])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model.set_adapter("default")
        assert not said
        assert run(model.eval(), batch).isfinite().all()

    def test_what_is_merged_cannot_be_deleted(self, subject: Subject) -> None:
        model = subject.adapted()
        subject.add(model, "second")
        model.merge_adapter()
        with pytest.raises(ValueError, match="while they are merged"):
            model.delete_adapter("default")
        model.unmerge_adapter()
        model.set_adapter("second")
        model.delete_adapter("default")
        assert set(model.peft_config) == {"second"}

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
    def test_a_model_that_is_cast_while_merged_keeps_its_dtype(self, subject: Subject, dtype: torch.dtype) -> None:
        model = subject.adapted()
        weights = base_weights(model)
        model.merge_adapter()
        model.to(dtype)
        model.unmerge_adapter()
        for name, after in base_weights(model).items():
            assert after.dtype is dtype
            close(after.float(), weights[name], tolerance=0.02)
