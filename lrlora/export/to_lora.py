"""LR-LoRA to LoRA: the adapter's own factors where φ is a straight line, and truncated singular values elsewhere.

PEFT can convert any additive method by itself (``peft.tuners.lora.conversion``), LR-LoRA included, and what is written
here is laid out as its results are. It is not called, for what it does not do: it reports no error; its threshold is an
energy in float32, and not an error; it decomposes what has exact factors; it refuses a rank above a small module's
size, where that module could simply be exact; it knows linear layers alone; it drops the task type, and with it the
classifier's place; and it names the tensors of modules_to_save by the last part of their name, so that those of a head
with several layers overwrite each other. ``tests/integration/test_export.py`` compares the two where both work.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import save_file
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from lrlora.export.errors import ExportError
from lrlora.export.folders import check_free, whole_folder
from lrlora.export.layouts import check_expressible, lora_tensors
from lrlora.export.lora_config import Rank, make_lora_config
from lrlora.export.table import LayerTruncation, write_tables
from lrlora.export.truncation import SMALLEST_ERROR, Factors, Spectrum, randomized_factors
from lrlora.tuner import LRLoraConfig, LRLoraLayer
from lrlora.tuner.layer import layers_with

PREFIX = "base_model.model."
OnLayer = Callable[[LayerTruncation, int, int], None]
"""Called after each layer: its figures, how many are done, and of how many."""


@dataclass(frozen=True)
class LoraExport:
    """A LoRA adapter in memory.

    Attributes:
        config: For ``peft.get_peft_model``.
        state_dict: For ``peft.set_peft_model_state_dict``, and as ``adapter_model.safetensors`` holds it.
        rows: What became of every layer.
    """

    config: LoraConfig
    state_dict: dict[str, Tensor]
    rows: list[LayerTruncation]


@dataclass(frozen=True)
class _Wish:
    rank: int | None
    error: float | None
    max_rank: int | None
    randomized: bool

    def __post_init__(self) -> None:
        for name in ("rank", "max_rank"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ExportError(f"{name} is a whole number of at least 1, not {value!r}")
        if self.error is not None and not SMALLEST_ERROR <= self.error < 1:
            raise ExportError(f"error is relative, from {SMALLEST_ERROR:g} to below 1, and not {self.error!r}")
        if self.rank is not None and self.error is not None:
            raise ExportError("give rank or error, not both: one follows from the other")
        if self.max_rank is not None and self.error is None:
            raise ExportError("max_rank caps the ranks that error asks for; give rank alone for a fixed rank")
        if self.randomized and self.rank is None:
            raise ExportError("randomized needs a rank: an error needs all singular values")


@torch.no_grad()
def to_lora(
    model: PeftModel,
    *,
    rank: int | None = None,
    error: float | None = None,
    max_rank: int | None = None,
    equal_ranks: bool = False,
    randomized: bool = False,
    adapter_name: str = "default",
    on_layer: OnLayer | None = None,
) -> LoraExport:
    """Turn an LR-LoRA adapter into a LoRA adapter.

    With neither ``rank`` nor ``error`` the result is exact, and φ has to be a straight line in every layer.

    Args:
        model: With the adapter; left as it is.
        rank: Of every layer, or less where a layer is smaller.
        error: Each layer gets the smallest rank with a relative error ‖ΔW − B'A'‖ / ‖ΔW‖ of at most this.
        max_rank: No layer gets more than that for its ``error``, which it then misses.
        equal_ranks: Fill factors up with zeros to the largest rank, for servers that take one rank only.
        randomized: Only look for the leading singular vectors, in a random subspace. For weights of many thousand rows
            and columns; see :func:`lrlora.export.truncation.randomized_factors`.
        adapter_name: Which adapter.
        on_layer: Progress.

    Raises:
        ExportError: It cannot be done; one line.
    """
    wish = _Wish(rank, error, max_rank, randomized)
    config = lrlora_config(model, adapter_name)
    layers = adapted_layers(model, adapter_name)
    if not layers:
        raise ExportError(f"adapter {adapter_name!r} adapts no layer (its ranks are 0)")
    for name, layer in layers.items():
        check_expressible(name, layer)
    bent = [name for name, layer in layers.items() if not is_linear(layer, adapter_name)]
    own = (
        not bent and error is None and (rank is None or rank >= max(layer.r[adapter_name] for layer in layers.values()))
    )
    if bent and rank is None and error is None:
        raise ExportError(
            f"φ bends in {len(bent)} of {len(layers)} layers, {bent[0]} among them, so no LoRA adapter is exact: "
            "give a rank or an error"
        )

    factors: dict[str, tuple[Factors, Rank]] = {}
    rows: list[LayerTruncation] = []
    for name, layer in layers.items():
        if own:
            found, row, alpha = _own_factors(name, layer, adapter_name)
        else:
            found, row = _truncated(name, layer, adapter_name, wish)
            alpha = found.rank
        factors[name] = (found, Rank(found.rank, alpha))
        rows.append(row)
        if on_layer is not None:
            on_layer(row, len(rows), len(layers))
    if equal_ranks:
        factors = _equalized(factors)

    state = {
        f"{PREFIX}{name}.{end}": tensor.cpu().contiguous()
        for name, (found, _) in factors.items()
        for end, tensor in lora_tensors(layers[name], found.B, found.A).items()
    }
    ranks = {name: chosen for name, (_, chosen) in factors.items()}
    return LoraExport(_config(model, config, ranks, layers), {**state, **saved_modules(model, adapter_name)}, rows)


def save_as_lora(model: PeftModel, folder: str | Path, *, force: bool = False, **options: Any) -> LoraExport:
    """Write an LR-LoRA adapter as a LoRA adapter, and beside it a table of what that loses.

    ``PeftModel.from_pretrained`` loads the folder without this package, and so does every server of LoRA adapters.

    Args:
        model: With the adapter; left as it is.
        folder: Where to. It appears when it is whole, or not at all.
        force: Replace an earlier export there.
        options: Of :func:`to_lora`.

    Raises:
        ExportError: It cannot be done, or the folder is in use; one line. Nothing was written.
    """
    check_free(Path(folder), force)
    export = to_lora(model, **options)
    with whole_folder(folder, force) as directory:
        write_adapter(directory, export.config, export.state_dict, model)
        write_tables(export.rows, directory)
    return export


def write_adapter(directory: Path, config: Any, state_dict: dict[str, Tensor], model: PeftModel | None = None) -> None:
    """Write the two files of a PEFT adapter. Without a task type the base model's class goes into it, as PEFT does."""
    save_file(state_dict, directory / SAFETENSORS_WEIGHTS_NAME, metadata={"format": "pt"})
    mapping = getattr(config, "auto_mapping", None)
    if model is not None and config.task_type is None:
        kind = type(model.get_base_model())
        mapping = {"base_model_class": kind.__name__, "parent_library": kind.__module__}
    config.save_pretrained(str(directory), auto_mapping_dict=mapping)


# -- the model and its layers --------------------------------------------------------------------------------


def lrlora_config(model: Any, adapter_name: str) -> LRLoraConfig:
    """The configuration of an LR-LoRA adapter of a model.

    Raises:
        ExportError: There is no such adapter, or it is of another method.
    """
    if not isinstance(model, PeftModel):
        raise ExportError(f"a PeftModel is exported, not a {type(model).__name__}")
    if adapter_name not in model.peft_config:
        raise ExportError(
            f"there is no adapter {adapter_name!r} (there are: {', '.join(map(repr, model.peft_config))})"
        )
    config = model.peft_config[adapter_name]
    if not isinstance(config, LRLoraConfig):
        raise ExportError(f"adapter {adapter_name!r} is {config.peft_type.value}, not LRLORA")
    return config


def adapted_layers(model: PeftModel, adapter_name: str) -> dict[str, LRLoraLayer]:
    """The layers that an adapter is in with a rank above 0, by the name of the module in the base model."""
    return {
        name.removeprefix(PREFIX): module
        for name, module in layers_with(model, adapter_name).items()
        if module.r[adapter_name] > 0
    }


def is_linear(layer: LRLoraLayer, adapter_name: str) -> bool:
    """Whether ΔW is exactly a multiple of BA: λ = 1 and no amplitude."""
    amplitude = layer.lrlora_amplitude[adapter_name].get_parameter("weight")
    return bool(layer.lrlora_config[adapter_name].residual) and not bool(amplitude.any())


def saved_modules(model: PeftModel, adapter_name: str) -> dict[str, Tensor]:
    """What an adapter saves besides its factors: the classifier and other modules_to_save, embeddings that grew."""
    with warnings.catch_warnings():
        # PEFT looks whether the vocabulary grew, and warns where it cannot tell, as for a base in a GGUF file. It also
        # tells that it saves the base weights of adapted embeddings, which docs/export.md says.
        warnings.filterwarnings("ignore", message="Could not find a config file|Setting `save_embedding_layers`")
        state = get_peft_model_state_dict(model, adapter_name=adapter_name)
    return {key: tensor.detach().cpu().clone() for key, tensor in state.items() if ".lrlora_" not in key}


def _own_factors(name: str, layer: LRLoraLayer, adapter: str) -> tuple[Factors, LayerTruncation, float]:
    A, B = (factor.detach() for factor in layer.wide_factors(adapter))
    scaling = layer.scaling[adapter]
    # ‖BA‖² is the trace of BᵀB AAᵀ, and no m × n matrix.
    squared = float(((B.double().T @ B.double()) * (A.double() @ A.double().T)).sum())
    norm = abs(scaling) * max(squared, 0.0) ** 0.5
    alpha = layer.lora_alpha[adapter]
    rank = layer.r[adapter]
    row = LayerTruncation(name, len(B), A.shape[1], rank, norm, 0.0, exact=True)
    return Factors(B.clone(), A.clone(), norm, 0.0), row, rank if alpha is None else alpha


def _truncated(name: str, layer: LRLoraLayer, adapter: str, wish: _Wish) -> tuple[Factors, LayerTruncation]:
    delta = layer.delta_matrix(adapter).detach()
    if not delta.isfinite().all():
        raise ExportError(f"{name}: the update is not finite")
    tenth = hundredth = None
    if wish.randomized:
        assert wish.rank is not None
        found = randomized_factors(delta, wish.rank)
    else:
        spectrum = Spectrum(delta)
        if wish.error is None:
            assert wish.rank is not None
            rank = wish.rank
        else:
            rank = min(spectrum.rank_within(wish.error), wish.max_rank or min(delta.shape))
        found = spectrum.factors(rank)
        tenth, hundredth = spectrum.rank_within(0.1), spectrum.rank_within(0.01)
    row = LayerTruncation(name, len(delta), delta.shape[1], found.rank, found.norm, found.error, tenth, hundredth)
    return found, row


def _equalized(factors: dict[str, tuple[Factors, Rank]]) -> dict[str, tuple[Factors, Rank]]:
    """The same products with one rank and one alpha."""
    if len({rank for _, rank in factors.values()}) == 1:
        return factors
    largest = max(rank.r for _, rank in factors.values())
    padded = {}
    for name, (found, rank) in factors.items():
        more = largest - rank.r
        B = torch.nn.functional.pad(found.B * (rank.alpha / rank.r), (0, more))
        A = torch.nn.functional.pad(found.A, (0, 0, 0, more))
        padded[name] = (Factors(B, A, found.norm, found.error), Rank(largest, largest))
    return padded


def _config(
    model: PeftModel, config: LRLoraConfig, ranks: dict[str, Rank], layers: dict[str, LRLoraLayer]
) -> LoraConfig:
    inside = ("base_layer", "lrlora_")
    names = [name for name, _ in model.get_base_model().named_modules() if not any(part in name for part in inside)]
    return make_lora_config(
        ranks,
        names,
        task_type=config.task_type,
        base_model_name_or_path=config.base_model_name_or_path,
        revision=config.revision,
        modules_to_save=copy.copy(config.modules_to_save),
        lora_dropout=config.lora_dropout,
        # PEFT sets this by itself where it is wrong, and warns.
        fan_in_fan_out=all(isinstance(layer.get_base_layer(), Conv1D) for layer in layers.values()),
        inference_mode=True,
    )
