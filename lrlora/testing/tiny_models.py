"""Models small enough for a check to adapt dozens of them, plain layers and real transformers; and adapters on them."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from peft import PeftModel, get_peft_model
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lrlora.testing.checks import demand
from lrlora.tuner.config import LRLoraConfig

_TOKENS: dict[str, Any] = {"vocab_size": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_SIZES: dict[str, Any] = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, **_TOKENS}


def _linear(layers: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), *(nn.Linear(5, 5) for _ in range(layers - 1)))


# The transformers have no dropout: outputs are compared.


def _bert(layers: int) -> Any:
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return hf.BertForSequenceClassification(
        hf.BertConfig(**_SIZES, **no_dropout, num_hidden_layers=layers, num_labels=2)
    )


def _gpt2(layers: int) -> Any:
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=8, n_layer=layers, n_head=2, **no_dropout, **_TOKENS))


def _llama(layers: int) -> Any:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**_SIZES, num_hidden_layers=layers))


def _t5(layers: int) -> Any:
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 12, "num_heads": 2, "vocab_size": 16, "dropout_rate": 0.0}
    depth = {"num_layers": layers, "num_decoder_layers": layers, "decoder_start_token_id": 0}
    return hf.T5ForConditionalGeneration(hf.T5Config(**sizes, **depth))


_BUILDERS: dict[str, Callable[[int], Any]] = {
    "linear": _linear,
    "conv1d": lambda layers: nn.Sequential(Conv1D(5, 4)),
    "embedding": lambda layers: nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 2)),
    "bert": _bert,
    "gpt2": _gpt2,
    "llama": _llama,
    "t5": _t5,
}
KINDS = tuple(_BUILDERS)
"""All kinds; ``"linear"``, ``"conv1d"`` and ``"embedding"`` are plain layers, which have no roles."""
FAMILIES = KINDS[3:]
"""Transformers, whose modules have roles: an encoder, two decoders of which one is fused, and both."""


@dataclass(frozen=True)
class TinyModel:
    """How to make a tiny model, the same one at every call. Its repr is the code that makes it.

    Args:
        kind: One of :data:`KINDS`.
        layers: How many; ``"conv1d"`` has one and ``"embedding"`` two, whatever is asked.
    """

    kind: str = "linear"
    layers: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a tiny model is one of {', '.join(KINDS)}, not {self.kind!r}")

    @property
    def targets(self) -> list[str] | None:
        """What ``target_modules`` has to be; None where the placement finds the modules by their roles."""
        count = {"linear": self.layers, "conv1d": 1, "embedding": 2}.get(self.kind)
        return None if count is None else [str(index) for index in range(count)]

    def build(self) -> nn.Module:
        """The model, in evaluation mode. PyTorch's generator is left as it was."""
        with seeded():
            model: nn.Module = _BUILDERS[self.kind](self.layers).eval()
        return model

    def output(self, model: nn.Module) -> Tensor:
        """What the model, adapted or not, makes of a small fixed batch."""
        tokens = torch.arange(3, 13).reshape(2, 5)
        if self.kind in ("linear", "conv1d"):
            made = model(torch.linspace(-1, 1, 8).reshape(2, 4))
        elif self.kind == "embedding":
            made = model(torch.arange(6).reshape(2, 3))
        else:
            made = model(input_ids=tokens, **({"decoder_input_ids": tokens[:, :3]} if self.kind == "t5" else {}))
        logits: Tensor = getattr(made, "logits", made)
        return logits


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Seed PyTorch's generator, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def adapter_config(tiny: TinyModel, **fields: Any) -> LRLoraConfig:
    """A small adapter's configuration, of those fields and else cheap ones."""
    return LRLoraConfig(**{"r": 2, "basis": "gaussian", "num_grid_points": 4, "target_modules": tiny.targets, **fields})


def adapted(tiny: TinyModel, config: Any, seed: int = 0) -> Any:
    """The tiny model with an adapter, in evaluation mode."""
    base = tiny.build()
    with seeded(seed), warnings.catch_warnings():
        # An initialisation or a placement may warn of what the tiny model makes of it: that is another check's matter.
        warnings.simplefilter("ignore")
        return get_peft_model(base, config).eval()


def train(tiny: TinyModel, model: nn.Module, steps: int = 2, rate: float = 0.1) -> set[str]:
    """Train an adapter for a few steps of Adam toward an output of ones.

    Returns:
        Names of trained parameters that no gradient reached.

    Raises:
        ConformanceError: The loss or a gradient is not finite.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    unreached = set(trained)
    optimizer = torch.optim.Adam(trained.values(), lr=rate)
    for step in range(steps):
        optimizer.zero_grad()
        loss = (tiny.output(model) - 1).square().mean()
        demand(loss.isfinite(), f"the loss is {loss.item()} in step {step} on {tiny}")
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = {name: one.grad for name, one in trained.items() if one.grad is not None}
        for name, gradient in gradients.items():
            demand(gradient.isfinite().all(), f"the gradient of {name} is not finite in step {step} on {tiny}")
        unreached -= {name for name, gradient in gradients.items() if gradient.any()}
        optimizer.step()
    return unreached


def saved_and_loaded(tiny: TinyModel, model: Any) -> Any:
    """What is loaded from the files of an adapter, under another seed than it was made with.

    Raises:
        ConformanceError: A file is neither safetensors, nor JSON, nor a model card.
    """
    with tempfile.TemporaryDirectory(prefix="lrlora-") as folder, seeded(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
        strange = [path.name for path in Path(folder).rglob("*") if path.suffix not in (".safetensors", ".json", ".md")]
        demand(not strange, f"an adapter is saved as safetensors and JSON, and here as {', '.join(strange)} too")
        return PeftModel.from_pretrained(tiny.build(), folder).eval()
