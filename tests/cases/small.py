"""Small base models and adapters away from their start, for the tests beside it."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from lrlora import LRLoraConfig

BENT: dict[str, Any] = {"r": 2, "num_grid_points": 6, "init_weights": False, "input_scale": 20.0}
"""A start that is neither zero nor linear."""

LLAMA: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


class MLP(nn.Module):
    """Two layers in a block, and a head."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.block = nn.ModuleDict({"inside": nn.Linear(width, 8), "out": nn.Linear(8, width)})
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.block["out"](torch.tanh(self.block["inside"](x))))


def mlp() -> MLP:
    """The same random model at every call, in evaluation mode."""
    torch.manual_seed(0)
    return MLP().eval()


def llama(**fields: Any) -> hf.LlamaForCausalLM:
    """The same random language model at every call, in evaluation mode."""
    torch.manual_seed(0)
    return hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA | fields)).eval()


def adapted(base: nn.Module | None = None, adapter_name: str = "default", **fields: Any) -> PeftModel:
    """A model with an LR-LoRA adapter that is no identity, in evaluation mode; of :func:`mlp` if none is given."""
    settings = {**BENT, "target_modules": ["inside", "out", "head"], **fields}
    base = base or mlp()
    torch.manual_seed(1)
    return get_peft_model(base, LRLoraConfig(**settings), adapter_name=adapter_name).eval()


def with_lora(base: nn.Module | None = None, **fields: Any) -> PeftModel:
    """The same with PEFT's LoRA."""
    settings = {"r": 2, "target_modules": ["inside", "out", "head"], "init_lora_weights": False, **fields}
    base = base or mlp()
    torch.manual_seed(1)
    return get_peft_model(base, LoraConfig(**settings)).eval()


def rows(count: int = 5, width: int = 6) -> Tensor:
    """The same inputs at every call."""
    return torch.randn(count, width, generator=torch.Generator().manual_seed(2))


def run(model: nn.Module, x: Tensor) -> Tensor:
    """The output, without a graph."""
    with torch.no_grad():
        found = model(x)
    return found if isinstance(found, Tensor) else found.logits


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that take gradients, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def off(found: Tensor, expected: Tensor) -> float:
    """The relative difference in the norm."""
    return float((found.detach().double() - expected.detach().double()).norm() / expected.detach().double().norm())
