"""What PEFT checks of its methods on modules that are no models of transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from check_adapters import AdapterChecks, AdapterDetails, WeightedChecks, WeightedDetails
from check_merging import MergingChecks, MergingDetails
from check_precision import PrecisionChecks, PrecisionDetails
from check_saving import SavingChecks, SavingDetails
from check_training import TrainingChecks, TrainingDetails, loss_of
from custom_modules import MLP, MODULES, Attending, Deep, InTwoPlaces, Tied, numbers, rows
from peft import LoraConfig, PeftModel, get_peft_model, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.error import NoMatchingPeftModuleError
from subjects import (
    RANDOM,
    Sample,
    Subject,
    adapter_parameters,
    close,
    differ,
    each_with_variants,
    layers_of,
    run,
    same,
)
from torch import nn

from lrlora import LRLoraConfig

MLP_SUBJECT = MODULES[0]
DEEP = next(subject for subject in MODULES if subject.name == "deep")


SUBJECTS = each_with_variants(MODULES, "mlp, both layers")
SAMPLE = Sample(SUBJECTS, 3)


class TestSaving(SavingChecks):
    pass


class TestMerging(MergingChecks):
    pass


class TestTraining(TrainingChecks):
    pass


class TestAdapters(AdapterChecks):
    pass


class TestWeighted(WeightedChecks):
    # Modules that are saved beside an adapter cannot be combined; a test below shows that they are refused.
    SAMPLE = Sample([subject for subject in SUBJECTS if not subject.trained_beside], 3)


class TestPrecision(PrecisionChecks):
    pass


class TestDetails(SavingDetails, MergingDetails, TrainingDetails, AdapterDetails, WeightedDetails, PrecisionDetails):
    SAMPLE = Sample([subject for subject in SUBJECTS if not subject.trained_beside], 2)


def adapted_names(model: nn.Module) -> set[str]:
    return {name.removeprefix("base_model.model.") for name in layers_of(model)}


TARGETS = [
    ({"target_modules": ["lin0"]}, {f"layers.{i}.lin0" for i in range(3)}),
    ({"target_modules": ["layers.1.lin0"]}, {"layers.1.lin0"}),
    ({"target_modules": ["1.lin0", "head"]}, {"layers.1.lin0", "head"}),
    ({"target_modules": r"layers\.[02]\.lin."}, {f"layers.{i}.lin{j}" for i in (0, 2) for j in (0, 1)}),
    ({"target_modules": "head"}, {"head"}),
    (
        {"target_modules": "all-linear"},
        {f"layers.{i}.lin{j}" for i in range(3) for j in (0, 1)} | {"head"},
    ),
    ({"target_modules": ["lin0"], "exclude_modules": ["layers.1.lin0"]}, {"layers.0.lin0", "layers.2.lin0"}),
    ({"target_modules": ["lin0"], "exclude_modules": r".*\.[01]\..*"}, {"layers.2.lin0"}),
    (
        {"target_modules": ["lin0"], "layers_to_transform": 2, "layers_pattern": ["h", "layers"]},
        {"layers.2.lin0"},
    ),
    (
        {"target_modules": ["lin1"], "layers_to_transform": [1, 2], "layers_pattern": "layers"},
        {"layers.1.lin1", "layers.2.lin1"},
    ),
    ({"target_modules": ["lin0", "head"], "modules_to_save": ["head"]}, {f"layers.{i}.lin0" for i in range(3)}),
]
"""Fields that name modules of :class:`Deep`, and what they name."""


class TestTargets:
    """Every way to name modules means what it means for LoRA."""

    @pytest.mark.parametrize(
        ("fields", "adapted"),
        TARGETS,
        ids=[str(fields) for fields, _ in TARGETS],  # not of the sets, whose order is another in each process
    )
    def test_they_name_what_they_name_for_lora(self, fields: dict, adapted: set[str]) -> None:
        model = get_peft_model(Deep(), LRLoraConfig(**RANDOM, **fields))
        assert adapted_names(model) == adapted
        lora = get_peft_model(Deep(), LoraConfig(r=2, **fields))
        assert {
            name.removeprefix("base_model.model.")
            for name, module in lora.named_modules()
            if isinstance(module, BaseTunerLayer)
        } == adapted
        assert sorted(model.targeted_module_names) == sorted(adapted)

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"target_modules": ["gone"]}, "Target modules .*gone.* not found in the base model"),
            ({"target_modules": r"gone.*"}, "Target modules gone.* not found in the base model"),
            ({"target_modules": []}, "No `target_modules` passed"),
            ({"target_modules": ["lin0"], "exclude_modules": ["lin0"]}, "mismatched target modules and excluded"),
            ({"target_modules": ["lin0"], "layers_to_transform": [7]}, "You specified 'layers_to_transform'"),
            (
                {"target_modules": ["lin0"], "layers_to_transform": [0], "layers_pattern": ["h"]},
                "You also specified 'layers_pattern'",
            ),
            ({"target_modules": ["lin0"], "modules_to_save": ["lin0"]}, "No modules were targeted"),
        ],
        ids=str,
    )
    def test_what_names_nothing_is_refused(self, fields: dict, says: str) -> None:
        with pytest.raises(NoMatchingPeftModuleError, match=says):
            get_peft_model(Deep(), LRLoraConfig(**RANDOM, **fields))

    def test_excluding_what_is_not_there_is_warned_of(self) -> None:
        with pytest.warns(UserWarning, match="no modules were excluded"):
            get_peft_model(Deep(), LRLoraConfig(**RANDOM, target_modules=["lin0"], exclude_modules=["gone"]))

    @pytest.mark.parametrize("pattern", ["rank_pattern", "alpha_pattern"])
    def test_a_pattern_that_fits_nothing_is_warned_of(self, pattern: str) -> None:
        with pytest.warns(RuntimeWarning, match=f"{pattern} keys did not match any targeted module"):
            get_peft_model(Deep(), LRLoraConfig(**RANDOM, target_modules=["lin0"], **{pattern: {"gone": 4}}))

    def test_without_targets_and_a_known_family_the_way_out_is_said(self) -> None:
        with pytest.raises(ValueError, match=r"its linear modules end in: lin0, lin1, head. Name the targets"):
            get_peft_model(Deep(), LRLoraConfig(**RANDOM))

    @pytest.mark.parametrize(("target", "kind"), [("relu", "ReLU"), ("drop", "Dropout")])
    def test_a_module_without_a_weight_is_refused_by_its_name(self, target: str, kind: str) -> None:
        with pytest.raises(ValueError, match=f"'{target}' is a {kind}; LR-LoRA adapts"):
            get_peft_model(MLP(), LRLoraConfig(**RANDOM, target_modules=["lin0", target]))

    @pytest.mark.parametrize("target", ["mha", "out_proj"])
    def test_pytorchs_attention_is_refused_and_not_adapted_in_vain(self, target: str) -> None:
        with pytest.raises(ValueError, match="MultiheadAttention"):
            get_peft_model(Attending(), LRLoraConfig(**RANDOM, target_modules=["lin0", target]))

    def test_what_stands_beside_pytorchs_attention_is_adapted(self) -> None:
        model = get_peft_model(Attending(), LRLoraConfig(**RANDOM, target_modules=["lin0"])).eval()
        assert adapted_names(model) == {"lin0"}
        expected = run(model, rows())
        close(run(model.merge_and_unload(), rows()), expected)

    def test_two_names_of_one_module_are_treated_as_for_lora(self) -> None:
        # PEFT sees a module under its first name: the other goes on to mean the layer without an adapter.
        targets = {"target_modules": ["first", "second"]}
        model = get_peft_model(InTwoPlaces(), LRLoraConfig(**RANDOM, **targets))
        lora = get_peft_model(InTwoPlaces(), LoraConfig(r=2, **targets))
        assert adapted_names(model) == {"first"}
        for adapted in (model, lora):
            base = adapted.get_base_model()
            assert isinstance(base.first, BaseTunerLayer)
            assert type(base.second) is nn.Linear
            assert base.first.get_base_layer() is base.second


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "ranks"),
        [
            ({}, {"layers.0.lin0": 2, "layers.1.lin0": 2, "layers.1.lin1": 2}),
            ({"lin0": 4}, {"layers.0.lin0": 4, "layers.1.lin0": 4, "layers.1.lin1": 2}),
            ({"layers.1.lin0": 4}, {"layers.0.lin0": 2, "layers.1.lin0": 4, "layers.1.lin1": 2}),
            ({r"layers\.1\.lin.": 4}, {"layers.0.lin0": 2, "layers.1.lin0": 4, "layers.1.lin1": 4}),
            ({r"^layers\.0.*": 4, "lin1": 3}, {"layers.0.lin0": 4, "layers.1.lin0": 2, "layers.1.lin1": 3}),
        ],
        ids=str,
    )
    def test_ranks_and_alphas_by_module_are_those_of_lora(
        self, pattern: dict[str, int], ranks: dict[str, int], tmp_path: Path
    ) -> None:
        fields = {"target_modules": ["lin0", "lin1"], "rank_pattern": pattern, "alpha_pattern": pattern}
        model = get_peft_model(Deep(), LRLoraConfig(**RANDOM, lora_alpha=6, **fields))
        lora = get_peft_model(Deep(), LoraConfig(r=2, lora_alpha=6, **fields))
        for name, r in ranks.items():
            layer, other = (adapted.get_base_model().get_submodule(name) for adapted in (model, lora))
            assert layer.r["default"] == other.r["default"] == r
            assert layer.scaling["default"] == other.scaling["default"]
            assert layer.lrlora_A["default"].weight.shape[0] == r
        model.save_pretrained(tmp_path)
        loaded = PeftModel.from_pretrained(Deep(), str(tmp_path))
        assert {name: layer.r for name, layer in layers_of(loaded).items()} == {
            name: layer.r for name, layer in layers_of(model).items()
        }

    def test_a_layer_of_rank_zero_is_left_as_it_is(self, tmp_path: Path) -> None:
        subject = DEEP.varied("without one", {"rank_pattern": {r"layers\.1\.lin0": 0}})
        model = subject.adapted()
        layer = layers_of(model)["base_model.model.layers.1.lin0"]
        assert layer.r["default"] == 0
        assert layer.get_delta_weight("default").count_nonzero() == 0
        x = torch.randn(3, 10)
        same(layer(x), layer.base_layer(x))
        expected = run(model, subject.batch())
        loss_of(model, subject).backward()
        model.save_pretrained(tmp_path)
        same(run(subject.loaded(tmp_path), subject.batch()), expected)
        model.merge_adapter(safe_merge=True)
        close(run(model, subject.batch()), expected)
        model.unmerge_adapter()
        same(run(model, subject.batch()), expected)


class TestTied:
    @pytest.mark.parametrize("target", ["emb", "head"])
    def test_one_of_two_tied_modules_is_adapted_alone(self, target: str, tmp_path: Path) -> None:
        subject = Subject("tied", Tied, numbers, {"target_modules": [target]})
        model = subject.adapted()
        base = model.get_base_model()
        assert base.emb.weight is base.head.weight
        assert adapted_names(model) == {target}
        expected = run(model, subject.batch())
        differ(expected, run(subject.base(), subject.batch()))
        model.save_pretrained(tmp_path)
        same(run(subject.loaded(tmp_path), subject.batch()), expected)


class TestLoading:
    def test_a_file_that_lacks_something_is_refused(self, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        MLP_SUBJECT.adapted().save_pretrained(tmp_path)
        state = load_file(tmp_path / "adapter_model.safetensors")
        missing = next(key for key in state if "lrlora_B" in key)
        del state[missing]
        save_file(state, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=r"lrlora_B.* is not in the file"):
            MLP_SUBJECT.loaded(tmp_path)

    def test_a_file_of_another_rank_is_refused_and_leaves_the_model(self, tmp_path: Path) -> None:
        MLP_SUBJECT.adapted(r=3).save_pretrained(tmp_path)
        base = MLP_SUBJECT.base()
        before = run(base, rows())
        with pytest.raises(ValueError, match="has shape"):
            PeftModel.from_pretrained(base, str(tmp_path), config=MLP_SUBJECT.config(r=2))
        same(run(base, rows()), before)
        assert not layers_of(base)

    def test_pickled_weights_are_written_on_demand_and_never_read(self, tmp_path: Path) -> None:
        MLP_SUBJECT.adapted().save_pretrained(tmp_path, safe_serialization=False)
        assert (tmp_path / "adapter_model.bin").is_file()
        with pytest.raises(ValueError, match=r"adapter_model\.bin is a pickle"):
            MLP_SUBJECT.loaded(tmp_path)

    def test_a_shared_theta_is_in_the_file_once(self, tmp_path: Path) -> None:
        from safetensors.torch import load_file

        subject = DEEP.varied("shared", {"sharing": "all"})
        model = subject.adapted()
        model.save_pretrained(tmp_path)
        keys = load_file(tmp_path / "adapter_model.safetensors").keys()
        assert sum("lrlora_amplitude" in key for key in keys) == 1
        assert sum("lrlora_A" in key for key in keys) == 6
        for lean in (False, True):
            loaded = subject.loaded(tmp_path, low_cpu_mem_usage=lean, is_trainable=True)
            same(run(loaded, rows()), run(model, rows()))
            assert sum("amplitude" in name for name, _ in adapter_parameters(loaded)) == 1

    def test_a_card_that_is_there_is_kept(self, tmp_path: Path) -> None:
        (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
        MLP_SUBJECT.adapted().save_pretrained(tmp_path)
        card = (tmp_path / "README.md").read_text()
        assert "license: mit" in card
        assert "library_name: peft" in card
        assert "# Mine" in card


class TestWrapping:
    @pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
    def test_adapting_an_adapted_model_is_warned_of(self) -> None:
        base = MLP()
        get_peft_model(base, LRLoraConfig(**RANDOM, target_modules=["lin0"]))
        with pytest.warns(UserWarning, match="You are trying to modify a model with PEFT for a second time"):
            get_peft_model(base, LRLoraConfig(**RANDOM, target_modules=["lin1"]))

    def test_after_unloading_it_may_be_adapted_anew(self) -> None:
        model = MLP_SUBJECT.adapted()
        expected = run(model, rows())
        torch.manual_seed(1)
        again = get_peft_model(model.unload(), MLP_SUBJECT.config()).eval()
        same(run(again, rows()), expected)

    def test_a_second_adapter_elsewhere_leaves_the_layers_of_the_first(self) -> None:
        model = MLP_SUBJECT.adapted()
        expected = run(model, rows())
        MLP_SUBJECT.add(model, "other", target_modules=["lin1"])
        same(run(model, rows()), expected)
        model.set_adapter("other")
        layer0, layer1 = layers_of(model).values()
        assert (layer0.r, layer1.r) == ({"default": 2}, {"other": 2})
        with model.disable_adapter():
            same(run(model.eval(), rows()), run(MLP_SUBJECT.base(), rows()))
        model.base_model.set_adapter(["default", "other"])
        both = run(model.eval(), rows())
        model.merge_adapter()
        close(run(model, rows()), both)
        model.unmerge_adapter()
        model.delete_adapter("other")
        same(run(model.eval(), rows()), expected)

    def test_the_bias_of_the_base_is_never_trained(self) -> None:
        with pytest.raises((TypeError, ValueError), match="bias"):
            LRLoraConfig(**RANDOM, target_modules=["lin0"], bias="all")

    def test_parameters_that_are_no_modules_are_not_targets(self) -> None:
        with pytest.raises((TypeError, ValueError), match="target_parameters"):
            LRLoraConfig(**RANDOM, target_parameters=["lin0.weight"])

    def test_bare_injection_leaves_a_plain_module(self) -> None:
        model = inject_adapter_in_model(MLP_SUBJECT.config(), MLP_SUBJECT.base(), adapter_name="other")
        assert type(model) is MLP
        assert [layer.active_adapters for layer in layers_of(model).values()] == [["other"]]

    def test_modules_to_save_cannot_be_combined(self) -> None:
        subject = next(subject for subject in MODULES if subject.trained_beside)
        model = subject.adapted()
        subject.add(model, "other")
        with pytest.raises(ValueError, match="modules_to_save"):
            model.add_weighted_adapter(["default", "other"], [1.0, 1.0], "sum")
