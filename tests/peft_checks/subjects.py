"""What the checks are applied to: a base model, a batch for it, and the fields of a configuration that adapts it.

Weights are random and nothing comes from a hub: what is tested is what PEFT does with the method, not the model.
"""

from __future__ import annotations

import copy
import functools
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from torch import Tensor, nn

from lrlora import LRLoraConfig, LRLoraLayer

RANDOM: dict[str, Any] = {"r": 2, "init_weights": False, "num_grid_points": 6}
"""A start that is no identity, so that there is something to lose; few grid points, so that it is quick."""

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "gaussian": {"basis": "gaussian"},
    "shared theta": {"sharing": "all"},
    "learned grid": {"grid": "learned"},
    "dropout": {"lora_dropout": 0.3},
    "fixed theta": {"learn_amplitude": False, "learn_bandwidth": False, "amplitude_init": "small:0.1"},
    "uncentred": {"preset": "paper", "input_scale": 50.0},
}
"""Ways to make an adapter that matter to what PEFT does with it: what is trained, shared, saved, random."""

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Subject:
    """A model to adapt.

    Attributes:
        name: For test ids and messages.
        build: Makes the base model.
        batch: Makes its inputs.
        fields: Of the configuration, beside :data:`RANDOM`.
        task: PEFT's task type, if any.
        trained_beside: Names of modules that PEFT trains and saves beside the adapter.
    """

    name: str
    build: Callable[[], nn.Module]
    batch: Callable[[], Batch]
    fields: Mapping[str, Any] = field(default_factory=dict)
    task: str | None = None
    trained_beside: tuple[str, ...] = ()

    def varied(self, variant: str, fields: Mapping[str, Any]) -> Subject:
        """The same model with other fields."""
        return replace(self, name=f"{self.name}, {variant}", fields={**self.fields, **fields})

    def base(self) -> nn.Module:
        """The base model in evaluation mode, the same at every call."""
        return copy.deepcopy(_prototype(self.build))

    def config(self, **fields: Any) -> LRLoraConfig:
        """A new configuration."""
        return LRLoraConfig(task_type=self.task, **{**RANDOM, **self.fields, **fields})

    def adapted(self, seed: int = 1, adapter_name: str = "default", **fields: Any) -> PeftModel:
        """The base model with an adapter that is no identity, in evaluation mode."""
        torch.manual_seed(seed)
        return get_peft_model(self.base(), self.config(**fields), adapter_name=adapter_name).eval()

    def loaded(self, folder: Any, **arguments: Any) -> PeftModel:
        """The base model with an adapter from a folder."""
        return PeftModel.from_pretrained(self.base(), str(folder), **arguments).eval()

    def add(self, model: PeftModel, adapter_name: str, seed: int = 2, **fields: Any) -> None:
        """Add another adapter that is no identity."""
        torch.manual_seed(seed)
        model.add_adapter(adapter_name, self.config(**fields))
        model.eval()

    @property
    def is_transformers_model(self) -> bool:
        """Whether the base is a model of transformers."""
        return hasattr(_prototype(self.build), "config")


@functools.cache
def _prototype(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():  # so that what follows draws the same whether or not the model is there already
        torch.manual_seed(0)
        return build().eval()


def first_output(result: Any) -> Tensor:
    """Logits or hidden states: what a model gives first."""
    return result if isinstance(result, Tensor) else result[0]


def run(model: nn.Module, batch: Batch) -> Tensor:
    """The model's first output, without a graph."""
    with torch.no_grad():
        return first_output(model(**batch))


def layers_of(model: nn.Module) -> dict[str, LRLoraLayer]:
    """The adapted layers by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LRLoraLayer)}


def adapter_parameters(model: nn.Module, adapter_name: str = "default") -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters of one adapter, with a name; what layers share comes up once."""
    seen: set[int] = set()
    for name, layer in layers_of(model).items():
        for part in layer.adapter_layer_names:
            held = getattr(layer, part)
            if adapter_name not in held:
                continue
            entry = held[adapter_name]
            found = [("", entry)] if isinstance(entry, nn.Parameter) else entry.named_parameters()
            for inner, parameter in found:
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield f"{name}.{part}.{adapter_name}.{inner}".rstrip("."), parameter


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's state."""
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def same(a: Tensor, b: Tensor) -> None:
    """Assert equality bit by bit."""
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-4) -> None:
    """Assert that what was computed in two ways is one thing."""
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def differ(a: Tensor, b: Tensor, tolerance: float = 1e-3) -> None:
    """Assert that two outputs differ by more than a computation may."""
    assert not torch.allclose(a, b, rtol=tolerance, atol=tolerance)


@dataclass(frozen=True)
class Sample:
    """The subjects that a check is applied to: some of many, others for the next check.

    Attributes:
        subjects: All there are; neighbours in this list should be alike, as those of a sample are far apart in it.
        number: How many of them each check gets.
    """

    subjects: list[Subject]
    number: int

    def of(self, check: str) -> list[Subject]:
        """The subjects of a check, by its name, at equal distances and the same in every run."""
        start, count = zlib.crc32(check.encode()), len(self.subjects)
        return [self.subjects[(start + i * count // self.number) % count] for i in range(self.number)]


def each_with_variants(subjects: list[Subject], in_full: str) -> list[Subject]:
    """All subjects by their defaults, and the one called ``in_full`` in every variant."""
    full = next(subject for subject in subjects if subject.name == in_full)
    return [
        *subjects,
        *(full.varied(name, fields) for name, fields in VARIANTS.items() if name != "default"),
    ]
