"""The methods that studies compare with train what they should, as they should, and are saved whole."""

import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers as hf
import yaml
from baseline_methods import BASELINES, SEED, adapt, batch, classifier, disturb, method_of, train
from peft import PeftModel
from torch import Tensor, nn

from lrlora.analysis import count_parameters, layer_report
from lrlora.studies.methods import METHODS
from lrlora.tuner.layer import LRLoraLayer

PAGE = Path(__file__).parents[2] / "docs" / "baselines.md"
SINELORA = re.compile(r"```yaml\n(sinelora:.*?)```", re.DOTALL)
PEFT_METHODS = sorted(name for name in BASELINES if name not in ("frozen", "full"))
WITH_COMMON_START = ("lora", "rslora", "dora", "lrlora")


def in_turn(names: list[str]) -> list[tuple[str, str]]:
    """Every method, on an encoder and a decoder in turn."""
    return [(name, ("bert", "llama")[i % 2]) for i, name in enumerate(names)]


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=batch()["input_ids"]).logits


def adapted_names(model: nn.Module) -> set[str]:
    return {line.module for line in layer_report(model, pretrained=lambda: classifier("bert"))}


def test_every_registered_method_is_tested_here() -> None:
    assert set(METHODS.names()) == {*BASELINES, "lrlora"}


@pytest.mark.parametrize(("name", "family"), in_turn(sorted(BASELINES)))
def test_a_method_trains_and_only_what_should_train_changes(name: str, family: str, tmp_path: Path) -> None:
    method = method_of(name)
    model = classifier(family)
    before = logits(model)
    torch.manual_seed(SEED)
    model = method.adapt(model)
    torch.testing.assert_close(logits(model), before, atol=1e-6, rtol=1e-5)  # the start is the backbone's function
    at_start = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    trained = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    losses = train(method, model, tmp_path, steps=4)
    assert len(losses) == 4
    assert all(math.isfinite(loss) for loss in losses)
    changed = {key for key, parameter in model.named_parameters() if not torch.equal(parameter, at_start[key])}
    assert changed == trained
    if name == "full":
        assert changed == at_start.keys()
    else:
        assert not any(".base_layer." in key for key in changed)


@pytest.mark.parametrize("name", PEFT_METHODS)
def test_all_methods_adapt_the_same_modules(name: str) -> None:
    ours = adapted_names(adapt(classifier("bert"), "lrlora", placement="mlp", layers="odd"))
    assert len(ours) == 2
    assert adapted_names(adapt(classifier("bert"), name, placement="mlp", layers="odd")) == ours


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"frozen"}))
def test_parameters_are_counted_alike_with_weights_and_without(name: str) -> None:
    with torch.device("meta"):
        empty = hf.BertForSequenceClassification(classifier("bert").config)
    assert count_parameters(adapt(empty, name)) == count_parameters(adapt(classifier("bert"), name))


@pytest.mark.parametrize(("name", "family"), in_turn(PEFT_METHODS[::-1]))
def test_what_is_saved_answers_as_what_was_trained(name: str, family: str, tmp_path: Path) -> None:
    method = method_of(name)
    torch.manual_seed(SEED)
    model = method.adapt(classifier(family))
    disturb(model)
    method.save(model, tmp_path)
    assert not list(tmp_path.rglob("*.bin"))
    loaded = PeftModel.from_pretrained(classifier(family), str(tmp_path))
    torch.testing.assert_close(logits(loaded), logits(model))


def test_full_fine_tuning_saves_a_model_that_loads_by_itself(tmp_path: Path) -> None:
    method = method_of("full")
    model = method.adapt(classifier("bert"))
    disturb(model)
    method.save(model, tmp_path)
    loaded = hf.BertForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(loaded), logits(model))


class TestCommonStart:
    def starts(self, name: str, part: str) -> dict[str, Tensor]:
        return {
            key.replace("lrlora_", "lora_").split(".lora_A")[0]: parameter.detach().clone()
            for key, parameter in adapt(classifier("bert"), name).named_parameters()
            if part in key
        }

    def test_methods_with_loras_start_share_it(self) -> None:
        lora = self.starts("lora", "lora_A")
        assert len(lora) == 12
        for name in WITH_COMMON_START:
            ours = self.starts(name, "lora_A")
            assert ours.keys() == lora.keys()
            assert all(torch.equal(ours[key], lora[key]) for key in lora), name

    @pytest.mark.parametrize("name", ["pissa", "adalora"])
    def test_methods_with_a_start_of_their_own_keep_it(self, name: str) -> None:
        lora = self.starts("lora", "lora_A")
        ours = self.starts(name, "lora_A")
        assert ours.keys() == lora.keys()
        assert not any(torch.equal(ours[key][:2], lora[key]) for key in lora)


class TestAdaLoRA:
    def trained(
        self, tmp_path: Path, steps: int, accumulation: int = 1, **changes: object
    ) -> tuple[nn.Module, list[int]]:
        method = method_of("adalora", **changes)
        torch.manual_seed(SEED)
        model = method.adapt(classifier("bert"))
        called: list[int] = []
        allocate: Callable[[int], None] = model.base_model.update_and_allocate

        def counted(step: int) -> None:
            gradients = [p.grad for n, p in model.named_parameters() if "lora_E" in n and p.requires_grad]
            assert all(gradient is not None for gradient in gradients), "the gradients are gone already"
            called.append(step)
            allocate(step)

        model.base_model.update_and_allocate = counted
        train(method, model, tmp_path, steps, accumulation)
        return model, called

    @pytest.mark.parametrize("accumulation", [1, 3])
    def test_ranks_are_allocated_once_in_every_optimizer_step(self, accumulation: int, tmp_path: Path) -> None:
        _, called = self.trained(tmp_path, 4, accumulation)
        assert called == [1, 2, 3, 4]

    @pytest.mark.parametrize("tfinal", [0.0, 0.3])
    def test_the_ranks_that_are_left_differ_and_average_to_r(self, tfinal: float, tmp_path: Path) -> None:
        model, _ = self.trained(tmp_path, 10, tfinal=tfinal)
        ranks = [line.r for line in layer_report(model)]
        assert len(ranks) == 12
        assert sum(ranks) == 2 * 12
        assert len(set(ranks)) > 1
        for name, module in model.named_modules():
            if hasattr(module, "lora_E"):
                left = next(line.r for line in layer_report(model) if name.endswith(line.module))
                assert int(torch.count_nonzero(module.lora_E["default"])) == left

    def test_a_pruned_adapter_is_saved_with_its_ranks(self, tmp_path: Path) -> None:
        model, _ = self.trained(tmp_path / "run", 10)
        (tmp_path / "adapter").mkdir()
        method_of("adalora").save(model, tmp_path / "adapter")
        assert any(line.r == 0 for line in layer_report(model)), "a module without a rank is the hard case"
        with warnings.catch_warnings():
            # PEFT looks for modules where the pattern of AdaLoRA names parameters.
            warnings.filterwarnings("ignore", "The following rank_pattern keys did not match", RuntimeWarning)
            loaded = PeftModel.from_pretrained(classifier("bert"), str(tmp_path / "adapter"))
        torch.testing.assert_close(logits(loaded), logits(model), atol=1e-6, rtol=1e-5)
        assert [line.r for line in layer_report(loaded)] == [line.r for line in layer_report(model)]

    def test_the_regulariser_is_in_the_loss_of_training_and_not_of_evaluation(self) -> None:
        plain = classifier("llama")(**batch()).loss.item()
        for weight in (0.0, 0.5, 1.0):
            torch.manual_seed(SEED)
            model = method_of("adalora", orth_reg_weight=weight).adapt(classifier("llama"))
            matrices = [p.detach() for n, p in model.named_parameters() if "lora_A" in n or "lora_B" in n]
            grams = [m @ m.T if m.shape[0] < m.shape[1] else m.T @ m for m in matrices]
            regulariser = sum(float((gram - torch.eye(len(gram))).norm()) for gram in grams) / len(grams)
            assert model.train()(**batch()).loss.item() == pytest.approx(plain + weight * regulariser, rel=1e-5)
            assert model.eval()(**batch()).loss.item() == pytest.approx(plain, rel=1e-6)
            assert model.peft_config["default"].orth_reg_weight == weight


def test_pissa_takes_out_of_the_weight_what_it_trains() -> None:
    model = adapt(classifier("bert"), "pissa")
    original = dict(classifier("bert").named_modules())
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            weight = original[name.removeprefix("base_model.model.")].weight
            product = module.scaling["default"] * module.lora_B["default"].weight @ module.lora_A["default"].weight
            torch.testing.assert_close(module.get_base_layer().weight + product, weight, atol=1e-6, rtol=1e-5)
            left, most = torch.linalg.svdvals(module.get_base_layer().weight)[0], torch.linalg.svdvals(weight)[2]
            torch.testing.assert_close(left, most, atol=1e-5, rtol=1e-4)


def test_doras_magnitude_is_trained() -> None:
    magnitudes = [
        parameter for key, parameter in adapt(classifier("bert"), "dora").named_parameters() if "magnitude" in key
    ]
    assert len(magnitudes) == 12
    assert all(parameter.requires_grad for parameter in magnitudes)


@pytest.mark.parametrize("name", ["vera", "randlora"])
def test_projections_are_shared_by_all_modules_and_drawn_from_the_runs_seed(name: str) -> None:
    model = adapt(classifier("bert"), name)
    layers = [module for module in model.modules() if hasattr(module, f"{name}_A") and hasattr(module, "base_layer")]
    assert len(layers) == 12
    for matrix in (f"{name}_A", f"{name}_B"):
        places = {getattr(layer, matrix)["default"].data_ptr() for layer in layers}
        assert len(places) == 1
    projection = getattr(layers[0], f"{name}_A")["default"]
    assert torch.equal(projection, first_projection(name, SEED))
    assert not torch.equal(projection, first_projection(name, SEED + 1))
    assert torch.equal(
        first_projection(name, 1, projection_prng_key=3), first_projection(name, 2, projection_prng_key=3)
    )


def first_projection(name: str, seed: int, **changes: object) -> Tensor:
    model = classifier("bert")
    torch.manual_seed(seed)
    adapted = method_of(name, **changes).adapt(model)
    return getattr(adapted.base_model, f"{name}_A")["default"]


@pytest.mark.parametrize("name", ["lora", "rslora", "dora", "pissa", "loha", "lokr"])
def test_an_allocation_sets_the_ranks_as_it_does_for_lr_lora(name: str) -> None:
    ranks = {
        method: {
            line.module: line.r
            for line in layer_report(
                adapt(classifier("bert"), method, r=4, rank_allocation="linear_decay:1", rank_pattern={"key": 3}),
                pretrained=lambda: classifier("bert"),
            )
        }
        for method in (name, "lrlora")
    }
    assert ranks[name] == ranks["lrlora"]
    assert set(ranks[name].values()) == {4, 3, 1}


def test_sinelora_is_lr_lora_with_one_fixed_sine() -> None:
    """What docs/baselines.md gives as SineLoRA is sin(ω·BA), scaled to LoRA's slope, with A and B alone to learn."""
    fields = yaml.safe_load(SINELORA.search(PAGE.read_text())[1])["sinelora"]
    omega, scaling = fields["input_scale"], fields["lora_alpha"] / fields["r"]
    model = adapt(classifier("bert"), **{"name": fields.pop("method"), **fields})
    assert count_parameters(model).transfer == 0
    disturb(model)
    layers = [module for module in model.modules() if isinstance(module, LRLoraLayer)]
    assert len(layers) == 12
    for layer in layers:
        product = layer.lrlora_B["default"].weight @ layer.lrlora_A["default"].weight
        expected = scaling * torch.sin(omega * product) / omega
        # As exactly as the engine was asked for.
        torch.testing.assert_close(layer.get_delta_weight("default"), expected, atol=0.005 * scaling / omega, rtol=0)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_pissa_has_no_more_ranks_than_the_weight_has_components(device: str) -> None:
    with pytest.raises(ValueError, match=r"r is 17, and bert\.encoder\.layer\.0\.attention\.self\.query has 16"):
        adapt(classifier("bert").to(device), "pissa", r=17)
