"""Every family that placements know: its roles, written out by hand, and adapters that train, save, load and merge."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import nn

from lrlora import LRLoraConfig
from lrlora.policies import depth_of, resolve_target_modules, role_of
from lrlora.policies.placements import layer_counts, linear_module_names
from lrlora.policies.roles import ATTENTION, MLP, known_families, stack_of
from lrlora.studies.models.backbones import empty_model
from lrlora.tuner.layer import LRLoraLayer


def _load_models() -> ModuleType:
    # With --import-mode=importlib a test's neighbours are no modules by themselves.
    spec = importlib.util.spec_from_file_location("family_models", Path(__file__).with_name("family_models.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["family_models"] = module
    spec.loader.exec_module(module)
    return module


models = _load_models()
NAMES = sorted(models.FAMILIES)
FUSED = [name for name in NAMES if "qkv" in models.FAMILIES[name].roles().values()]
EXPERTS = pytest.mark.filterwarnings("ignore:.*adapts the attention of a 'mixtral' model alone:UserWarning")


def in_blocks(model: nn.Module) -> list[str]:
    return [name for name in linear_module_names(model) if depth_of(name) is not None]


@pytest.mark.parametrize("name", NAMES)
def test_every_linear_module_of_a_block_has_its_role_and_no_other_module_has_one(name: str) -> None:
    family = models.FAMILIES[name]
    model = family.model()
    kind = model.config.model_type
    found = {module: role for module, _ in model.named_modules() if (role := role_of(module, kind)) is not None}
    assert found == family.roles()
    assert set(in_blocks(model)) == set(family.roles()), "a linear module of a block has no role"
    assert layer_counts(list(found)) == {stack: count for stack, (count, _) in family.stacks.items()}


def test_every_known_family_is_tested() -> None:
    # The backbones of probes are lrlora's own, and known once their module is imported.
    known = {family for family in known_families() if not family.startswith("lrlora-")}
    assert {family.model().config.model_type for family in models.FAMILIES.values()} >= known


@pytest.mark.parametrize("name", NAMES)
def test_a_placement_is_the_modules_of_its_roles(name: str) -> None:
    family = models.FAMILIES[name]
    model = family.model()
    for placement, wanted in (("attention", ATTENTION), ("mlp", MLP)):
        expected = {module for module, role in family.roles().items() if role in wanted}
        if expected:
            assert set(resolve_target_modules(model, placement)) == expected
        else:
            with pytest.raises(ValueError, match=f"no module is left to adapt: placement='{placement}'"):
                resolve_target_modules(model, placement)


# Every other one: what differs between families is in the tests above, and peft_checks trains ten of them as well.
@EXPERTS
@pytest.mark.parametrize("name", sorted({*NAMES[::2], "mixtral"}))
def test_an_adapter_trains_saves_loads_and_merges(name: str, tmp_path: Path) -> None:
    family = models.FAMILIES[name]
    expected = {module for module, role in family.roles().items() if role in ATTENTION + MLP}
    model = get_peft_model(family.model(), LRLoraConfig(r=2, num_grid_points=6, init_weights=False))
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LRLoraLayer)}
    assert set(model.base_model.targeted_module_names) == expected
    assert len(layers) == len(expected)

    inputs = family.inputs()
    model.train()
    models.output_of(model, inputs).square().sum().backward()
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    assert {name.partition(".lrlora_")[0] for name, _ in trained} == set(layers)
    for parameter_name, parameter in trained:
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.count_nonzero() > 0, parameter_name
    torch.optim.AdamW([p for _, p in trained], lr=1e-3).step()

    model.eval()
    with torch.no_grad():
        after = models.output_of(model, inputs)
        assert not torch.allclose(after, models.output_of(family.model(), inputs))
        model.save_pretrained(tmp_path)
        loaded = PeftModel.from_pretrained(family.model(), tmp_path).eval()
        torch.testing.assert_close(models.output_of(loaded, inputs), after, rtol=0, atol=0)
        merged = loaded.merge_and_unload()
        assert not any(isinstance(module, LRLoraLayer) for module in merged.modules())
        torch.testing.assert_close(models.output_of(merged, inputs), after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FUSED)
def test_a_part_of_a_fused_projection_cannot_be_asked_for_alone(name: str) -> None:
    model = models.FAMILIES[name].model()
    for placement in ("roles:q+v", "roles:v+o+down"):
        with pytest.raises(ValueError, match=rf"placement='{placement[:7]}.*has q, k, v in one matrix.*ask for qkv"):
            resolve_target_modules(model, placement)
    names = resolve_target_modules(model, "roles:qkv")
    assert {role_of(found, model.config.model_type) for found in names} == {"qkv"}


@pytest.mark.parametrize("name", ["phi3", "modernbert"])
def test_nor_can_gate_or_up_where_they_are_one_matrix(name: str) -> None:
    with pytest.raises(ValueError, match="has gate, up in one matrix, which is adapted as a whole: ask for gate_up"):
        resolve_target_modules(models.FAMILIES[name].model(), "roles:up+down")


def test_a_fused_role_cannot_be_asked_for_where_its_parts_are_apart() -> None:
    model = models.FAMILIES["llama"].model()
    with pytest.raises(ValueError, match=r"asks for qkv, but a 'llama' model has q and k and v apart: ask for q\+k\+v"):
        resolve_target_modules(model, "roles:qkv+o")
    with pytest.raises(ValueError, match=r"a 'bert' model has up apart: ask for up"):
        resolve_target_modules(models.FAMILIES["bert"].model(), "roles:gate_up")


def test_an_mlp_of_experts_is_left_out_with_a_warning() -> None:
    model = models.FAMILIES["mixtral"].model()
    with pytest.warns(UserWarning, match="placement='all' adapts the attention of a 'mixtral' model alone"):
        names = resolve_target_modules(model)
    assert {role_of(name, "mixtral") for name in names} == set("qkvo")


class TestTwoStacks:
    """An encoder and a decoder, or two towers: each has its own first and last layer."""

    @pytest.mark.parametrize(
        ("layers", "encoder", "decoder"),
        [("first_last:1", {0, 2}, {0, 1}), ("odd", {1}, {1}), ("even", {0, 2}, {0}), ([2], {2}, set())],
    )
    @pytest.mark.parametrize("name", ["t5", "bart"])
    def test_layers_are_chosen_in_each(
        self, name: str, layers: str | list[int], encoder: set[int], decoder: set[int]
    ) -> None:
        names = resolve_target_modules(models.FAMILIES[name].model(), "all", layers)
        assert {depth_of(module) for module in names if "encoder" in stack_of(module)} == encoder
        assert {depth_of(module) for module in names if "decoder" in stack_of(module)} == decoder

    def test_an_index_that_neither_has_is_told_how_many_there_are(self) -> None:
        with pytest.raises(ValueError, match=r"of 3 layers in encoder\.block and 2 layers in decoder\.block"):
            resolve_target_modules(models.FAMILIES["t5"].model(), "all", [7])

    def test_ranks_and_starts_go_by_the_depth_in_each(self) -> None:
        config = LRLoraConfig(
            r=8, rank_allocation="linear_decay:2", bandwidth_init="by_depth:1,4", placement="roles:o", num_grid_points=6
        )
        model = get_peft_model(models.FAMILIES["t5"].model(), config)
        found = {
            name.removeprefix("base_model.model."): module
            for name, module in model.named_modules()
            if isinstance(module, LRLoraLayer)
        }
        for name, rank, omega in (
            ("encoder.block.0.layer.0.SelfAttention.o", 8, 1),
            ("encoder.block.1.layer.0.SelfAttention.o", 5, 2),
            ("encoder.block.2.layer.0.SelfAttention.o", 2, 4),
            ("decoder.block.0.layer.1.EncDecAttention.o", 8, 1),
            ("decoder.block.1.layer.1.EncDecAttention.o", 2, 4),
        ):
            assert found[name].r["default"] == rank, name
            torch.testing.assert_close(found[name].lrlora_bandwidth["default"](), torch.full((6,), float(omega)))

    def test_sharing_by_layer_does_not_join_an_encoders_layer_and_a_decoders(self) -> None:
        config = LRLoraConfig(r=2, num_grid_points=6, sharing="all", sharing_scope="layer")
        model = get_peft_model(models.FAMILIES["t5"].model(), config)
        layers = [module for module in model.modules() if isinstance(module, LRLoraLayer)]
        assert len({id(layer.lrlora_amplitude["default"]) for layer in layers}) == 3 + 2


@pytest.mark.parametrize(("name", "layers", "per_layer"), [("minilm", 6, 6), ("smollm2", 30, 7)])
def test_the_pretrained_models_that_come_as_packages_are_known(name: str, layers: int, per_layer: int) -> None:
    names = resolve_target_modules(empty_model(name, classifier=True))
    assert len(names) == layers * per_layer
    assert list(layer_counts(names).values()) == [layers]


def test_names_of_transformers_before_they_were_renamed_have_roles_too() -> None:
    layer = "dinov2.encoder.layer.3"
    old = {
        "attention.attention.query": "q",
        "attention.output.dense": "o",
        "mlp.weights_in": "gate_up",
        "mlp.weights_out": "down",
    }
    assert {name: role_of(f"{layer}.{name}", "dinov2") for name in old} == old
