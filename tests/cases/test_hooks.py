"""The base layer is called, with whatever hangs on it: hooks, parametrizations, a forward of its own.

Pruning and quantisation tools read activations by hooks (wanda #50), models change outputs by them (mamba #59), and
weight norm and pruning compute the weight in one. PEFT's LoRA on the same model says how often and with what.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from small import BENT, adapted, mlp, off, rows, run, with_lora
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from transformers.pytorch_utils import Conv1D

from lrlora import LRLoraConfig

NAMES = ["inside", "out", "head"]
BASES = {
    "linear": (lambda: nn.Linear(6, 5), lambda: rows()),
    "transposed": (lambda: Conv1D(5, 6), lambda: rows()),
    "embedding": (lambda: nn.Embedding(7, 5), lambda: torch.arange(6).view(2, 3)),
    "convolution": (lambda: nn.Conv1d(6, 5, 3), lambda: rows(12).view(2, 6, 6)),
}


def bases_of(model: nn.Module) -> Iterator[nn.Module]:
    return (module.base_layer for module in model.modules() if isinstance(module, BaseTunerLayer))


def single(base: nn.Module, method: str = "lrlora", **fields: Any) -> PeftModel:
    """A model of one layer, adapted."""
    torch.manual_seed(1)
    lora = LoraConfig(r=2, target_modules=["only"], init_lora_weights=False)
    config = lora if method == "lora" else LRLoraConfig(**BENT | fields, target_modules=["only"])
    return get_peft_model(nn.Sequential(OrderedDict(only=base)), config).eval()


def events(model: PeftModel, dtype: torch.dtype, mode: str) -> list[str]:
    """Which hooks on the base layers fire in one pass, in order."""
    found: list[str] = []
    for name, base in zip(NAMES, bases_of(model), strict=True):
        base.register_forward_pre_hook(lambda module, args, name=name: found.append(f"{name} before"))
        base.register_forward_hook(lambda module, args, out, name=name: found.append(f"{name} after"))
        base.register_full_backward_hook(lambda module, got, into, name=name: found.append(f"{name} backward"))
    x = rows().to(dtype).requires_grad_(mode == "train")
    model.train(mode == "train")
    context = {
        "train": nullcontext(),
        "evaluation": torch.no_grad(),
        "autocast": torch.autocast("cpu", torch.bfloat16),
    }[mode]
    with context:
        result = model(x)
    if mode != "evaluation":
        result.float().sum().backward()
    return found


@pytest.mark.parametrize(
    ("dtype", "mode"),
    [
        (torch.float32, "train"),
        (torch.float32, "evaluation"),
        (torch.float32, "autocast"),
        (torch.float64, "train"),
        (torch.bfloat16, "train"),
        (torch.bfloat16, "evaluation"),
        (torch.float16, "evaluation"),
    ],
    ids=str,
)
def test_hooks_fire_as_they_do_under_lora(dtype: torch.dtype, mode: str) -> None:
    expected = events(with_lora(mlp().to(dtype)), dtype, mode)
    assert expected
    assert events(adapted(mlp().to(dtype)), dtype, mode) == expected


def test_hooks_fire_with_a_merged_and_with_a_disabled_adapter() -> None:
    model = adapted()
    fired: list[str] = []
    for base in bases_of(model):
        base.register_forward_hook(lambda *_: fired.append("after"))
    model.merge_adapter()
    run(model, rows())
    model.unmerge_adapter()
    with model.disable_adapter():
        run(model, rows())
    assert len(fired) == 6


@pytest.mark.parametrize("kind", BASES)
def test_what_a_hook_makes_of_the_output_goes_on(kind: str) -> None:
    make, inputs = BASES[kind]
    torch.manual_seed(0)
    model, x = single(make()), inputs()
    base = next(bases_of(model))
    plain, update = base(x).detach(), run(model, x) - base(x).detach()
    base.register_forward_hook(lambda module, args, out: out * 3 + 1)
    assert off(run(model, x), plain * 3 + 1 + update) < 1e-5


def test_what_a_pre_hook_makes_of_the_input_reaches_the_base_layer_alone() -> None:
    differences = {}
    for method in ("lora", "lrlora"):
        torch.manual_seed(0)
        model = single(nn.Linear(6, 5), method)
        base, before = next(bases_of(model)), run(model, rows())
        base.register_forward_pre_hook(lambda module, args: (2 * args[0],))
        differences[method] = run(model, rows()) - before
    assert off(differences["lrlora"], differences["lora"]) < 1e-5


def test_a_backward_hook_sees_what_it_sees_under_lora() -> None:
    """The gradient of the base layer's output, which does not depend on what is added to it."""
    seen: dict[str, list[Tensor]] = {"lora": [], "lrlora": []}
    for method, into in seen.items():
        torch.manual_seed(0)
        model = single(nn.Linear(6, 5), method)
        next(bases_of(model)).register_full_backward_hook(lambda module, got, out, into=into: into.extend(out))
        (model(rows().requires_grad_()) * torch.arange(5.0)).sum().backward()
    assert [tensor.shape for tensor in seen["lrlora"]] == [(5, 5)]
    assert torch.equal(seen["lrlora"][0], seen["lora"][0])


@contextmanager
def recorded_everywhere(into: list[str]) -> Iterator[None]:
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: into.append(type(module).__name__))
    try:
        yield
    finally:
        handle.remove()


def test_hooks_of_all_modules_see_the_base_layers() -> None:
    counts = []
    for model in (with_lora(), adapted()):
        seen: list[str] = []
        bases = [type(base).__name__ for base in bases_of(model)]
        with recorded_everywhere(seen):
            run(model, rows())
        # LoRA's own Linear is one of its layers; its A and B are nn.Linear and are counted with the base layers.
        counts.append((len(bases), "Linear" in seen))
        assert sum(name == "Linear" for name in seen) >= len(bases)
    assert counts[0] == counts[1]


def test_a_forward_that_was_replaced_is_called() -> None:
    """As accelerate does, and whoever patches an instance."""
    torch.manual_seed(0)
    base = nn.Linear(6, 5)
    model = single(base)
    update = run(model, rows()) - base(rows()).detach()
    base.forward = lambda x: F.linear(x, base.weight) - 7  # type: ignore[method-assign]
    assert off(run(model, rows()), base(rows()).detach() + update) < 1e-5


# -- weights that are computed ------------------------------------------------------------------------------------


def weight_norm(layer: nn.Linear) -> nn.Parameter:
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(layer)
    return layer.weight_g


def parametrized(layer: nn.Linear) -> nn.Parameter:
    parametrizations.weight_norm(layer)
    return layer.parametrizations.weight.original0  # type: ignore[union-attr]


def pruned(layer: nn.Linear) -> nn.Parameter:
    prune.l1_unstructured(layer, "weight", amount=0.3)
    return layer.weight_orig


@pytest.mark.parametrize("norm", [weight_norm, parametrized, pruned])
def test_a_weight_that_is_computed_at_each_call_follows_what_it_is_computed_from(
    norm: Callable[[nn.Linear], nn.Parameter],
) -> None:
    changes = {}
    for method in ("lora", "lrlora"):
        torch.manual_seed(0)
        base = nn.Linear(6, 5)
        source = norm(base)
        model = single(base, method)
        before = run(model, rows())
        with torch.no_grad():
            source.mul_(3)
        changes[method] = run(model, rows()) - before
    assert changes["lora"].norm() > 0.1
    assert off(changes["lrlora"], changes["lora"]) < 1e-5


def test_a_spectral_norm_iterates_in_training() -> None:
    found = {}
    for method in ("lora", "lrlora"):
        torch.manual_seed(0)
        base = nn.utils.spectral_norm(nn.Linear(6, 5))
        model = single(base, method).train()
        model(rows()).sum().backward()
        found[method] = base.weight_u.clone()
    assert torch.equal(found["lrlora"], found["lora"])


def test_a_subclass_of_linear_keeps_its_forward() -> None:
    class Squared(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).square()

    torch.manual_seed(0)
    model = single(Squared(6, 5))
    base = next(bases_of(model))
    delta = model.base_model.model[0].get_delta_weight("default")
    assert off(run(model, rows()), base(rows()) + rows() @ delta.T) < 5e-3  # the engine's tolerance is on ΔW
