"""What is measured: a training step of one adapted layer, or of a whole pretrained model."""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lrlora.registry import UnknownNameError
from lrlora.studies.backbones import locate
from lrlora.studies.bench.trained_state import draw_trained_state
from lrlora.studies.methods import make_method

LEARNING_RATE = 1e-6  # so small that the state stays where it was drawn


class TrainingStep:
    """A training step with its optimizer; calling it makes one.

    Attributes:
        model: The adapted model.
    """

    def __init__(self, model: nn.Module, run: Callable[[], None]) -> None:
        from lrlora import parameter_groups

        self.model = model
        self._run = run
        self._optimizer = torch.optim.AdamW(parameter_groups(model, lr=LEARNING_RATE))

    def __call__(self) -> None:
        """Forward, backward, optimizer."""
        self._optimizer.zero_grad()
        self._run()
        self._optimizer.step()

    @torch.no_grad()
    def evaluation(self) -> str:
        """What the engine does in most layers, in its own words; empty for LoRA."""
        from lrlora.tuner.layer import LRLoraLayer

        said = Counter(
            # Without the range that follows, which is a little different in every layer.
            module.lrlora_engine["default"]
            .describe(module.lrlora_A["default"], module.lrlora_B["default"], module.transfer("default"))
            .partition(" on ")[0]
            for module in self.model.modules()
            if isinstance(module, LRLoraLayer)
        )
        if not said:
            return ""
        words, layers = said.most_common(1)[0]
        return words if len(said) == 1 else f"{words} (in {layers} of {said.total()} layers)"


class Subject(ABC):
    """Something that both methods are put into. A frozen dataclass, so that another process can be told of it."""

    kind: ClassVar[str]
    name: str
    dtype: str

    @abstractmethod
    def step(self, config: Mapping[str, Any], seed: int = 0) -> TrainingStep:
        """A training step of the subject adapted as ``config`` says, at a trained state.

        Raises:
            StudyError: A model that is not installed, or a configuration that it cannot have.
        """

    @property
    @abstractmethod
    def tokens(self) -> str:
        """The tokens in a step, as a user writes them."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, from which :func:`subject_from_dict` makes it again."""
        return {"kind": self.kind, **dataclasses.asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class LayerSubject(Subject):
    """One ``nn.Linear`` with random weights. Its input asks for a gradient, as that of an inner layer does."""

    kind: ClassVar[str] = "layer"
    name: str
    shape: tuple[int, int]
    token_count: int
    dtype: str = "float32"

    @property
    def tokens(self) -> str:
        """See :attr:`Subject.tokens`."""
        return str(self.token_count)

    def step(self, config: Mapping[str, Any], seed: int = 0) -> TrainingStep:
        """See :meth:`Subject.step`."""
        torch.manual_seed(seed)
        out_features, in_features = self.shape
        dtype = getattr(torch, self.dtype)
        base = nn.Sequential(nn.Linear(in_features, out_features, dtype=dtype))
        model = make_method({**config, "target_modules": ["0"]}, "bench").adapt(base, task_type=None)
        draw_trained_state(model, seed)
        x = torch.randn(self.token_count, in_features, dtype=dtype, requires_grad=True)
        incoming = torch.randn(self.token_count, out_features, dtype=dtype)

        def run() -> None:
            x.grad = None
            model(x).backward(incoming)

        return TrainingStep(model, run)


@dataclass(frozen=True)
class ModelSubject(Subject):
    """A pretrained model with every linear layer of its blocks adapted, on tokens drawn at random.

    ``minilm`` classifies sequences into two labels and trains its head too, as a study does; ``smollm2`` is a language
    model, and its labels are its input.
    """

    kind: ClassVar[str] = "step"
    name: str
    batch: int
    length: int
    dtype: str = "float32"
    checkpointing: bool = False

    @classmethod
    def named(
        cls, name: str, batch: tuple[int, int] | None = None, dtype: str = "float32", checkpointing: bool = False
    ) -> ModelSubject:
        """One of :data:`MODELS`, which is installed.

        Args:
            name: The model's.
            batch: Sequences in a step, and tokens in each; by default the model's own.
            dtype: Of the frozen weights.
            checkpointing: Whether gradients are checkpointed.

        Raises:
            UnknownNameError: It is none of them.
            StudyError: It is not installed.
        """
        if name not in MODELS:
            raise UnknownNameError("model", name, MODELS)
        locate(name)
        return cls(name, *(batch or (MODELS[name].batch, MODELS[name].length)), dtype, checkpointing)

    @property
    def tokens(self) -> str:
        """See :attr:`Subject.tokens`."""
        return f"{self.batch}x{self.length}"

    def step(self, config: Mapping[str, Any], seed: int = 0) -> TrainingStep:
        """See :meth:`Subject.step`."""
        loaded = _load(self.name, self.dtype)
        # The frozen weights are one and the same in all copies, so that any number of adapted models fit.
        shared: dict[int, Any] = {id(tensor): tensor for tensor in (*loaded.parameters(), *loaded.buffers())}
        torch.manual_seed(seed)
        generates = MODELS[self.name].generates
        task_type = "CAUSAL_LM" if generates else "SEQ_CLS"
        model: Any = make_method(config, "bench").adapt(copy.deepcopy(loaded, shared), task_type=task_type)
        draw_trained_state(model, seed)
        model.train()
        model.config.use_cache = False  # of keys and values, which training has no use for
        if self.checkpointing:
            model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
        inputs = self._inputs(model.config.vocab_size, generates, seed)

        def run() -> None:
            model(**inputs).loss.backward()

        return TrainingStep(model, run)

    def _inputs(self, vocabulary: int, generates: bool, seed: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(seed)
        ids: Tensor = torch.randint(vocabulary, (self.batch, self.length), generator=generator)
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if generates:
            return inputs | {"labels": ids}
        return inputs | {"labels": torch.randint(2, (self.batch,), generator=generator)}


@dataclass(frozen=True)
class ModelKind:
    """How a backbone is measured: its task and the tokens of a step unless told otherwise."""

    generates: bool
    batch: int
    length: int


MODELS = {"minilm": ModelKind(False, 32, 32), "smollm2": ModelKind(True, 4, 128)}


def subject_from_dict(data: Mapping[str, Any]) -> Subject:
    """The subject that :meth:`Subject.to_dict` described; what was a tuple may have become a list on the way."""
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key != "kind"
    }
    return LayerSubject(**fields) if data["kind"] == "layer" else ModelSubject(**fields)


@lru_cache(maxsize=1)  # the last one only: two models need not fit at a time
def _load(name: str, dtype: str) -> nn.Module:
    from lrlora.studies.backbones import load_language_model, load_model

    model: nn.Module
    if MODELS[name].generates:
        model = load_language_model(name)
    else:
        torch.manual_seed(0)  # for the head
        model = load_model(name, ("no", "yes"))
    return model.to(getattr(torch, dtype))
