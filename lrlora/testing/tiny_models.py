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

from lrlora.testing.checks import ConformanceError
from lrlora.tuner.config import LRLoraConfig

_TOKENS: dict[str, Any] = {"vocab_size": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_SIZES: dict[str, Any] = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, **_TOKENS}
# Nothing is drawn after the start: outputs are compared.
_NO_DROPOUT: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
_SEQ2SEQ: dict[str, Any] = {"d_model": 8, "d_kv": 4, "d_ff": 12, "num_heads": 2, "vocab_size": 16, "dropout_rate": 0.0}


class _Embedded(nn.Module):
    """Tokens, looked up and projected."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """From tokens ``(batch, length)`` to ``(batch, length, 2)``."""
        return self.head(self.tokens(tokens))  # type: ignore[no-any-return]


def _sequential(layers: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), *(nn.Linear(5, 5) for _ in range(layers - 1)))


def _llama(layers: int) -> nn.Module:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**_SIZES, num_hidden_layers=layers))  # type: ignore[no-any-return]


def _bert(layers: int) -> nn.Module:
    config = hf.BertConfig(**_SIZES, **_NO_DROPOUT, num_hidden_layers=layers, num_labels=2)
    return hf.BertForSequenceClassification(config)  # type: ignore[no-any-return]


def _gpt2(layers: int) -> nn.Module:
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=8, n_layer=layers, n_head=2, **dropout, **_TOKENS))  # type: ignore[no-any-return]


def _t5(layers: int) -> nn.Module:
    config = hf.T5Config(**_SEQ2SEQ, num_layers=layers, num_decoder_layers=layers, decoder_start_token_id=0)
    return hf.T5ForConditionalGeneration(config)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Kind:
    build: Callable[[int], nn.Module]
    targets: Callable[[int], list[str]] | None = None  # None: the placement finds them
    tokens: bool = True
    decoder: bool = False


_KINDS: dict[str, _Kind] = {
    "linear": _Kind(_sequential, lambda layers: [str(index) for index in range(layers)], tokens=False),
    "conv1d": _Kind(lambda layers: nn.Sequential(Conv1D(5, 4)), lambda layers: ["0"], tokens=False),
    "embedding": _Kind(lambda layers: _Embedded(), lambda layers: ["tokens", "head"]),
    "bert": _Kind(_bert),
    "gpt2": _Kind(_gpt2),
    "llama": _Kind(_llama),
    "t5": _Kind(_t5, decoder=True),
}
FAMILIES = tuple(name for name, kind in _KINDS.items() if kind.targets is None)
"""Kinds that are transformers, whose modules have roles: an encoder, two decoders of which one is fused, and both."""
KINDS = tuple(_KINDS)
"""All kinds; ``"linear"``, ``"conv1d"`` and ``"embedding"`` are plain layers, which have no roles."""


@dataclass(frozen=True)
class TinyModel:
    """How to make a tiny model, the same one at every call. Its repr is the code that makes it.

    Args:
        kind: One of :data:`KINDS`.
        layers: How many; ``"conv1d"`` and ``"embedding"`` have one whatever is asked.
    """

    kind: str = "linear"
    layers: int = 1

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"a tiny model is one of {', '.join(_KINDS)}, not {self.kind!r}")

    @property
    def targets(self) -> list[str] | None:
        """What ``target_modules`` has to be; None where the placement finds the modules by their roles."""
        names = _KINDS[self.kind].targets
        return names(self.layers) if names is not None else None

    def build(self) -> nn.Module:
        """The model, in evaluation mode. PyTorch's generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return _KINDS[self.kind].build(self.layers).eval()

    def output(self, model: nn.Module) -> Tensor:
        """What the model, adapted or not, makes of a small fixed batch."""
        kind = _KINDS[self.kind]
        if not kind.tokens:
            made = model(torch.linspace(-1, 1, 8).reshape(2, 4))
        elif kind.targets is not None:
            made = model(torch.arange(6).reshape(2, 3))
        else:
            tokens = torch.arange(3, 13).reshape(2, 5)
            decoded = {"decoder_input_ids": tokens[:, :3]} if kind.decoder else {}
            made = model(input_ids=tokens, **decoded)
        logits: Tensor = getattr(made, "logits", made)
        return logits


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Seed PyTorch's generator, and put it back afterwards."""
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


def train(tiny: TinyModel, model: nn.Module, steps: int = 2) -> None:
    """Train an adapter for a few large steps toward an output of ones.

    Raises:
        ConformanceError: The loss or a gradient is not finite.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam([parameter for _, parameter in trained], lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        loss = (tiny.output(model) - 1).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in trained:
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                raise ConformanceError(f"the gradient of {name} is not finite in step {step} on {tiny}")
        if not loss.isfinite():
            raise ConformanceError(f"the loss is {loss.item()} in step {step} on {tiny}")
        optimizer.step()


def saved_and_loaded(tiny: TinyModel, model: Any) -> Any:
    """What is loaded from the files of an adapter, under another seed than it was made with.

    Raises:
        ConformanceError: A file is neither safetensors, nor JSON, nor a model card.
    """
    with tempfile.TemporaryDirectory(prefix="lrlora-") as folder, seeded(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
        strange = [path.name for path in Path(folder).rglob("*") if path.suffix not in (".safetensors", ".json", ".md")]
        if strange:
            raise ConformanceError(f"an adapter is saved as safetensors and JSON, and here as {', '.join(strange)} too")
        return PeftModel.from_pretrained(tiny.build(), folder).eval()
