"""Variants of one seed start from one A, so that what differs between them is what they are."""

from collections.abc import Callable

import torch
from torch import nn

from lrlora.studies.methods import make_method


def starts(make_model: Callable[[str], nn.Module], seed: int, **config: object) -> dict[str, torch.Tensor]:
    model = make_model("bert")
    torch.manual_seed(seed)
    adapted = make_method(config, "test").adapt(model)
    return {
        name.split(".lora_A")[0].split(".lrlora_A")[0]: parameter.detach().clone()
        for name, parameter in adapted.named_parameters()
        if "lora_A" in name
    }


def test_lora_and_every_basis_start_from_one_a(make_model: Callable[[str], nn.Module]) -> None:
    lora = starts(make_model, 1, method="lora", r=2)
    assert len(lora) == 18
    for config in ({"basis": "sinc"}, {"basis": "fourier", "amplitude_init": "small"}, {"grid": "random"}):
        ours = starts(make_model, 1, method="lrlora", r=2, **config)
        assert ours.keys() == lora.keys()
        assert all(torch.equal(ours[name], lora[name]) for name in lora)


def test_seeds_modules_and_ranks_differ_as_they_should(make_model: Callable[[str], nn.Module]) -> None:
    one, other = (starts(make_model, seed, method="lora", r=2) for seed in (1, 2))
    assert not any(torch.equal(one[name], other[name]) for name in one)
    assert len({float(matrix.sum()) for matrix in one.values()}) == len(one)
    wider = starts(make_model, 1, method="lrlora", r=4)
    assert all(torch.equal(wider[name][:2], one[name]) for name in one)
    bound = 1 / 16**0.5
    assert all(matrix.abs().max() <= bound or matrix.shape[1] == 24 for matrix in one.values())
