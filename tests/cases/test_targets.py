"""Modules where an adapter would have no effect are refused, and what "all" leaves out is said.

A module whose weight is read and which is never called (peft #1612) does not run its adapter, while a merge changes its
weight: merged and unmerged models then differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from peft import LoraConfig, get_peft_model
from small import BENT, adapted, llama, mlp, off, rows, run
from torch import Tensor, nn

from lrlora import LRLoraConfig, LRLoraLayer

TINY: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 64}


class Reading(nn.Module):
    """Reads the weights of some of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(6, 6)
        self.read_inside = nn.Linear(6, 6)
        self.table = nn.Embedding(5, 6)
        self.kernel = nn.Conv1d(6, 6, 1)
        self.called = nn.Linear(6, 6)
        self.both = nn.Linear(6, 6)
        self.listed = nn.Linear(6, 6)
        self.looked_at = nn.Linear(6, 6)
        nn.init.zeros_(self.called.weight)

    @property
    def square(self) -> Tensor:
        return self.kernel.weight[:, :, 0]

    def forward(self, x: Tensor) -> Tensor:
        def inside(x: Tensor) -> Tensor:
            return x @ self.read_inside.weight.T

        x = inside(F.linear(x, self.read.weight, self.read.bias)) @ self.square
        x = self.called(x.to(self.called.weight.dtype)) + self.table.weight.sum(0)
        for layer in (self.listed, self.looked_at):
            x = layer(x).to(self.looked_at.weight.dtype)
        return self.both(x) + self.both.weight.sum()


class ReadingMore(Reading):
    """Inherits all of it."""


@pytest.mark.parametrize("outer", [Reading, ReadingMore])
@pytest.mark.parametrize("name", ["read", "read_inside", "table", "kernel"])
def test_what_is_read_and_never_called_is_refused(name: str, outer: type[Reading]) -> None:
    model = nn.Sequential(outer())
    before = [type(module) for module in model.modules()]
    with pytest.raises(ValueError, match=rf"target module '0\.{name}': {outer.__name__} reads its weight and never"):
        get_peft_model(model, LRLoraConfig(r=2, target_modules=["called", name]))
    assert [type(module) for module in model.modules()] == before


@pytest.mark.parametrize("name", ["called", "both", "listed", "looked_at"])
def test_what_is_called_is_adapted(name: str) -> None:
    model = adapted(nn.Sequential(Reading()), target_modules=[name])
    with model.disable_adapter():
        plain = run(model, rows())
    assert off(run(model, rows()), plain) > 1e-4


def mamba(kind: str = "mamba") -> hf.PreTrainedModel:
    if kind == "mamba":
        return hf.MambaForCausalLM(hf.MambaConfig(**TINY, state_size=4))
    if kind == "falcon_mamba":
        return hf.FalconMambaForCausalLM(hf.FalconMambaConfig(**TINY, state_size=4))
    return hf.Mamba2ForCausalLM(
        hf.Mamba2Config(**TINY, state_size=4, num_heads=4, head_dim=8, n_groups=1, expand=2, chunk_size=4)
    )


@pytest.mark.parametrize("kind", ["mamba", "falcon_mamba", "mamba2"])
@pytest.mark.parametrize("target", ["conv1d", "out_proj"])
def test_what_peft_refuses_in_mamba_for_lora_is_refused(kind: str, target: str) -> None:
    model = mamba(kind)
    with pytest.raises(ValueError, match="incompatible with Mamba-based models"):
        get_peft_model(mamba(kind), LoraConfig(target_modules=[target]))
    with pytest.raises(ValueError, match=rf"target module '.*{target}': .* leave '{target}' out of target_modules"):
        get_peft_model(model, LRLoraConfig(target_modules=["in_proj", target]))
    assert not any(isinstance(module, LRLoraLayer) for module in model.modules())


def test_what_mamba_reads_besides_is_refused_too() -> None:
    with pytest.raises(ValueError, match=r"mixer\.dt_proj': MambaMixer reads its weight and never calls it"):
        get_peft_model(mamba(), LRLoraConfig(target_modules=["in_proj", "dt_proj"]))


def test_the_projections_of_mamba_are_adapted_and_merge() -> None:
    torch.manual_seed(0)
    model = adapted(mamba().eval(), target_modules=["in_proj", "x_proj"])
    ids = torch.arange(3, 11)[None]
    expected = run(model, ids)
    with model.disable_adapter():
        assert off(run(model, ids), expected) > 1e-2
    assert off(run(model.merge_and_unload(), ids), expected) < 1e-5


def wavlm() -> nn.Module:
    convolutions = {"conv_dim": (8, 8), "conv_stride": (2, 2), "conv_kernel": (2, 2)}
    positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    return hf.WavLMModel(hf.WavLMConfig(**sizes, **convolutions, **positions))


def mobilebert() -> nn.Module:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    return hf.MobileBertForMaskedLM(
        hf.MobileBertConfig(**sizes, vocab_size=64, embedding_size=8, intra_bottleneck_size=16)
    )


@pytest.mark.parametrize(
    ("make", "target"),
    [(wavlm, "q_proj"), (wavlm, "out_proj"), (mobilebert, "predictions.decoder"), (mobilebert, "predictions.dense")],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_models_that_read_weights_are_found_by_themselves(make: Callable[[], nn.Module], target: str) -> None:
    with pytest.raises(ValueError, match=r"reads its weight and never calls it, so an adapter there has no effect"):
        get_peft_model(make(), LRLoraConfig(target_modules=[target]))


def test_pytorchs_own_layers() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, dropout=0.0)).eval()
    with pytest.raises(ValueError, match=r"self_attn\.out_proj': MultiheadAttention reads its weight"):
        get_peft_model(model, LRLoraConfig(target_modules=["out_proj"]))
    # In evaluation it hands its weights to a fused kernel.
    with pytest.raises(ValueError, match=r"call torch\.backends\.mha\.set_fastpath_enabled\(False\) first"):
        get_peft_model(model, LRLoraConfig(target_modules=["linear1", "linear2"]))
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        adapter = adapted(model, target_modules=["linear1", "linear2"])
        x = rows()[None]
        expected = run(adapter, x)
        with adapter.disable_adapter():
            assert off(run(adapter, x), expected) > 1e-2
        assert off(run(adapter.merge_and_unload(), x), expected) < 1e-5
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


# -- mixtures of experts, whose experts are no modules (peft #2527) ------------------------------------------------


MOE: dict[str, Any] = {
    **TINY,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "intermediate_size": 24,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def mixtral() -> nn.Module:
    """A mixture of experts."""
    return hf.MixtralForCausalLM(hf.MixtralConfig(**MOE, num_local_experts=2))


def test_all_linear_is_silent_where_nothing_is_left_out_or_not_all_was_asked_for() -> None:
    # Warnings are errors.
    adapted(llama(), target_modules="all-linear")
    adapted(mlp(), target_modules="all-linear")
    adapted(mixtral(), target_modules=["q_proj"])


def test_a_saved_all_linear_adapter_loads_without_a_warning(tmp_path: Any) -> None:
    from peft import PeftModel

    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="leaves out"):
        model = get_peft_model(mixtral().eval(), LRLoraConfig(**BENT, target_modules="all-linear")).eval()
    model.save_pretrained(tmp_path)
    torch.manual_seed(0)
    loaded = PeftModel.from_pretrained(mixtral().eval(), tmp_path)
    ids = torch.arange(3, 11)[None]
    assert torch.equal(run(loaded, ids), run(model, ids))
