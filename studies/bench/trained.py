"""A pretrained model that is trained on real data step by step, with any method."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import set_seed

from lrlora.registry import UnknownNameError
from lrlora.studies.bench.device import finish
from lrlora.studies.methods import make_method
from lrlora.studies.training.encoding import encode_training, kind_for

if TYPE_CHECKING:
    from lrlora.studies.kinds import Kind

SEED = 42
LEARNING_RATE, MAX_GRAD_NORM = 2e-3, 1.0
"""Those of the study ``basis``."""
BATCHES = 60


class Workload(NamedTuple):
    """What a step is made of.

    Attributes:
        model: One of :data:`MODELS`.
        batch: Examples.
        length: Tokens of each; shorter examples are padded to it.
        device: Where it is made, ``cpu`` or ``cuda``.
    """

    model: str
    batch: int
    length: int
    device: str = "cpu"


MODELS = {"minilm": ("sarcasm", 32, 32), "smollm2": ("reference", 4, 128)}
"""By the name of the backbone: the task that it is trained on, and batch and length of a step unless told otherwise."""


def workload_of(model: str, tokens: tuple[int, int] | None = None, device: str = "cpu") -> Workload:
    """Returns the workload of a model.

    Args:
        model: One of :data:`MODELS`.
        tokens: Batch and length; None for the model's own.
        device: ``cpu`` or ``cuda``.

    Raises:
        UnknownNameError: It is none of them; with the nearest.
        StudyError: It is not installed.
    """
    from lrlora.studies.models.backbones import locate

    if model not in MODELS:
        raise UnknownNameError("model", model, MODELS)
    locate(model)
    return Workload(model, *(tokens or MODELS[model][1:]), device)


class TrainedModel:
    """A model with an adapter; each call is a training step on the next batch: forward, backward, clipping, AdamW.

    Args:
        workload: Which model, and the size of a step.
        config: The method, as studies write one.
        announce: Told of a download, where the data are not there yet.

    Attributes:
        model: The adapted model.
    """

    def __init__(
        self, workload: Workload, config: Mapping[str, Any], announce: Callable[[str], None] = lambda line: None
    ) -> None:
        kind = _kind(workload.model)
        kind.task.prepare(announce)
        backbone = _backbone(workload.model, workload.device)
        method = make_method(config, "bench")
        set_seed(SEED)
        self.model: Any = method.adapt(copied := copy.deepcopy(backbone), kind.task_type)
        share_frozen(copied, backbone)
        self.model.train()
        self._batches = cycle(_batches(workload))
        self._device = workload.device
        self._trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(method.parameter_groups(self.model, LEARNING_RATE, 0.0))

    def __call__(self) -> None:
        """Trains for one step, and waits until the device has done it."""
        self._optimizer.zero_grad()
        self.model(**next(self._batches)).loss.backward()
        nn.utils.clip_grad_norm_(self._trainable, MAX_GRAD_NORM)
        self._optimizer.step()
        finish(self._device)

    def save(self, path: Path) -> None:
        """Writes all that is not a frozen weight."""
        frozen = {name for name, parameter in self.model.named_parameters() if not parameter.requires_grad}
        torch.save({name: value for name, value in self.model.state_dict().items() if name not in frozen}, path)

    def load(self, path: Path) -> None:
        """Reads what :meth:`save` wrote."""
        self.model.load_state_dict(torch.load(path, weights_only=True, map_location=self._device), strict=False)


def share_frozen(mine: nn.Module, original: nn.Module) -> None:
    """Lets the frozen weights of an adapted copy be the original's, where the method left them as they were.

    So that any number of adapted models fit into memory.

    Args:
        mine: A copy of ``original``, adapted in place or not.
        original: What it was copied from.
    """
    weights = dict(original.named_parameters())
    for name, parameter in mine.named_parameters():
        its = weights.get(name.replace(".base_layer.", "."))
        if its is not None and not parameter.requires_grad and torch.equal(parameter, its):
            parameter.data = its.data


@lru_cache(maxsize=2)
def _kind(model: str) -> Kind:
    return kind_for({"name": MODELS[model][0], "options": {}}, model)


@lru_cache(maxsize=1)  # two models need not fit at a time
def _backbone(model: str, device: str) -> nn.Module:
    set_seed(SEED)  # for the head
    loaded: nn.Module = _kind(model).load()
    return loaded.to(device)


@lru_cache(maxsize=2)
def _batches(workload: Workload) -> list[dict[str, Tensor]]:
    model, size, length, device = workload
    task = {"name": MODELS[model][0], "options": {}}
    rows = encode_training(task, model, length, BATCHES * size, SEED)
    collator: Any = _kind(model).collator()
    collator.padding, collator.max_length = "max_length", length
    endless = cycle(rows)  # where there are fewer examples than that
    batches = [collator([next(endless) for _ in range(size)]) for _ in range(BATCHES)]
    return [{name: value.to(device) for name, value in batch.items()} for batch in batches]
