"""Models small enough for a check to adapt dozens of them: plain layers, and real transformers of a few numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

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
