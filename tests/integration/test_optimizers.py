"""Every trainable parameter gets the rate and the decay that are meant for it, from our groups and from PEFT's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_riemannian_optimizer
from torch import Tensor, nn

from lrlora import LRLoraConfig, parameter_groups

LAYERS = ["0", "2"]
SMALL: dict[str, Any] = {"r": 2, "target_modules": LAYERS, "num_grid_points": 6}
Options = dict[str, float]


def base() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 3))


def adapted(**fields: Any) -> nn.Module:
    return get_peft_model(base(), LRLoraConfig(**{**SMALL, **fields}))


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.randn(5, 6, generator=torch.Generator().manual_seed(1))).square().sum().backward()
    optimizer.step()


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def unmoved(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(p, before[name]) for name, p in model.named_parameters())


adapters = st.fixed_dictionaries(
    {
        "sharing": st.sampled_from(["none", "all", "grid", "bandwidth", "amplitude"]),
        "sharing_scope": st.sampled_from(["all", "layer", "projection"]),
        "grid": st.sampled_from(["uniform", "learned"]),
        "learn_bandwidth": st.booleans(),
        "learn_amplitude": st.booleans(),
        "amplitude_init": st.just("small"),
        "modules_to_save": st.sampled_from([None, ["4"], ["3", "4"]]),
        "transfer_lr_scale": st.sampled_from([0.0, 0.1, 1.0]),
    }
)


class TestParameterGroups:
    """lrlora.parameter_groups."""

    @given(
        configs=st.lists(adapters, min_size=1, max_size=3),
        active=st.integers(0, 2),
        both=st.booleans(),
        decay=st.sampled_from([0.0, 0.1]),
        ratio=st.sampled_from([1.0, 16.0]),
        amplitude_decay=st.sampled_from([0.0, 0.01]),
        scale=st.sampled_from([None, 0.0, 0.3]),
    )
    def test_every_trainable_parameter_is_in_exactly_one_group_and_nothing_else_is(
        self,
        configs: list[dict[str, Any]],
        active: int,
        both: bool,
        decay: float,
        ratio: float,
        amplitude_decay: float,
        scale: float | None,
    ) -> None:
        model = adapted(**configs[0])
        for i, fields in enumerate(configs[1:]):
            model.add_adapter(f"other{i}", LRLoraConfig(**{**SMALL, **fields}))
        names = list(model.peft_config)
        chosen = names[active % len(names)]
        model.set_adapter(chosen)
        if both and not any(fields["modules_to_save"] for fields in configs):
            model.base_model.set_adapter(names)
        groups = parameter_groups(
            model,
            lr=1e-2,
            weight_decay=decay,
            transfer_lr_scale=scale,
            loraplus_lr_ratio=ratio,
            amplitude_weight_decay=amplitude_decay,
        )
        listed = [id(p) for group in groups for p in group["params"]]
        assert sorted(listed) == sorted(id(p) for p in model.parameters() if p.requires_grad)
        torch.optim.AdamW(groups)  # which refuses a parameter that is there twice

        group_of = {id(p): group for group in groups for p in group["params"]}
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            group = group_of[id(parameter)]
            theta = any(part in name for part in ("lrlora_amplitude", "lrlora_bandwidth", "lrlora_grid"))
            if theta:
                adapter = name.split(".")[-2]
                own = model.peft_config[adapter].transfer_lr_scale
                assert group["lr"] == pytest.approx(1e-2 * (own if scale is None else scale))
                assert group["weight_decay"] == (amplitude_decay if "lrlora_amplitude" in name else 0.0)
            else:
                assert group["lr"] == pytest.approx(1e-2 * (ratio if "lrlora_B" in name else 1.0))
                assert group["weight_decay"] == (decay if parameter.ndim > 1 else 0.0)

    def test_decay_moves_neither_theta_nor_vectors(self) -> None:
        model = adapted(grid="learned", modules_to_save=["4"])
        before = values(model)
        optimizer = torch.optim.AdamW(parameter_groups(model, lr=0.1, weight_decay=0.5))
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        optimizer.step()
        moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        # B is zero, where decay leaves it.
        assert moved == {
            name for name in before if "lrlora_A" in name or name.endswith("modules_to_save.default.weight")
        }

    def test_amplitudes_decay_where_it_is_asked_for(self) -> None:
        model = adapted(amplitude_init="unit")
        before = values(model)
        optimizer = torch.optim.SGD(parameter_groups(model, lr=0.1, amplitude_weight_decay=0.5))
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        optimizer.step()
        moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert moved == {name for name in before if "lrlora_amplitude" in name}

    def test_a_baseline_goes_through_the_same_call(self) -> None:
        model = get_peft_model(base(), LoraConfig(r=2, target_modules=LAYERS))
        groups = parameter_groups(model, lr=1e-3, loraplus_lr_ratio=8)
        assert [(group["name"], group["lr"], len(group["params"])) for group in groups] == [
            ("adapter", 1e-3, 2),
            ("B", 8e-3, 2),
        ]

    @pytest.mark.parametrize("make", [lambda: adapted().requires_grad_(False), nn.Tanh])
    def test_where_nothing_is_trainable_it_says_what_may_be_missing(self, make: Callable[[], nn.Module]) -> None:
        with pytest.raises(ValueError, match=r"requires a gradient; .*is_trainable=True"):
            parameter_groups(make(), lr=1e-3)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"lr": -1.0}, "lr must be >= 0"),
            ({"lr": float("nan")}, "lr must be a finite number >= 0"),
            ({"weight_decay": -0.1}, "weight_decay must be >= 0"),
            ({"transfer_lr_scale": -0.1}, "transfer_lr_scale must be >= 0"),
            ({"amplitude_weight_decay": -0.1}, "amplitude_weight_decay must be >= 0"),
            ({"loraplus_lr_ratio": 0.0}, "loraplus_lr_ratio must be > 0"),
        ],
    )
    def test_a_rate_that_cannot_be_is_refused(self, options: Options, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            parameter_groups(adapted(), **{"lr": 1e-3, **options})


def test_the_riemannian_optimizer_refuses_by_itself() -> None:
    # Its preconditioner is derived for BA as well. It looks for ".lora_A." and finds none.
    with pytest.raises(ValueError, match="did not find any trainable lora_A/lora_B"):
        create_riemannian_optimizer(adapted(), torch.optim.AdamW, lr=1e-3)
