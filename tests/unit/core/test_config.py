"""The configuration: bad input gets one clear line, and what is saved is plain JSON that says everything."""

import copy
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftConfig, get_peft_model

from lrlora import LRLoraConfig
from lrlora.bases import BASES, ShiftedBasis, register
from lrlora.bases.bspline import BSpline
from lrlora.bases.fourier import Fourier
from lrlora.policies.amplitudes import Small
from lrlora.policies.grids import Chebyshev
from lrlora.policies.scales import Width
from lrlora.policies.sharing import Sharing

CONTRACT = (
    "r lora_alpha lora_dropout target_modules exclude_modules modules_to_save rank_pattern layers_to_transform "
    "init_weights basis basis_kwargs num_grid_points grid grid_bound sharing sharing_scope placement layers "
    "amplitude_init bandwidth_init learn_bandwidth learn_amplitude bandwidth_parameterization centered residual "
    "input_scale engine engine_tolerance preset"
)


def test_the_fields_that_others_rely_on_are_there() -> None:
    assert set(CONTRACT.split()) <= {field.name for field in fields(LRLoraConfig)}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"basis": "gausian"}, "unknown basis 'gausian'; did you mean 'gaussian'? (known: "),
        ({"grid": "uniformly"}, "unknown grid 'uniformly'; did you mean 'uniform'?"),
        ({"sharing": "amplitudes"}, "unknown sharing 'amplitudes'; did you mean 'amplitude'?"),
        ({"sharing_scope": "layers"}, "unknown sharing_scope 'layers'; did you mean 'layer'?"),
        ({"placement": "atention"}, "unknown placement 'atention'; did you mean 'attention'?"),
        ({"placement": "roles:query"}, "unknown role 'query' in placement 'query'"),
        ({"layers": "evn"}, "unknown layers 'evn'; did you mean 'even'?"),
        ({"layers": [-1]}, "layers[0] must be >= 0, got -1"),
        ({"layers": "first_last:0"}, "k of layers 'first_last' must be >= 1, got 0"),
        ({"amplitude_init": "zeros"}, "unknown amplitude_init 'zeros'; did you mean 'zero'?"),
        ({"bandwidth_init": -1.0}, "bandwidth_init must be > 0, got -1.0"),
        ({"bandwidth_parameterization": "sofplus"}, "did you mean 'softplus'?"),
        ({"input_scale": 0}, "input_scale must be > 0, got 0"),
        ({"rank_allocation": "linear"}, "did you mean 'linear_decay'?"),
        ({"engine": "polynomal"}, "unknown engine 'polynomal'; did you mean 'polynomial'?"),
        ({"preset": "papper"}, "unknown preset 'papper'; did you mean 'paper'?"),
        ({"r": 0}, "r must be >= 1, got 0"),
        ({"r": 2.5}, "r must be an integer >= 1, got 2.5"),
        ({"rank_pattern": {"q": -1}}, "rank_pattern['q'] must be >= 0, got -1"),
        ({"num_grid_points": 0}, "num_grid_points must be >= 1, got 0"),
        ({"grid_bound": -3}, "grid_bound must be > 0, got -3"),
        ({"engine_tolerance": 0}, "engine_tolerance must be > 0, got 0"),
        ({"lora_dropout": 1.0}, "lora_dropout must be >= 0 and < 1, got 1.0"),
        ({"lora_alpha": -1}, "lora_alpha must be > 0, got -1"),
        ({"alpha_pattern": {"q": 0}}, "alpha_pattern['q'] must be > 0, got 0"),
        ({"alpha_pattern": [1]}, "alpha_pattern must be a dict from module names to numbers, got [1]"),
        ({"transfer_lr_scale": -1}, "transfer_lr_scale must be >= 0, got -1"),
        ({"layers": []}, "layers must name at least one layer, got []"),
        ({"layers_to_transform": [0, -2]}, "layers_to_transform[1] must be >= 0, got -2"),
        ({"basis": "bspline", "basis_kwargs": {"degree": 0}}, "degree of bspline must be >= 1, got 0"),
        ({"grid": "jittered:-1"}, "noise of grid 'jittered' must be >= 0, got -1"),
        ({"residual": "false"}, "residual must be True or False, got 'false'"),
        ({"grid": "learned", "basis": "fourier"}, "would train grid points that basis 'fourier' does not use"),
        ({"residual": False}, "leave every gradient zero at the start"),
        ({"target_modules": ".*q", "layers_to_transform": [0]}, "layers_to_transform works with a list"),
        ({"layers_pattern": "h"}, "layers_pattern says where layers_to_transform counts"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_line_that_helps(given: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the message is compared below
        LRLoraConfig(**given)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_arguments_that_do_not_fit_say_what_would() -> None:
    with pytest.raises(TypeError, match=r"basis 'bspline'.*order"):
        LRLoraConfig(basis="bspline", basis_kwargs={"order": 3})
    with pytest.raises(TypeError, match="a grid is a name or an instance of Grid, not the class Chebyshev"):
        LRLoraConfig(grid=Chebyshev)


@pytest.mark.parametrize("preset", ["default", "identity", "paper"])
def test_a_preset_fills_what_was_not_given_and_nothing_else(preset: str) -> None:
    config = LRLoraConfig(preset=preset)
    for name in ("amplitude_init", "centered", "residual", "input_scale", "transfer_lr_scale"):
        assert getattr(config, name) is not None
    assert LRLoraConfig(preset=preset, input_scale=7.0, amplitude_init="small").input_scale == 7.0


def test_the_paper_preset_is_the_published_form() -> None:
    config = LRLoraConfig(preset="paper")
    assert (config.basis, config.num_grid_points, config.grid_bound, config.grid) == ("sinc", 50, 3.0, "uniform")
    assert (config.amplitude_init, config.bandwidth_init, config.bandwidth_parameterization) == ("zero", 1.0, "exp")
    model = get_peft_model(
        torch.nn.Sequential(torch.nn.Linear(4, 4)), LRLoraConfig(preset="paper", target_modules=["0"])
    )
    f = model.base_model.model[0].transfer("default")
    assert (f.input_scale, f.output_scale, f.residual, f.centered) == (1.0, 1.0, False, False)


@pytest.mark.parametrize("preset", ["default", "identity", "paper"])
@pytest.mark.parametrize("scale", [1.0, 50.0, "width:2"])
def test_the_linear_path_is_scaled_as_loras_whatever_the_input_scale(preset: str, scale: float | str) -> None:
    config = LRLoraConfig(preset=preset, r=4, lora_alpha=12, input_scale=scale, target_modules=["0"])
    f = get_peft_model(torch.nn.Sequential(torch.nn.Linear(8, 8)), config).base_model.model[0].transfer("default")
    assert f.input_scale * f.output_scale == pytest.approx(12 / 4)


@register("test_triangle")
class Triangle(ShiftedBasis):
    """Five lines, as a user writes them."""

    def kernel(self, u: torch.Tensor) -> torch.Tensor:
        return (1 - u.abs()).clamp_min(0)


@dataclass(frozen=True)
class Unnamed(ShiftedBasis):
    """An instance works; it just has no name to be saved under."""

    def kernel(self, u: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + u.square())


def test_a_basis_of_five_lines_works_by_name_with_every_engine() -> None:
    x = torch.randn(3, 8)
    outputs = []
    for engine in ("direct", "tabulated", "auto"):
        torch.manual_seed(0)
        config = LRLoraConfig(basis="test_triangle", engine=engine, init_weights=False, target_modules=["0"])
        outputs.append(get_peft_model(torch.nn.Sequential(torch.nn.Linear(8, 8)), config)(x))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(outputs[2], outputs[0], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("given", "saved"),
    [
        ({"basis": BSpline(2)}, {"basis": "bspline", "basis_kwargs": {"degree": 2}}),
        ({"basis": Fourier(bound=2.0)}, {"basis": "fourier", "basis_kwargs": {"bound": 2.0}}),
        ({"basis": Triangle()}, {"basis": "test_triangle", "basis_kwargs": {}}),
        ({"amplitude_init": Small(0.25)}, {"amplitude_init": "small:0.25"}),
        ({"grid": Chebyshev()}, {"grid": "chebyshev"}),
        ({"input_scale": Width(4.0)}, {"input_scale": "width:4.0"}),
        ({"sharing": Sharing("grid+amplitude")}, {"sharing": "parts:grid+amplitude"}),
        ({"layers": [0, 3]}, {"layers": [0, 3]}),
        ({"target_modules": ["b", "a"]}, {"target_modules": ["a", "b"]}),
    ],
    ids=lambda given: " ".join(f"{name}={type(value).__name__}" for name, value in given.items()),
)
def test_instances_are_saved_as_plain_json_and_come_back(
    given: dict[str, Any], saved: dict[str, Any], tmp_path: Path
) -> None:
    config = LRLoraConfig(**given)
    config.save_pretrained(tmp_path)
    data = json.loads((tmp_path / "adapter_config.json").read_text())
    assert {name: data[name] for name in saved} == saved
    loaded = PeftConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, LRLoraConfig)
    assert loaded.to_dict() == config.to_dict() == copy.deepcopy(config).to_dict()


def test_an_instance_without_a_name_works_and_says_why_it_cannot_be_saved(tmp_path: Path) -> None:
    model = get_peft_model(
        torch.nn.Sequential(torch.nn.Linear(4, 4)), LRLoraConfig(basis=Unnamed(), target_modules=["0"])
    )
    model(torch.randn(2, 4))
    with pytest.raises(TypeError, match=r'Unnamed has no name; decorate the class with @register\("\.\.\."\)'):
        LRLoraConfig(basis=Unnamed()).save_pretrained(tmp_path)
    assert not (tmp_path / "adapter_config.json").exists()


def test_the_bound_of_the_grid_reaches_bases_that_live_on_an_interval() -> None:
    assert LRLoraConfig(basis="fourier", grid_bound=5.0).make_basis() == Fourier(bound=5.0)
    assert LRLoraConfig(basis="fourier", grid_bound=5.0, basis_kwargs={"bound": 1.0}).make_basis() == Fourier(bound=1.0)


@pytest.mark.usefixtures("forgetting")
def test_a_basis_that_returns_the_wrong_shape_is_named() -> None:
    @register("test_wrong_shape")
    class WrongShape(ShiftedBasis):
        def kernel(self, u: torch.Tensor) -> torch.Tensor:
            return u.sum(-1)

    assert "test_wrong_shape" in BASES
    config = LRLoraConfig(basis="test_wrong_shape", target_modules=["0"])
    model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(4, 4)), config)
    with pytest.raises(ValueError, match=r"WrongShape.*returned the shape .* it must be"):
        model(torch.randn(2, 4))
